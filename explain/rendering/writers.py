"""Where the views go: stdout, or files whose suffix names the format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from kgvad.errors import UsageError
from kgvad.explain.explainer import Explained
from kgvad.explain.rendering.render import FORMATS, Renderer
from kgvad.explain.report import Report
from kgvad.files import refuse_inputs, write_text

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
        As for :class:`~kgvad.explain.rendering.render.Renderer`.

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
        refuse_inputs({"--output": paths}, ())
        self.renderer = Renderer(language, templates)

    def write(self, explained: Explained, clips: Path | None = None) -> str | None:
        """Write the files, and clips of the events into the folder ``clips``; without files, the text for stdout."""
        if self.targets:
            write_views(explained, [(target.path, target.form) for target in self.targets], self.renderer, clips)
            return None
        report = _with_clips(explained, clips) if clips is not None else explained.report
        return self.renderer.render(report, self.form, pictures=explained.pictures)


def write_views(
    explained: Explained, targets: list[tuple[Path, str]], renderer: Renderer, clips: Path | None = None
) -> Report:
    """Write one analysis in several formats; all views are made before the first is written.

    Parameters
    ----------
    explained
        The analysis.
    targets
        Files and their formats.
    renderer
        Makes the views.
    clips
        Folder for clips of the events; none are cut without it.

    Returns
    -------
    Report
        As it was written.
    """
    report = _with_clips(explained, clips) if clips is not None else explained.report
    texts = [
        renderer.render(
            report if clips is None else _clips_from(report, clips, path),
            form,
            pictures=explained.pictures,
            player=None if explained.info is None else _relative(explained.info.path, path),
        )
        for path, form in targets
    ]
    for (path, _), text in zip(targets, texts, strict=True):
        write_text(path, text)
    return report


def _with_clips(explained: Explained, folder: Path) -> Report:
    """The report with the names of the clips, which are cut now."""
    if explained.info is None:
        raise UsageError("--clips needs the video", "name its file")
    from kgvad.explain.media.clips import cut_clips

    clips = cut_clips(explained.info.path, explained.report, folder)
    events = tuple(event.model_copy(update={"clip": clips[event.number].name}) for event in explained.report.events)
    return explained.report.model_copy(update={"events": events})


def _clips_from(report: Report, folder: Path, page: Path) -> Report:
    """The report with addresses of the clips relative to the page."""
    events = tuple(
        event.model_copy(update={"clip": _relative(folder / event.clip, page)}) if event.clip else event
        for event in report.events
    )
    return report.model_copy(update={"events": events})


def _form_of(path: Path, form: str | None, single: bool) -> str:
    known = SUFFIXES.get(path.suffix.lower())
    if single and form is not None:
        return form
    if known is None and form is None:
        raise UsageError(
            f"--output {path}: its suffix names no format", f"end it in .{', .'.join(FORMATS)}, or add --format"
        )
    return known or form or "md"


def _relative(target: Path, page: Path) -> str | None:
    """Address of a file relative to a page, so that the two can be moved together."""
    try:
        relative = os.path.relpath(target.absolute(), page.absolute().parent)
    except ValueError:  # another drive
        return None
    return quote(Path(relative).as_posix())
