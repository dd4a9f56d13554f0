"""Resources from elsewhere are found; `make docs` and .ci/run build the site, with warnings as errors."""

import importlib.util

import pytest
from pages import ROOT


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location("selfcontained", ROOT / "docs/_ext/selfcontained.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.loaded_from_elsewhere


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script async src="https://cdn.example/mathjax.js"></script>', 1),
        ("a.html", "<img src='//pixel.example/1.gif'>", 1),
        ("a.html", '<link rel="stylesheet" href="http://fonts.example/a.css">', 1),
        ("a.css", "@import url('https://fonts.example/a.css');", 1),
        ("a.html", '<a href="https://doi.org/10.3791/69286">a link is followed by the reader</a>', 0),
        ("a.html", '<link rel="next" href="https://example.org"><script src="_static/a.js"></script>', 0),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(check, tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    assert len(check(tmp_path)) == found
