import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kgvad


@pytest.mark.parametrize("name", kgvad.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    value = getattr(kgvad, name)
    assert value.__doc__, name
    assert name in dir(kgvad)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(kgvad.__file__).read_text("utf-8"))
    seen = {a.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names if a.asname}
    assert sorted(seen) == kgvad.__all__


def test_importing_kgvad_imports_nothing_heavy():
    code = "import sys, kgvad; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd="/", text=True) == "set()\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        _ = kgvad.explane
