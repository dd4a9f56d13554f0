"""Sphinx configuration: `make docs` builds the site into build/docs; warnings are errors."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "kgvad"
author = "The kgvad authors"
release = version = installed("kgvad")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "generated",
    "selfcontained",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples/*.md", "examples/*.html"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"kgvad {release}"
html_static_path = ["_static"]
html_extra_path = ["examples"]
html_show_sphinx = False
html_math_renderer = "mathml"  # drawn by the browser: no script is loaded from elsewhere
html_theme_options = {"top_of_page_buttons": []}
