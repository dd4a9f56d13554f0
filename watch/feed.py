"""One thread for each camera: it connects, decodes, and puts windows into the queue; it connects again after a loss."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from kgvad.errors import FeatureError, KgvadError, VideoError, unexpected
from kgvad.explain.analysis.live_events import Reason
from kgvad.video.cameras import Camera, Clock, open_camera
from kgvad.video.clip_recorder import ClipRecorder
from kgvad.video.decode import probe
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import check_name
from kgvad.video.live_reader import LiveConnection, LiveReader, LiveWindow, live_windows
from kgvad.watch.scene import SceneMeter
from kgvad.watch.window_queue import Notice, Row, Segment, WindowQueue

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0  # between two attempts to connect
FOLDER_POLL_S = 2.0
CLOCK_SET_S = 3600.0  # a longer jump of the timestamps is no gap
DRIFT_S = 2.0  # by which a camera's clock may differ before it is said and corrected
DRIFT_WINDOW_S = 60.0

Mask = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


class _Stopped(BaseException):
    """Watching ends."""


class CameraFeed(Thread):
    """Reads one camera.

    Parameters
    ----------
    camera
        What is read.
    encoder
        Whose windows are made.
    queue
        Where they go.
    clock, stop
        Time, and whether watching ends.
    mask
        Hides the zones to ignore in a window.
    once, seen
        Of a folder: end when its clips are done, and the names of those that were done before.
    """

    def __init__(
        self,
        camera: Camera,
        encoder: VisualEncoder,
        queue: WindowQueue,
        *,
        clock: Clock,
        stop: Event,
        mask: Mask | None = None,
        once: bool = False,
        seen: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(name=f"camera {camera.name}", daemon=True)
        self.camera, self._encoder, self._queue = camera, encoder, queue
        self._clock, self._stop_event, self._mask = clock, stop, mask
        self._once, self._seen = once, set(seen)

    def run(self) -> None:
        """Read until the source ends or watching stops."""
        try:
            if self.camera.kind == "folder":
                self._folder()
            elif self.camera.kind == "file":
                self._play()
            else:
                self._reconnecting()
        except _Stopped:
            pass
        except KgvadError as error:
            self._tell("lost", str(error))
        except Exception as error:  # one camera must not end the others
            self._tell("lost", unexpected(error))
        finally:
            self._queue.end(self.camera.name)

    def _reconnecting(self) -> None:
        """Connect again and again; the wait grows with each attempt that gives no picture."""
        while not self._stop_event.is_set():
            retrying = Retrying(
                wait=wait_exponential(1, max=LONGEST_WAIT_S) + wait_random(0, 1),
                retry=retry_if_exception_type(VideoError),
                sleep=self._sleep,
                before_sleep=self._say_lost,
            )
            reason = retrying(self._attempt)
            self._tell("lost", f"the connection ended ({reason}); connecting again")
            self._sleep(1.0)

    def _attempt(self) -> str:
        rows, reason = self._play()
        if not rows:
            raise VideoError(f"camera {self.camera.name} ({self.camera.shown}) gave no pictures ({reason})")
        return reason

    def _say_lost(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        wait_s = 0.0 if state.next_action is None else state.next_action.sleep
        self._tell("lost", f"{error}; attempt {state.attempt_number}, the next in {wait_s:.0f} s", wait_s)

    def _folder(self) -> None:
        """Every clip of the folder, in the order of time; new ones as they come."""
        folder = Path(self.camera.address)
        while True:
            try:
                found = find_videos(folder)
            except KgvadError:
                found = {}
            fresh = [name for name, path in found.items() if name not in self._seen and self._is_complete(path)]
            for name in sorted(fresh, key=lambda name: found[name].stat().st_mtime):
                self._seen.add(name)
                try:
                    check_name(name)
                    self._play(found[name], name)
                except (FeatureError, VideoError) as error:
                    self._tell("lost", str(error))
            if self._once and not fresh:
                return
            self._sleep(FOLDER_POLL_S)

    def _is_complete(self, path: Path) -> bool:
        """Whether nobody has written to the file lately."""
        modified = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
        return self._once or self._clock.now() - modified >= timedelta(seconds=2 * FOLDER_POLL_S)

    def _play(self, path: Path | None = None, clip: str | None = None) -> tuple[int, str]:
        """All segments of one connection, or of a clip; the number of rows, and why it ended."""
        rows, start = 0, None
        if path is not None:
            end = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
            start = end - timedelta(seconds=probe(path).duration_s)
        with open_camera(self.camera, path) as (container, stream):
            recorder = ClipRecorder(stream)
            connection = LiveConnection(container, stream, recorder.add, self._clock.monotonic)
            self._tell("connected", self.camera.shown if path is None else path.name)
            try:
                while True:
                    played = self._play_segment(connection, recorder, start, clip)
                    rows += played
                    if connection.gap_s is None:
                        break
                    if played:  # without a row it is the first report of an RTSP server's clock
                        self._tell("gap", _jump(connection.gap_s), connection.gap_s)
                    start = None
            finally:
                self._put(Notice("ended", "", closes=recorder))
            if connection.damaged:
                logger.warning("camera %s: %d damaged packets were skipped", self.camera.name, connection.damaged)
        return rows, connection.error or "the camera closed it"

    def _play_segment(
        self, connection: LiveConnection, recorder: ClipRecorder, start: datetime | None, clip: str | None
    ) -> int:
        meter, pace = SceneMeter(), _Pace(self.camera, self._clock, self._stop_event)

        def observe(frame: Any, time_s: float) -> None:
            meter(frame, time_s)
            pace(time_s)

        reader = LiveReader(connection, self._encoder, observe)
        if reader.is_empty:
            return 0
        segment = Segment(start or self._clock.now(), connection.first_s, recorder, clip)
        rows = 0
        for window in live_windows(reader, self._encoder):
            segment = self._follow_clock(segment, pace, window)
            if self._mask is not None:
                window = LiveWindow(self._mask(window.frames), window.start_s, window.end_s)
            self._put(Row(segment, window, meter.take()))
            rows += 1
        reason: Reason = "ended" if self.camera.kind in ("file", "folder") else "lost"
        self._put(Notice("ended", "", ends=(segment, reason)))
        return rows

    def _follow_clock(self, segment: Segment, pace: _Pace, window: LiveWindow) -> Segment:
        """The segment, moved where the camera's clock and this machine's have drifted apart."""
        drift_s = pace.drift_s(window.end_s)
        if drift_s is None:
            return segment
        faster = "slower" if drift_s > 0 else "faster"
        self._tell("drift", f"the camera's clock ran {abs(drift_s):.1f} s {faster} than this machine's", drift_s)
        return replace(segment, start=segment.start + timedelta(seconds=drift_s))

    def _tell(self, state: Any, detail: str, seconds: float | None = None) -> None:
        self._put(Notice(state, detail, self._clock.now(), seconds))

    def _put(self, item: Row | Notice) -> None:
        self._queue.put(self.camera.name, item, self._stop_event.is_set)
        if isinstance(item, Row) and self._stop_event.is_set():
            raise _Stopped

    def _sleep(self, seconds: float) -> None:
        if self._clock.wait(seconds, self._stop_event):
            raise _Stopped


def _jump(seconds: float) -> str:
    if 0 < seconds < CLOCK_SET_S:
        return f"{seconds:.1f} s of pictures are missing"
    return f"the camera set its clock by {seconds:+.1f} s"


class _Pace:
    """Holds a file to real time, and measures how far the timestamps of a camera run from the clock."""

    def __init__(self, camera: Camera, clock: Clock, stop: Event) -> None:
        self._camera, self._clock, self._stop_event = camera, clock, stop
        self._began_s = clock.monotonic()
        self._reference_s: float | None = None  # least lag of the first minute
        self._least_s = np.inf  # least lag of this minute
        self._minute_end_s = DRIFT_WINDOW_S

    def __call__(self, time_s: float) -> None:
        """A frame of this second was decoded."""
        if self._stop_event.is_set():
            raise _Stopped
        now_s = self._clock.monotonic() - self._began_s
        if self._camera.kind == "file" and time_s > now_s:
            if self._clock.wait(time_s - now_s, self._stop_event):
                raise _Stopped
            now_s = self._clock.monotonic() - self._began_s
        self._least_s = min(self._least_s, now_s - time_s)

    def drift_s(self, time_s: float) -> float | None:
        """By how much the lag of the last minute differs from the reference, where that is more than :data:`DRIFT_S`.

        The least lag of a minute is compared, because what the network delays arrives late and never early.
        """
        if not self._camera.is_live or time_s < self._minute_end_s:
            return None
        least_s, self._least_s = self._least_s, np.inf
        self._minute_end_s = time_s + DRIFT_WINDOW_S
        if self._reference_s is None:
            self._reference_s = least_s
        drift_s = float(least_s - self._reference_s)
        if abs(drift_s) <= DRIFT_S:
            return None
        self._reference_s = least_s
        return drift_s
