"""Explains the videos of an inbox, one after the other, in a thread of its own."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kgvad.console import observed
from kgvad.errors import KgvadError, one_line, unexpected
from kgvad.explain.batch import index_entry
from kgvad.explain.explainer import Explainer
from kgvad.explain.rendering.render import Pictures, Renderer
from kgvad.explain.rendering.sentences import with_sentences
from kgvad.explain.report import Report
from kgvad.files import write_bytes, write_text
from kgvad.inbox.library import Library, VideoRow
from kgvad.video.redaction import write_redacted

logger = logging.getLogger(__name__)

REDACTED = "redacted.mp4"  # in the folder of a report: the video with blurred faces
PAUSE_S = 1.0  # between two looks at an empty queue


class _ClosedError(Exception):
    """The inbox is closed while a video is explained."""


@dataclass
class Progress:
    """What the worker does now; read by the pages."""

    video: int | None = None
    share: float | None = None  # of the present step


@dataclass
class Worker:
    """Takes videos from the queue and writes their reports.

    Attributes
    ----------
    library
        The inbox.
    load
        Makes the explainer, on the first video.
    renderer
        Language of the sentences.
    """

    library: Library
    load: Callable[[], Explainer]
    renderer: Renderer
    progress: Progress = field(default_factory=Progress)
    _explainer: Explainer | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work on the queue, with what an ended process left unfinished."""
        self.library.recover()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present step and wait for that; the next start explains what is not finished."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def _run(self) -> None:
        is_left = False  # whether a video may be left as being worked on, because the database could not be written
        while not self._stop.is_set():
            try:
                if is_left:
                    self.library.put_back()
                    is_left = False
                video = self.library.take()
                if video is None:
                    self._wake.wait(PAUSE_S)
                    self._wake.clear()
                else:
                    self.explain(video)
            except KgvadError as error:  # the database: full disk, for example
                logger.error("%s", error)
                is_left = True
                self._stop.wait(10 * PAUSE_S)

    def explain(self, video: VideoRow) -> None:
        """Explain one video and record the outcome; what goes wrong is recorded too."""
        self.progress = Progress(video.id)
        try:
            if self._explainer is None:
                self._explainer = self.load()
            folder = report_folder(self.library, video.id)
            with observed(self._observe):
                explanation = self._explainer.explain(Path(video.path))
                report = with_sentences(explanation.report, self.renderer.phrases)
                write_report(folder, report, explanation.pictures)
                if explanation.face_finder is not None:
                    write_redacted(Path(video.path), folder / REDACTED, explanation.face_finder)
            facts = _facts(report, self._explainer.identity())
            if not self.library.finish(video.id, facts, list(mentions(report))):
                shutil.rmtree(folder, ignore_errors=True)
        except _ClosedError:
            self.library.put_back()
        except KgvadError as error:
            logger.warning("%s", error)
            self.library.fail(video.id, one_line(error))
        except Exception as error:  # one video must not end the inbox
            logger.exception("%s cannot be explained", video.name)
            self.library.fail(video.id, unexpected(error))
        finally:
            self.progress = Progress()

    def _observe(self, _description: str, completed: float, total: float | None) -> None:
        if self._stop.is_set():
            raise _ClosedError
        self.progress = Progress(self.progress.video, completed / total if total else None)


def report_folder(library: Library, number: int) -> Path:
    """Folder of the report about a video."""
    return library.folder / "reports" / str(number)


def write_report(folder: Path, report: Report, pictures: Pictures) -> None:
    """Replace the report in ``folder``: the report itself, and a JPEG for each key frame."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for frame, picture in pictures.items():
        write_bytes(folder / f"{frame}.jpg", picture)
    write_text(folder / "report.json", report.model_dump_json(indent=1))


def read_report(folder: Path) -> tuple[Report, Pictures]:
    """The report in ``folder`` and its key frames, JPEG by frame number.

    Raises
    ------
    ReportError
        The report is missing or damaged.
    """
    report = Report.read(folder / "report.json")
    return report, {int(path.stem): path.read_bytes() for path in folder.glob("*.jpg")}


def mentions(report: Report) -> Iterator[tuple[str, float]]:
    """What a search finds the report by: categories, concepts, actions and captions of its events, with their times."""
    for event in report.events:
        for category in event.categories[: 1 if event.category_clear else 2]:  # what the headline names
            yield category.text, event.peak_s
        for text in (
            *(evidence.concept for evidence in event.evidence),
            *(term.name for term in event.contributions if term.value > 0),
            *(term.concept for term in event.contributions if term.value > 0 and term.concept),
            *(action.name for action in event.actions),
            *([event.caption] if event.caption else []),
        ):
            yield text, event.peak_s


def _facts(report: Report, identity: str) -> dict[str, object]:
    entry = index_entry(report.video.name, "report", "", report)
    clear = report.events and report.summary.top_event and report.events[report.summary.top_event - 1].category_clear
    return {
        "made_with": identity,
        "events": entry.events,
        "first_s": entry.first_s,
        "duration_s": entry.duration_s,
        "highest": entry.highest_score if entry.comparable else None,
        "category": entry.category if clear else None,
        "verdict": entry.verdict,
    }
