"""A folder of videos: one report each, and a page that lists them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from kgvad.console import track
from kgvad.errors import KgvadError, UsageError
from kgvad.explain.explainer import Explainer, Options
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.rendering.writers import write_views
from kgvad.explain.report import Report
from kgvad.files import refuse_inputs, sha256, write_json, write_text
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import check_name

logger = logging.getLogger(__name__)


ALWAYS = ("html", "json")  # the index links to the one and is remade from the other
INDEX, STATE = "index.html", "index.json"
SCORE_SUFFIXES = (".npz", ".json", ".csv")


class Entry(BaseModel):
    """One line of the index."""

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
    category: str | None = None  # of the strongest event
    category_text: str | None = None
    hint: bool = False


class State(BaseModel):
    """``index.json``: what was made, with which options."""

    model_config = ConfigDict(extra="forbid")

    options: str
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
) -> Outcome:
    """Explain every video of ``source`` into ``output`` and write ``index.html`` over the reports.

    A video whose report was made from the same file with the same options is not looked at again, so an interrupted
    call goes on where it stopped. A video that fails costs a line in the index, not the rest.

    Parameters
    ----------
    source
        Folder of videos, searched with its sub-folders.
    output
        Folder of the reports.
    explainer
        How to explain; its option ``scores`` may name a folder with one file a video.
    renderer
        Language and templates.
    forms
        Formats beside HTML and JSON.
    sources
        Files and folders, beside the videos, that a report must not overwrite.

    Raises
    ------
    UsageError
        No video in ``source``, ``output`` is a file, or a report would overwrite a video or one of the sources.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is not a folder", "a folder of videos needs a folder for its reports")
    videos = find_videos(source)
    views = (*ALWAYS, *(form for form in forms if form not in ALWAYS))
    pages = _pages(videos)
    given = explainer.options.scores
    written = [output / f"{page}.{form}" for page in pages.values() for form in views]
    refuse_inputs(
        {"--output": [output / INDEX, output / STATE, *written]},
        (*sources, *videos.values(), *(_scores_files(given, videos) if given is not None else ())),
    )
    made_with = _fingerprint(explainer.options, renderer, forms)
    done = {entry.video: entry for entry in _state(output, made_with)}
    outcome, entries = Outcome(output / INDEX), []
    for name, path in track(videos.items(), "explaining", len(videos)):
        digest = _digest(path)
        before = done.get(name)
        if (
            before is not None
            and digest
            and before.sha256 == digest
            and before.page is not None
            and (output / f"{pages[name]}.html").is_file()
        ):
            entry = before
            outcome.reused.append(name)
        else:
            entry = _one(name, path, digest, output, pages[name], explainer, renderer, views)
            (outcome.failed if entry.page is None else outcome.made).append(name)
        entries.append(entry)
        ahead = [done[other] for other in list(videos)[len(entries) :] if other in done]  # kept if interrupted now
        write_json(output / STATE, State(options=made_with, entries=[*entries, *ahead]).model_dump())
    write_text(output / INDEX, renderer.index([entry.model_dump() for entry in entries]))
    if outcome.reused:
        logger.info(f"{len(outcome.reused)} of {len(videos)} reports were there already")
    return outcome


def _one(
    name: str,
    path: Path,
    digest: str,
    output: Path,
    page: str,
    explainer: Explainer,
    renderer: Renderer,
    views: tuple[str, ...],
) -> Entry:
    try:
        check_name(name)
        given = explainer.options.scores
        one = explainer if given is None else explainer.with_scores(scores_of(given, name))
        explained = one.explain(path)
        targets = [(output / f"{page}.{form}", form) for form in views]
        report = write_views(explained, targets, renderer)
    except KgvadError as error:
        reason = " ".join(str(error).split())
        logger.warning(reason)
        return Entry(video=printable(name), sha256=digest, reason=printable(reason))
    except Exception as error:  # a fault met in one video must not cost the others
        reason = f"{path} failed unexpectedly ({type(error).__name__}: {' '.join(str(error).split())})"
        logger.warning(reason)
        return Entry(video=printable(name), sha256=digest, reason=printable(reason))
    return _entry(name, page, digest, report)


def printable(text: str) -> str:
    """``text`` with bytes of a file name that are not UTF-8 as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _digest(path: Path) -> str:
    """SHA-256 of a video; empty where it cannot be read, which explaining it reports."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _pages(videos: Mapping[str, Path]) -> dict[str, str]:
    """Path of each video's reports in the output folder, without suffix; that of the index itself is kept free."""
    pages = {}
    for name, path in videos.items():
        page = name
        while page.lower() == Path(INDEX).stem or (page != name and page in videos):
            page = path.name if page == name else f"{page}-video"
        pages[name] = page
    return pages


def _scores_files(folder: Path, videos: Iterable[str]) -> list[Path]:
    return [folder / f"{name}{suffix}" for name in videos for suffix in SCORE_SUFFIXES]


def scores_of(folder: Path, name: str) -> Path:
    """The file of scores of one video in a folder of them.

    Raises
    ------
    UsageError
        ``folder`` is no folder, or has none for the video.
    """
    for suffix in SCORE_SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise UsageError(f"{folder} has no scores for {name}", f"expected {name}.npz, .json or .csv")


def _entry(name: str, page: str, digest: str, report: Report) -> Entry:
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
        hint=report.method.names_categories == "hint",
    )


def _state(output: Path, made_with: str) -> list[Entry]:
    """Entries of an earlier call with the same options; none where the file is missing, damaged or of other options."""
    try:
        state = State.model_validate_json((output / STATE).read_bytes())
    except (OSError, ValidationError):
        return []
    return state.entries if state.options == made_with else []


def _fingerprint(options: Options, renderer: Renderer, forms: tuple[str, ...]) -> str:
    """Hash of all that decides what a report says, but the videos: a changed bank, run or template makes it anew."""
    facts: dict[str, Any] = asdict(replace(options, device="")) | {"templates": renderer.fingerprint()}
    given = (options.run, options.anchors, options.scores, options.captions, options.features)
    facts |= {"forms": forms, "sources": [_stamp(path) for path in given]}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _stamp(path: Path | None) -> float | None:
    return path.stat().st_mtime if path is not None and path.exists() else None
