"""Sphinx configuration: `make docs` builds the site into build/docs; warnings are errors."""

from importlib.metadata import version as installed

project = "kgvad"
author = "The kgvad authors"
release = version = installed("kgvad")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples/*.md", "examples/*.html"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_mock_imports: list[str] = []
napoleon_google_docstring = False
napoleon_use_rtype = False
nitpicky = False

html_theme = "furo"
html_title = f"kgvad {release}"
html_static_path = ["_static"]
html_extra_path = ["examples", "report.schema.json"]
html_show_sphinx = False
# nothing is loaded from elsewhere
html_theme_options = {"top_of_page_buttons": []}
