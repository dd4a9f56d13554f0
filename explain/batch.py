"""A folder of videos: one report per video, and an index page."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, ValidationError

from kgvad.console import track
from kgvad.errors import UsageError, failure_of
from kgvad.explain.explainer import Explainer
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.rendering.sentences import with_sentences
from kgvad.explain.rendering.writers import FILE_FORMATS, file_suffix, write_views
from kgvad.explain.report import Report
from kgvad.explain.scorers.files_read import files_read
from kgvad.explain.scorers.score_files import ScoreFileScorer, score_files
from kgvad.files import refuse_inputs, sha256, write_json, write_text
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import check_name

logger = logging.getLogger(__name__)

ALWAYS = ("html", "json")  # written whatever else is asked for: the index links to the pages
INDEX, STATE = "index.html", "index.json"
OF_ONE_VIDEO = (  # not on the index
    "limitation_all_abnormal",
    "limitation_short_video",
    "limitation_excluded",
    "limitation_captions_not_english",
)


class Entry(BaseModel):
    """One row of the index."""

    model_config = ConfigDict(extra="forbid")

    video: str  # identifier: the path inside the folder, without suffix
    sha256: str
    page: str | None = None  # address relative to the index; None where the video failed
    reason: str | None = None  # why it failed
    duration_s: float | None = None
    events: int | None = None
    abnormal_s: float | None = None
    highest_score: float | None = None
    first_s: float | None = None  # start of the first event
    category: str | None = None  # that matches the strongest event best
    category_text: str | None = None
    verdict: str | None = None  # the category in words: named, unclear or unknown
    comparable: bool = False  # whether the scores may be compared with those of other videos
    limitations: list[str] = []  # sentences


class State(BaseModel):
    """``index.json``: the reports that exist, and what they were made with."""

    model_config = ConfigDict(extra="forbid")

    made_with: str  # identity of explainer, templates and formats
    language: str = "en"  # of the index
    entries: list[Entry]


@dataclass
class Outcome:
    """What :func:`explain_folder` did; identifiers of videos."""

    index: Path
    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def explain_folder(
    source: Path,
    output: Path,
    explainer: Explainer,
    renderer: Renderer,
    *,
    forms: tuple[str, ...] = (),
    sources: Sequence[Path | None] = (),
    remote: Remote | None = None,
) -> Outcome:
    """Explain every video of ``source`` into ``output`` and write ``index.html`` over the reports.

    A video whose reports were made from the same file with the same options, and are all there, is skipped, so an
    interrupted call continues where it stopped. A video that fails gets a row in the index and does not stop the
    others.

    Parameters
    ----------
    source
        Folder of videos, searched with its sub-folders; a glob or a list of videos.
    output
        Folder of the reports.
    explainer
        How to explain. Its scorer may be a :class:`ScoreFileScorer` on a folder with one file per video.
    renderer
        Language and templates.
    forms
        Formats in addition to HTML and JSON.
    sources
        Files and folders, other than the videos, that a report must not overwrite and a manifest names.
    remote
        Explains the videos instead of ``explainer``, which then only says what the reports are made with.

    Raises
    ------
    UsageError
        No video in ``source``, ``output`` is a file, or a report would overwrite a video or one of the sources.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is not a folder", "give a folder for the reports")
    videos = find_videos(source)
    views = (*ALWAYS, *(form for form in forms if form not in ALWAYS))
    pages = _pages(videos)
    unknown = [form for form in forms if form not in FILE_FORMATS]
    if unknown:
        raise UsageError(f"--format {unknown[0]} is not a format", f"use {', '.join(FILE_FORMATS)}")
    files = {name: [output / f"{page}{file_suffix(form)}" for form in views] for name, page in pages.items()}
    refuse_inputs(
        {"--output": [output / INDEX, output / STATE, *(file for written in files.values() for file in written)]},
        (*sources, *videos.values(), *_score_files(explainer, videos)),
    )
    made_with, language = _identity(explainer, renderer, forms), renderer.phrases.language
    kept = {entry.video: entry for entry in _state(output, made_with)}
    outcome, jobs = Outcome(output / INDEX), []
    for name, path in videos.items():
        entry = kept.get(name)
        exists = entry is not None and entry.page is not None and all(file.is_file() for file in files[name])
        if entry is not None and exists and entry.sha256 and entry.sha256 == _digest(path):
            outcome.reused.append(name)
        else:
            jobs.append(Job(name, path, output, pages[name], views, tuple(one for one in sources if one is not None)))
    made = remote(jobs) if remote is not None else (explain_job(job, explainer, renderer) for job in jobs)
    for entry in track(made, "explaining videos", len(jobs)):
        kept[entry.video] = entry
        entries = [kept[printable(name)] for name in videos if printable(name) in kept]
        write_json(output / STATE, State(made_with=made_with, language=language, entries=entries).model_dump())
        (outcome.failed if entry.page is None else outcome.made).append(entry.video)
    entries = [kept[printable(name)] for name in videos if printable(name) in kept]
    _write_index(output, State(made_with=made_with, language=language, entries=entries), renderer)
    if outcome.reused:
        logger.info("%d of %d reports exist already", len(outcome.reused), len(videos))
    return outcome


def forget_reports(folder: Path, deleted: Iterable[Path]) -> None:
    """Take reports that were deleted out of the indexes below ``folder``."""
    gone, root = {path.resolve() for path in deleted}, folder.resolve()
    for path in sorted(folder.rglob(STATE)):
        state = _read_state(path.parent)
        if state is None or not path.resolve().is_relative_to(root):
            continue
        left = [one for one in state.entries if one.page is None or _page_of(path.parent, one.page) not in gone]
        if len(left) < len(state.entries):
            _write_index(path.parent, state.model_copy(update={"entries": left}), Renderer(state.language))
            logger.info("%s lists them no more", path.with_name(INDEX))


def _page_of(folder: Path, page: str) -> Path:
    return (folder / unquote(page)).resolve()


def _write_index(folder: Path, state: State, renderer: Renderer) -> None:
    write_json(folder / STATE, state.model_dump())
    write_text(folder / INDEX, renderer.index([entry.model_dump() for entry in state.entries]))


@dataclass(frozen=True)
class Job:
    """One video to explain.

    Attributes
    ----------
    name
        Identifier.
    path
        The video.
    output
        Folder of the reports.
    page
        Path of its reports in that folder, without suffix.
    views
        Formats to write.
    inputs
        Files and folders that were given beside the video.
    """

    name: str
    path: Path
    output: Path
    page: str
    views: tuple[str, ...]
    inputs: tuple[Path, ...] = ()


Remote = Callable[[Sequence[Job]], Iterator[Entry]]


def explain_job(job: Job, explainer: Explainer, renderer: Renderer) -> Entry:
    """Explain one video and write its reports; an error becomes the reason in the entry."""
    name, path = job.name, job.path
    digest = _digest(path)
    try:
        check_name(name)
        targets = [(job.output / f"{job.page}{file_suffix(form)}", form) for form in job.views]
        explanation = explainer.explain(path)
        inputs = files_read(explainer.scorer, job.inputs, path)
        report = write_views(explanation, targets, renderer, inputs=inputs)
    except Exception as error:  # an unexpected error in one video must not stop the others
        reason = failure_of(path, error)
        logger.warning(reason)
        return failed_entry(name, reason, digest)
    return index_entry(name, job.page, digest, with_sentences(report, renderer.phrases))


def failed_entry(name: str, reason: str, digest: str = "") -> Entry:
    """The row of a video that could not be explained."""
    return Entry(video=printable(name), sha256=digest, reason=printable(reason))


def printable(text: str) -> str:
    """``text`` with bytes of a file name that are not UTF-8 as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _digest(path: Path) -> str:
    """SHA-256 of a video; empty where it cannot be read, which is reported when it is explained."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _pages(videos: Mapping[str, Path]) -> dict[str, str]:
    """Path of each video's reports in the output folder, without suffix; never that of the index itself."""
    pages = {}
    for name, path in videos.items():
        page = name
        while page.lower() == Path(INDEX).stem or (page != name and page in videos):
            page = path.name if page == name else f"{page}-video"
        pages[name] = page
    return pages


def _score_files(explainer: Explainer, videos: Mapping[str, Path]) -> list[Path]:
    """Files of scores that are read, where the scores come from a folder."""
    scorer = explainer.scorer
    if not isinstance(scorer, ScoreFileScorer) or scorer.videos is None:
        return []
    return [path for video in videos.values() for path in score_files(scorer.path, video.relative_to(scorer.videos))]


def index_entry(name: str, page: str, digest: str, report: Report) -> Entry:
    """The row of a report that has its sentences; ``page`` is its path without suffix."""
    top = None if report.summary.top_event is None else report.events[report.summary.top_event - 1]
    category = top.categories[0] if top is not None and top.categories else None
    return Entry(
        video=name,
        sha256=digest,
        page=quote(f"{page}.html"),
        duration_s=report.video.duration_s,
        events=report.summary.events,
        abnormal_s=report.summary.abnormal_s,
        highest_score=report.summary.highest_score,
        first_s=report.events[0].start_s if report.events else None,
        category=category.name if category else None,
        category_text=category.text if category else None,
        verdict=None
        if top is None
        else next(s.text for s in report.sentences if s.place == f"event/{top.number}/category"),
        comparable=report.method.trained,
        limitations=[s.text for s in report.sentences if s.place == "limitations" and s.key not in OF_ONE_VIDEO],
    )


def _state(output: Path, made_with: str) -> list[Entry]:
    """Entries of an earlier call with the same options; none if the file is missing, damaged or from others."""
    state = _read_state(output)
    return state.entries if state is not None and state.made_with == made_with else []


def _read_state(folder: Path) -> State | None:
    try:
        return State.model_validate_json((folder / STATE).read_bytes())
    except (OSError, ValidationError):
        return None


def _identity(explainer: Explainer, renderer: Renderer, forms: tuple[str, ...]) -> str:
    """Hash of everything but the videos that decides what the reports say."""
    facts = [explainer.identity(), renderer.fingerprint(), *forms]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
