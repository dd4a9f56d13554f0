"""Watches cameras: one encoder for all of them, events as messages, a report and a clip of each event that closed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Event, Lock
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from kgvad.console import count_of
from kgvad.detector.run import Run
from kgvad.errors import KgvadError, ReportError
from kgvad.explain.analysis.events import Calibration, EventRule
from kgvad.explain.analysis.live_events import EventChange
from kgvad.video.cameras import Camera, Clock, SystemClock
from kgvad.video.encoders.base import VisualEncoder
from kgvad.watch.archive import Archive
from kgvad.watch.camera_settings import CameraSettings, CameraThresholds, ScenePicture
from kgvad.watch.feed import CameraFeed
from kgvad.watch.messages import CameraMessage, CameraState, EventMessage, event_id
from kgvad.watch.rows import RowScorer
from kgvad.watch.scene_drift import SceneWatch
from kgvad.watch.tracker import CameraTracker
from kgvad.watch.window_queue import Notice, Row, Segment, WindowQueue

if TYPE_CHECKING:
    from kgvad.detector.training.exemplars import Exemplars

logger = logging.getLogger(__name__)

BEFORE_EVENT_S = 10.0  # shown in a clip before its event
UPDATE_S = 5.0  # stream time between two updates of one event
SKIP_REPORT_S = 60.0  # between two messages about skipped windows

Emit = Callable[[EventMessage | CameraMessage], None]


@dataclass(frozen=True)
class CameraRule:
    """How the events of one camera are found.

    Attributes
    ----------
    rule
        Thresholds and durations.
    settings
        Zones and times to ignore.
    calibrated
        Thresholds by hour of day, which replace those of ``rule``.
    scenes
        What the camera saw when it was calibrated.
    """

    rule: EventRule
    settings: CameraSettings = field(default_factory=CameraSettings)
    calibrated: CameraThresholds | None = None
    scenes: tuple[ScenePicture, ...] = ()

    def at(self, moment: datetime) -> EventRule | None:
        """The rule at a time; ``None`` while events are ignored."""
        if self.settings.ignores(moment):
            return None
        return self.rule if self.calibrated is None else self.calibrated.rule_at(moment, self.rule)


@dataclass(frozen=True)
class Models:
    """What all cameras share: a run in its causal form, its encoder, and its exemplars."""

    run: Run
    encoder: VisualEncoder
    exemplars: Exemplars | None = None


@dataclass(eq=False)
class _Watched:
    """One camera while it is watched."""

    camera: Camera
    tracker: CameraTracker
    feed: CameraFeed
    scene: SceneWatch
    calibration: Calibration | None
    message: EventMessage | None = None  # of the open event
    segment: Segment | None = None
    sent_until_s: float = 0.0  # end of the event in its latest message
    rule: EventRule = field(default_factory=EventRule)  # of the open event
    skipped: int = 0  # windows, when skipping was last reported
    taken: int = 0
    reported_s: float = field(kw_only=True)  # when skipping was last reported


class Watcher:
    """Watches cameras until they end or :meth:`stop` is called.

    Parameters
    ----------
    cameras
        What is watched, by the rule of each.
    models
        Run and encoder.
    emit
        Called with every message; from one thread at a time.
    archive
        Where reports, clips and the journal are written; ``None``: nowhere.
    once
        End when the clips of the folders are done.
    clock
        Time.
    """

    def __init__(
        self,
        cameras: Sequence[tuple[Camera, CameraRule]],
        models: Models,
        emit: Emit,
        archive: Archive | None = None,
        *,
        once: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._models, self._archive, self._clock = models, archive, clock or SystemClock()
        self._emit_to, self._lock, self._stop = emit, Lock(), Event()
        self.queue = WindowQueue({camera.name: camera.is_live for camera, _ in cameras})
        self._reports = ThreadPoolExecutor(1, "reports")
        self._unreported = 0  # events whose report could not be written
        self._watched, began_s = {}, self._clock.monotonic()
        for camera, rule in cameras:
            feed = CameraFeed(
                camera,
                models.encoder,
                self.queue,
                clock=self._clock,
                stop=self._stop,
                mask=rule.settings.mask,
                once=once,
                seen=frozenset() if archive is None else archive.done_clips(camera.name),
            )
            scene = SceneWatch(rule.scenes)
            calibration = None if rule.calibrated is None else rule.calibrated.calibration
            self._watched[camera.name] = _Watched(
                camera, CameraTracker(models.run, rule.at), feed, scene, calibration, reported_s=began_s
            )

    def stop(self) -> None:
        """End watching; open events are closed."""
        self._stop.set()

    def stop_on_signals(self) -> None:
        """Let Ctrl-C and SIGTERM end the watching."""
        set_on_signals(self._stop)

    def run(self) -> None:
        """Watch until every camera ended or :meth:`stop` was called.

        Raises
        ------
        ReportError
            At the end: there are events without a report, though there is an archive.
        """
        lock = None if self._archive is None else self._archive.lock()
        try:
            if self._archive is not None:
                for message in self._archive.interrupted(self._clock.now()):
                    self._emit(message)
                    self._archive.forget_open(message)
            for watched in self._watched.values():
                watched.feed.start()
            while not self._stop.is_set() and not self.queue.is_over:
                self._step()
        finally:
            self._stop.set()
            for watched in self._watched.values():
                self._change(watched, watched.tracker.finish("stopped"))
            self._reports.shutdown(wait=True)
            for name, watched in self._watched.items():
                watched.feed.join(timeout=2.0)
                taken, skipped = self.queue.taken[name], self.queue.skipped[name]
                logger.info("camera %s: %d windows scored, %d skipped", name, taken, skipped)
            if lock is not None:
                lock.release()
        if self._archive is not None and self._unreported:
            said = f"{count_of(self._unreported, 'event')} without a report in {self._archive.folder}"
            raise ReportError(said, "the warnings above say why; correct that, such as a full disk")

    def _step(self) -> None:
        rows: list[tuple[_Watched, Row]] = []
        for name, item in self.queue.take(max(1, self._models.encoder.batch)):
            watched = self._watched[name]
            if isinstance(item, Row):
                rows.append((watched, item))
            else:
                self._notice(watched, item)
        while rows:
            shape = rows[0][1].window.frames.shape
            batch = [pair for pair in rows if pair[1].window.frames.shape == shape]
            rows = [pair for pair in rows if pair[1].window.frames.shape != shape]
            features = self._models.encoder.encode(np.stack([row.window.frames for _, row in batch]))
            for (watched, row), one in zip(batch, features, strict=True):
                watched.segment = row.segment
                self._change(watched, watched.tracker.push(row, one))
                self._report_skipping(watched)
                changed = watched.scene.push(row.segment.moment(row.window.end_s), row.scene.picture)
                if changed is not None:
                    self._tell(watched, "scene", changed)

    def _notice(self, watched: _Watched, notice: Notice) -> None:
        if notice.ends is not None:
            segment, reason = notice.ends
            self._change(watched, watched.tracker.finish(reason))
            if segment.clip is not None and self._archive is not None:
                with _said():
                    self._archive.note_done(watched.camera.name, segment.clip)
        elif notice.closes is not None:
            notice.closes.clear()
        else:
            self._tell(watched, notice.state, notice.detail, notice.seconds, notice.at)

    def _change(self, watched: _Watched, changes: list[EventChange]) -> None:
        for change in changes:
            if change.kind == "open":
                self._open(watched, change)
            elif change.kind == "close":
                self._close(watched, change)
            elif change.event.end_s - watched.sent_until_s >= UPDATE_S:
                self._update(watched, change)

    def _open(self, watched: _Watched, change: EventChange) -> None:
        watched.rule = watched.tracker.rule
        message = self._message(watched, change)
        watched.message, watched.sent_until_s = message, change.event.end_s
        if self._archive is not None and watched.segment is not None:
            with _said():
                self._archive.note_open(message)
            begin_s = watched.segment.first_s + change.event.start_s - BEFORE_EVENT_S
            if not watched.segment.recorder.start(self._archive.recording(message), begin_s):
                logger.warning("event %s has no clip: nothing was recorded, or the disk is full", message.id)
        self._emit(message)

    def _update(self, watched: _Watched, change: EventChange) -> None:
        watched.message, watched.sent_until_s = self._message(watched, change), change.event.end_s
        if self._archive is not None:
            with _said():
                self._archive.note_open(watched.message)
        self._emit(watched.message)

    def _close(self, watched: _Watched, change: EventChange) -> None:
        message = self._message(watched, change)
        watched.message = None
        if self._archive is None:
            self._emit(message)
            return
        segment = watched.segment
        began_s = None if segment is None else segment.recorder.stop()
        start_s = None if began_s is None or segment is None else began_s - segment.first_s
        shown, history = watched.tracker.of_event(change, start_s)
        scorer = RowScorer(
            run=self._models.run,
            rows=shown,
            clip_start_s=change.event.start_s if start_s is None else start_s,
            name=message.id,
            camera=message.camera,
            history=history,
            exemplars=self._models.exemplars,
        )
        self._reports.submit(self._finish, self._archive, watched, message, scorer, watched.rule)

    def _finish(
        self, archive: Archive, watched: _Watched, message: EventMessage, scorer: RowScorer, rule: EventRule
    ) -> None:
        """Write the report and tell that the event is over; runs beside the watching."""
        try:
            message = archive.close(message, scorer, rule, watched.calibration)
        except Exception as error:  # the alarm is sent whatever happens to its report
            logger.warning("event %s has no report (%s: %s)", message.id, type(error).__name__, error)
        self._unreported += message.report is None
        self._emit(message.model_copy(update={"time": self._clock.now()}))
        archive.forget_open(message)

    def _message(self, watched: _Watched, change: EventChange) -> EventMessage:
        segment, event = watched.segment, change.event
        assert segment is not None
        start = segment.moment(event.start_s)
        known = watched.message
        return EventMessage(
            kind=change.kind,
            id=event_id(watched.camera.name, start) if known is None else known.id,
            camera=watched.camera.name,
            time=self._clock.now(),
            start=start if known is None else known.start,
            end=segment.moment(event.end_s),
            peak=segment.moment(event.peak_s),
            score=round(event.peak, 4),
            threshold=round(watched.rule.onset, 4),
            reason=change.reason,
        )

    def _report_skipping(self, watched: _Watched) -> None:
        """Say once a minute how many windows were skipped, and when none are skipped any more."""
        now_s = self._clock.monotonic()
        if now_s - watched.reported_s < SKIP_REPORT_S:
            return
        name = watched.camera.name
        skipped = self.queue.skipped[name] - watched.skipped
        taken = self.queue.taken[name] - watched.taken
        watched.skipped, watched.taken, watched.reported_s = self.queue.skipped[name], self.queue.taken[name], now_s
        if skipped:
            detail = f"this machine cannot keep up: {skipped} of {skipped + taken} windows were skipped, evenly"
            self._tell(watched, "skipping", detail)

    def _tell(
        self,
        watched: _Watched,
        state: CameraState,
        detail: str,
        seconds: float | None = None,
        at: datetime | None = None,
    ) -> None:
        name, time = watched.camera.name, at or self._clock.now()
        self._emit(CameraMessage(camera=name, time=time, state=state, detail=detail, seconds=seconds))

    def _emit(self, message: EventMessage | CameraMessage) -> None:
        with self._lock:
            self._emit_to(message)


@contextmanager
def _said() -> Iterator[None]:
    """Log what cannot be written, such as on a full disk: alarms are sent all the same."""
    try:
        yield
    except (KgvadError, OSError) as error:
        logger.warning("%s", error)


def set_on_signals(stop: Event) -> None:
    """Set ``stop`` on Ctrl-C and SIGTERM, so that work ends tidily; the second one ends it as it does any command."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError):  # not the main thread
            signal.signal(number, partial(_set, stop, signal.getsignal(number)))


def _set(stop: Event, before: Any, number: int, _frame: FrameType | None) -> None:
    stop.set()
    signal.signal(number, before)
