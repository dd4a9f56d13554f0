"""The folder of what was seen: a report and a clip of each event, and a journal of the events that are open."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from kgvad.errors import KgvadError, UsageError
from kgvad.explain.analysis.events import Calibration, EventRule, Thresholds
from kgvad.explain.explainer import Explainer
from kgvad.explain.media.clips import safe_name
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.rendering.sentences import with_sentences
from kgvad.explain.rendering.writers import write_views
from kgvad.explain.report import Report, Setting
from kgvad.files import append_line, write_text
from kgvad.locks import hold
from kgvad.video.clip_recorder import finish_clip
from kgvad.video.redaction import FaceFinder
from kgvad.watch.messages import EventMessage, from_line, to_line
from kgvad.watch.rows import RowScorer

logger = logging.getLogger(__name__)

OPEN, DONE = "open", "done"  # folders of the journal, and of the names of the clips that were watched
FORMS = ("html", "json")  # of a report
SAID = ("event_category", "evidence_summary")  # sentences of the report that a message quotes, by their beginnings


def said(report: Report) -> tuple[str | None, str | None]:
    """What a report says about its strongest event, and the category where one is named."""
    if report.summary.top_event is None:
        return None, None
    event = report.events[report.summary.top_event - 1]
    about = [s for s in report.sentences if s.place.split("/")[:2] == ["event", str(event.number)]]
    text = " ".join(sentence.text for sentence in about if sentence.key.startswith(SAID))
    return text or None, event.categories[0].name if event.category_clear and event.categories else None


@dataclass(frozen=True)
class Archive:
    """Files about events.

    Attributes
    ----------
    folder
        Where they are written; one sub-folder for each camera.
    renderer
        Language and templates of reports.
    category_texts
        Category name to words.
    face_finder
        Finds the faces that are blurred in clips and reports; ``None``: none is blurred.
    set_by_user
        What the user chose of the rule for events.
    """

    folder: Path
    renderer: Renderer
    category_texts: Mapping[str, str]
    face_finder: FaceFinder | None = None
    set_by_user: tuple[Setting, ...] = ()

    def lock(self) -> FileLock:
        """Keep the folder for this process; release the lock at the end.

        Raises
        ------
        UsageError
            Another process watches into this folder.
        """
        taken = UsageError(f"--output {self.folder} is in use by another kgvad watch", "give another folder")
        return hold(self.folder / ".lock", taken)

    def recording(self, message: EventMessage) -> Path:
        """Where the clip of an open event is written."""
        return self.folder / OPEN / f"{safe_name(message.id)}.mkv"

    def note_open(self, message: EventMessage) -> None:
        """Write what is known about an open event into the journal."""
        write_text(self._journal(message), to_line(message) + "\n")

    def forget_open(self, message: EventMessage) -> None:
        """The event was closed and sent."""
        self._journal(message).unlink(missing_ok=True)

    def interrupted(self, now: datetime) -> list[EventMessage]:
        """The events that were open when an earlier process ended, as closing messages; their clips are finished."""
        found = []
        for path in sorted((self.folder / OPEN).glob("*.json")):
            try:
                message = from_line(path.read_bytes())
            except (OSError, ValidationError):
                path.unlink(missing_ok=True)
                continue
            if isinstance(message, EventMessage):
                clip = self._finish_clip(message)
                update = {"kind": "close", "reason": "interrupted", "time": now, "clip": self._relative(clip)}
                found.append(message.model_copy(update=update))
        for left in (self.folder / OPEN).glob("*.mkv"):
            left.unlink()
        return found

    def close(
        self, message: EventMessage, scorer: RowScorer | None, rule: EventRule, calibration: Calibration | None = None
    ) -> EventMessage:
        """Write clip and report of an event that is over; the message with their places and what the report says."""
        clip = self._finish_clip(message)
        report = None if scorer is None or not scorer.rows else self._report(message, scorer, rule, clip, calibration)
        update: dict[str, object] = {"clip": self._relative(clip)}
        if report is not None:
            text, category = said(report)
            update |= {"report": self._relative(self._target(message, "html")), "text": text, "category": category}
        return message.model_copy(update=update)

    def done_clips(self, camera: str) -> frozenset[str]:
        """Names of the clips of a folder that were watched."""
        try:
            return frozenset((self.folder / DONE / safe_name(camera)).read_text("utf-8").splitlines())
        except OSError:
            return frozenset()

    def note_done(self, camera: str, clip: str) -> None:
        """A clip of a folder was watched to its end."""
        path = self.folder / DONE / safe_name(camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, clip)

    def _report(
        self,
        message: EventMessage,
        scorer: RowScorer,
        rule: EventRule,
        clip: Path | None,
        calibration: Calibration | None,
    ) -> Report | None:
        values = (rule.onset, rule.offset, rule.merge_gap_s, rule.min_duration_s)
        thresholds = Thresholds(*values, calibration, self.set_by_user)
        explainer = Explainer(scorer, thresholds, self.category_texts, face_finder=self.face_finder)
        try:
            explanation = explainer.explain(clip)
            targets = [(self._target(message, form), form) for form in FORMS]
            return with_sentences(write_views(explanation, targets, self.renderer), self.renderer.phrases)
        except KgvadError as error:
            logger.warning("no report of event %s: %s", message.id, error)
            return None

    def _finish_clip(self, message: EventMessage) -> Path | None:
        recorded, target = self.recording(message), self._target(message, "mp4")
        if not recorded.is_file():
            return target if target.is_file() else None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            finish_clip(recorded, target, self.face_finder)
        except KgvadError as error:
            logger.warning("no clip of event %s: %s", message.id, error)
            recorded.unlink(missing_ok=True)
            return None
        return target

    def _journal(self, message: EventMessage) -> Path:
        return self.recording(message).with_suffix(".json")

    def _target(self, message: EventMessage, form: str) -> Path:
        return self.folder / safe_name(message.camera) / f"{safe_name(message.id)}.{form}"

    def _relative(self, path: Path | None) -> str | None:
        return None if path is None else path.relative_to(self.folder).as_posix()
