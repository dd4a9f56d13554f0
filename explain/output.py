"""Where the views go: stdout, or files whose suffix names the format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from kgvad.errors import UsageError
from kgvad.explain.pipeline import Explained
from kgvad.explain.render import FORMATS, Renderer
from kgvad.files import write_text

SUFFIXES = {".markdown": "md", ".htm": "html"} | {f".{form}": form for form in FORMATS}


@dataclass(frozen=True)
class Target:
    """A file and the format to write it in."""

    path: Path
    form: str


class Outputs:
    """The files to write, checked before any work is done.

    Parameters
    ----------
    paths
        Files; none means stdout.
    form
        Format of stdout, and of files whose suffix names none.
    language, templates
        As for :class:`~kgvad.explain.render.Renderer`.

    Raises
    ------
    UsageError
        An unknown format, a suffix that names none, or two outputs in one file.
    """

    def __init__(
        self, paths: list[Path], form: str | None, language: str = "en", templates: Path | None = None
    ) -> None:
        if form is not None and form not in FORMATS:
            raise UsageError(f"--format {form} is not a format", f"use {', '.join(FORMATS)}")
        self.form = form or "md"
        self.targets = [Target(path, _form_of(path, form, len(paths) == 1)) for path in paths]
        if len({path.absolute() for path in paths}) != len(paths):
            raise UsageError("two outputs have the same name", "give each its own")
        self.renderer = Renderer(language, templates)

    def write(self, explained: Explained) -> str | None:
        """Write the files; without any, the text for stdout."""
        if not self.targets:
            return self.renderer.render(explained.report, self.form, pictures=explained.pictures)
        texts = [
            self.renderer.render(
                explained.report, target.form, pictures=explained.pictures, player=_player(explained, target.path)
            )
            for target in self.targets
        ]  # all of them, before the first is written
        for target, text in zip(self.targets, texts, strict=True):
            write_text(target.path, text)
        return None


def _form_of(path: Path, form: str | None, single: bool) -> str:
    known = SUFFIXES.get(path.suffix.lower())
    if single and form is not None:
        return form
    if known is None and form is None:
        raise UsageError(
            f"--output {path}: its suffix names no format", f"end it in .{', .'.join(FORMATS)}, or add --format"
        )
    return known or form or "md"


def _player(explained: Explained, page: Path) -> str | None:
    """Address of the video relative to the page, so that the two can be moved together."""
    if explained.info is None:
        return None
    try:
        relative = os.path.relpath(explained.info.path.absolute(), page.absolute().parent)
    except ValueError:  # another drive
        return None
    return quote(Path(relative).as_posix())
