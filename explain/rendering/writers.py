"""Where reports are written: to stdout, or to files whose suffix names the format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from kgvad.errors import UsageError
from kgvad.explain.manifest import SUFFIX, write_manifest
from kgvad.explain.rendering.pdf import find_browser, write_pdf
from kgvad.explain.rendering.render import FORMATS, Renderer
from kgvad.explain.report import Report
from kgvad.files import refuse_inputs, write_text

if TYPE_CHECKING:
    from kgvad.explain.explanation import Explanation

FILES_ONLY = ("pdf", "manifest")  # formats that are no text for stdout
FILE_FORMATS = (*FORMATS, *FILES_ONLY)
SUFFIXES = {".markdown": "md", ".htm": "html", ".pdf": "pdf"} | {f".{form}": form for form in FORMATS}


class Outputs:
    """The files to write, checked before any analysis starts.

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
        Unknown format or language, a suffix that names no format, or one file given twice.
    """

    def __init__(
        self, paths: list[Path], form: str | None, language: str = "en", templates: Path | None = None
    ) -> None:
        if form is not None and form not in FILE_FORMATS:
            raise UsageError(f"--format {form} is not a format", f"use {', '.join(FILE_FORMATS)}")
        if form in FILES_ONLY and not paths:
            raise UsageError(f"--format {form} needs a file", "add --output FILE")
        self.form = form or "md"
        self.targets = [(path, _form_of(path, form, len(paths) == 1)) for path in paths]
        forms = [form for _, form in self.targets]
        if forms.count("manifest") > 1 or forms == ["manifest"]:
            raise UsageError("a manifest is of the files beside it", "give one report or more, and one manifest")
        if "pdf" in forms:
            find_browser()
        refuse_inputs({"--output": paths}, ())
        self.renderer = Renderer(language, templates)

    def write(self, explanation: Explanation, clips: Path | None = None, inputs: Sequence[Path] = ()) -> str | None:
        """Write the files, and clips of the events into the folder ``clips``. Without files, return the text.

        ``inputs`` are what a manifest names beside the video. No file replaces them or the video.
        """
        if self.targets:
            video = None if explanation.info is None else explanation.info.path
            refuse_inputs({"--output": [path for path, _ in self.targets]}, [video, *inputs])
            write_views(explanation, self.targets, self.renderer, clips, inputs)
            return None
        report = _with_clips(explanation, clips) if clips is not None else explanation.report
        return self.renderer.render(report, self.form, pictures=explanation.pictures)


def write_views(
    explanation: Explanation,
    targets: list[tuple[Path, str]],
    renderer: Renderer,
    clips: Path | None = None,
    inputs: Sequence[Path] = (),
) -> Report:
    """Write one explanation in several formats. All are rendered before the first file is written.

    Parameters
    ----------
    explanation
        Report, pictures and video.
    targets
        Files and their formats.
    renderer
        Language and templates.
    clips
        Folder for clips of the events; none are cut without it.
    inputs
        Files and folders that a manifest names beside the video.

    Returns
    -------
    Report
        The report as written.
    """
    report = _with_clips(explanation, clips) if clips is not None else explanation.report
    views = [(path, form) for path, form in targets if form != "manifest"]
    texts = [
        renderer.render(
            report if clips is None else _clips_from(report, clips, path),
            "html" if form == "pdf" else form,
            pictures=explanation.pictures,
            player=None if form == "pdf" else _player(explanation, path),
            printed=form == "pdf",
        )
        for path, form in views
    ]
    for (path, form), text in zip(views, texts, strict=True):
        if form == "pdf":
            write_pdf(path, text)
        else:
            write_text(path, text)
    for path in [path for path, form in targets if form == "manifest"]:
        write_manifest(
            path,
            report,
            explanation.pictures,
            video=None if explanation.info is None else explanation.info.path,
            inputs=inputs,
            reports=[path for path, _ in views],
            clips=[clips / event.clip for event in report.events if clips is not None and event.clip],
        )
    return report


def file_suffix(form: str) -> str:
    """The suffix of files of a format."""
    return SUFFIX if form == "manifest" else f".{form}"


def _with_clips(explanation: Explanation, folder: Path) -> Report:
    """Cut the clips, and name them in the report."""
    if explanation.info is None:
        raise UsageError("--clips needs the video", "give its file")
    from kgvad.explain.media.clips import cut_clips

    clips = cut_clips(explanation.info.path, explanation.report, folder, explanation.face_finder)
    events = tuple(event.model_copy(update={"clip": clips[event.number].name}) for event in explanation.report.events)
    return explanation.report.model_copy(update={"events": events})


def _player(explanation: Explanation, page: Path) -> str | None:
    """Address of the video for the player of a page; none where faces are blurred, which they are not in the video."""
    if explanation.info is None or explanation.face_finder is not None:
        return None
    return _relative(explanation.info.path, page)


def _clips_from(report: Report, folder: Path, page: Path) -> Report:
    """The report with addresses of the clips relative to the page."""
    events = tuple(
        event.model_copy(update={"clip": _relative(folder / event.clip, page)}) if event.clip else event
        for event in report.events
    )
    return report.model_copy(update={"events": events})


def _form_of(path: Path, form: str | None, single: bool) -> str:
    known = "manifest" if path.name.endswith(SUFFIX) else SUFFIXES.get(path.suffix.lower())
    if single and form is not None:
        return form
    if known is None and form is None:
        raise UsageError(
            f"--output {path}: its suffix names no format",
            f"end it in .{', .'.join((*FORMATS, 'pdf'))}, or add --format",
        )
    return known or form or "md"


def _relative(target: Path, page: Path) -> str | None:
    """Address of a file relative to a page, so that the two can be moved together."""
    try:
        relative = os.path.relpath(target.absolute(), page.absolute().parent)
    except ValueError:  # another drive
        return None
    return quote(os.fsencode(Path(relative).as_posix()))  # of any bytes
