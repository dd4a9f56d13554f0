"""Sphinx extension: a page that loads a script, style sheet or picture from elsewhere is a warning."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc=[\"']?(?:https?:)?//[^\"'>\s]+"
    r"|<link\b(?=[^>]*\srel=[\"']?(?:stylesheet|preload|icon|shortcut icon|manifest|modulepreload))[^>]*"
    r"\shref=[\"']?(?:https?:)?//[^\"'>\s]+",
    re.IGNORECASE,
)
IN_STYLE = re.compile(r"(?:@import\s+|url\(\s*)[\"']?(?:https?:)?//[^\"')\s]+", re.IGNORECASE)


def loaded_from_elsewhere(folder: Path) -> list[str]:
    """Each page or style sheet of a built site with what it loads from another host."""
    found = []
    for page in sorted(folder.rglob("*.html")):
        found += [f"{page.relative_to(folder)}: {one[0]}" for one in LOADED.finditer(page.read_text("utf-8"))]
    for sheet in sorted(folder.rglob("*.css")):
        found += [f"{sheet.relative_to(folder)}: {one[0]}" for one in IN_STYLE.finditer(sheet.read_text("utf-8"))]
    return found


def check(app: Sphinx, error: Exception | None) -> None:
    """Warn about every resource from elsewhere; with ``-W`` the build fails."""
    if error is None and app.builder.format == "html":
        for one in loaded_from_elsewhere(Path(app.outdir)):
            logger.warning("loaded from elsewhere: %s", one)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True}
