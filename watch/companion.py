"""Explains what others detected: clips of Frigate's reviews, or clips that another program puts into a folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from queue import Empty, Queue
from threading import Event
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kgvad.errors import FeatureError, KgvadError
from kgvad.explain.explainer import Explainer
from kgvad.explain.media.clips import safe_name
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.rendering.sentences import with_sentences
from kgvad.explain.rendering.writers import write_views
from kgvad.files import append_line
from kgvad.video.cameras import Clock, SystemClock
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import check_name
from kgvad.video.redaction import write_redacted
from kgvad.watch.archive import FORMS, said
from kgvad.watch.frigate import Frigate, Review, ended_review
from kgvad.watch.messages import Moment

logger = logging.getLogger(__name__)

POLL_S = 2.0
NOTHING = "kgvad found no abnormal event in this clip."


class Explained(BaseModel):
    """A clip that was explained; one line on stdout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    kind: Literal["explained"] = "explained"
    id: str = Field(description="Identifier of the review, or name of the clip.")
    camera: str | None = Field(default=None, description="Camera, where it is known.")
    time: Moment = Field(description="When it was explained, UTC.")
    events: int = Field(description="Abnormal events in the clip.")
    score: float | None = Field(default=None, description="Highest anomaly score, 0 to 1.")
    category: str | None = Field(default=None, description="Category of the strongest event, where one is named.")
    text: str = Field(description="What the report says.")
    report: str = Field(description="Report, relative to the folder.")
    clip: str | None = Field(default=None, description="Clip, relative to the folder.")


@dataclass(frozen=True)
class ClipExplainer:
    """Explains clips into a folder.

    Attributes
    ----------
    explainer
        As for ``kgvad explain``.
    renderer
        Language and templates of the reports.
    folder
        Where reports are written.
    """

    explainer: Explainer
    renderer: Renderer
    folder: Path

    def explain(self, clip: Path, name: str, camera: str | None, now: datetime) -> Explained:
        """Write the report of a clip.

        Raises
        ------
        KgvadError
            The clip cannot be read, or the report cannot be written.
        """
        explanation = self.explainer.explain(clip)
        base = self.folder / safe_name(camera or "clips") / _file_name(name)
        targets = [(base.with_name(f"{base.name}.{form}"), form) for form in FORMS]
        report = with_sentences(write_views(explanation, targets, self.renderer), self.renderer.phrases)
        text, category = said(report)
        inside = clip.is_relative_to(self.folder)
        return Explained(
            id=name,
            camera=camera,
            time=now,
            events=report.summary.events,
            score=report.summary.highest_score,
            category=category,
            text=text or NOTHING,
            report=targets[0][0].relative_to(self.folder).as_posix(),
            clip=clip.relative_to(self.folder).as_posix() if inside else None,
        )

    def redact(self, clip: Path) -> None:
        """Replace a clip of ours by one with blurred faces, where the explainer blurs them.

        Raises
        ------
        KgvadError
            That is not possible; the clip is gone then.
        """
        if self.explainer.face_finder is not None:
            try:
                write_redacted(clip, clip, self.explainer.face_finder)
            except KgvadError:
                clip.unlink(missing_ok=True)
                raise


class Done:
    """Names of what was explained, in a file, so that nothing is explained twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names: dict[str, float] = {}
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                time, _, name = line.partition(" ")
                if name:
                    self.names[name] = float(time)

    @property
    def latest(self) -> float | None:
        """Time of the latest, seconds since 1970."""
        return max(self.names.values(), default=None)

    def skip(self, name: str, time: float) -> None:
        """It cannot be explained now; the next start tries again."""
        self.names[name] = time

    def add(self, name: str, time: float) -> None:
        """It was explained."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self._path, f"{time:.3f} {name}")
        self.names[name] = time


def reviews(
    frigate: Frigate, subscribe: Callable[[Callable[[bytes], None]], Any], done: Done, stop: Event
) -> Iterator[Review]:
    """Reviews that ended and were not explained, first those that ended while nobody listened.

    Parameters
    ----------
    subscribe
        Called once with what takes the payload of a message.
    """
    waiting: Queue[Review] = Queue()

    def take(payload: bytes) -> None:
        review = ended_review(payload)
        if review is not None:
            waiting.put(review)

    subscribe(take)
    if done.latest is not None:
        for review in frigate.reviews_since(done.latest):
            waiting.put(review)
    while not stop.is_set():
        try:
            review = waiting.get(timeout=0.5)
        except Empty:
            continue
        if review.id not in done.names:
            yield review


def explain_reviews(
    frigate: Frigate,
    found: Iterator[Review],
    explainer: ClipExplainer,
    done: Done,
    emit: Callable[[Explained], None],
    clock: Clock | None = None,
) -> None:
    """Fetch the clip of each review, explain it, and write the result to its detections in Frigate."""
    clock = clock or SystemClock()
    for review in found:
        clip = explainer.folder / safe_name(review.camera) / f"{_file_name(review.id)}.mp4"
        try:
            frigate.fetch_clip(review, clip)
            result = explainer.explain(clip, review.id, review.camera, clock.now())
            explainer.redact(clip)
            emit(result)
            for event in review.data.detections:
                frigate.describe(event, result.text, result.category)
            done.add(review.id, review.end_time or review.start_time)
        except KgvadError as error:
            logger.warning("review %s of camera %s: %s", review.id, review.camera, error)
            done.skip(review.id, review.end_time or review.start_time)
            if explainer.explainer.face_finder is not None:
                clip.unlink(missing_ok=True)


def _file_name(name: str) -> str:
    """``name`` as a part of a file name, with a hash where two names would be one (``door/1`` and ``door_1``)."""
    safe = safe_name(name)
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def explain_clips(
    source: Path,
    explainer: ClipExplainer,
    done: Done,
    emit: Callable[[Explained], None],
    *,
    stop: Event,
    once: bool = False,
    clock: Clock | None = None,
) -> None:
    """Explain every clip of a folder, and those that come."""
    clock = clock or SystemClock()
    while not stop.is_set():
        try:
            clips = find_videos(source)
        except KgvadError:
            clips = {}
        for name, path in clips.items():
            try:
                modified = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
            except OSError:  # deleted since it was found
                continue
            is_complete = once or (clock.now() - modified).total_seconds() >= 2 * POLL_S
            if name in done.names or not is_complete or stop.is_set():
                continue
            try:
                check_name(name)
            except FeatureError as error:
                logger.warning("%s", error)
                done.skip(name, modified.timestamp())  # the file of names cannot hold it
                continue
            try:
                emit(explainer.explain(path, name, None, clock.now()))
                done.add(name, modified.timestamp())
            except KgvadError as error:
                logger.warning("%s", error)
                done.skip(name, modified.timestamp())
        if once or clock.wait(POLL_S, stop):
            return
