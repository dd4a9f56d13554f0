"""Windows of several cameras on their way to one encoder, in turn; what cannot be encoded in time is skipped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Condition

from kgvad.explain.analysis.live_events import Reason
from kgvad.video.clip_recorder import ClipRecorder
from kgvad.video.live_reader import LiveWindow
from kgvad.watch.messages import CameraState
from kgvad.watch.scene import SceneFacts

WAITING = 1  # windows of a live camera that wait; a newer one replaces the oldest
OF_CLIPS = 4  # windows of clips that wait
TAKE_S = 0.5  # how long the encoder waits for an item


@dataclass(frozen=True, eq=False)
class Segment:
    """Footage of a camera without a break.

    Attributes
    ----------
    start
        Time of its first frame, UTC.
    first_s
        The camera's timestamp of its first frame, seconds.
    recorder
        Has its latest packets.
    clip
        Name of the clip, of a folder of clips.
    """

    start: datetime
    first_s: float
    recorder: ClipRecorder
    clip: str | None = None

    def moment(self, time_s: float) -> datetime:
        """The time of day, UTC, of a second of the segment."""
        return self.start + timedelta(seconds=time_s)


@dataclass(frozen=True, eq=False)
class Row:
    """A window that is to be encoded.

    Attributes
    ----------
    segment
        Where it lies; ``window`` counts its seconds.
    window
        Frames.
    scene
        Measurements of the frames that the row stands for.
    """

    segment: Segment
    window: LiveWindow
    scene: SceneFacts


@dataclass(frozen=True, eq=False)
class Notice:
    """Something about the camera that is sent in the order of its rows.

    Attributes
    ----------
    at
        When it happened, UTC.
    ends
        The segment that is over; its open event closes for this reason.
    closes
        The connection that is over.
    """

    state: CameraState
    detail: str
    at: datetime | None = None
    seconds: float | None = None
    ends: tuple[Segment, Reason] | None = None
    closes: ClipRecorder | None = None


class WindowQueue:
    """Rows and notices by camera, taken one camera after the other.

    Parameters
    ----------
    live
        Names of the cameras; of those that are live (true) waiting rows are replaced by newer ones, the others wait.
    """

    def __init__(self, live: dict[str, bool]) -> None:
        self._live = live
        self._items: dict[str, deque[Row | Notice]] = {name: deque() for name in live}
        self._order = deque(live)
        self._ended: set[str] = set()
        self._changed = Condition()
        self.skipped = dict.fromkeys(live, 0)
        self.taken = dict.fromkeys(live, 0)

    @property
    def is_over(self) -> bool:
        """Whether every camera ended and everything was taken."""
        with self._changed:
            return len(self._ended) == len(self._live) and not any(self._items.values())

    def put(self, camera: str, item: Row | Notice, is_stopped: Callable[[], bool]) -> None:
        """Add an item; of a camera that is not live, wait until its rows are taken."""
        items = self._items[camera]
        with self._changed:
            if isinstance(item, Row):
                while not self._live[camera] and self._rows(camera) >= OF_CLIPS and not is_stopped():
                    self._changed.wait(0.2)
                if self._live[camera] and self._rows(camera) >= WAITING:
                    items.remove(next(one for one in items if isinstance(one, Row)))
                    self.skipped[camera] += 1
            items.append(item)
            self._changed.notify_all()

    def end(self, camera: str) -> None:
        """Nothing more comes from this camera."""
        with self._changed:
            self._ended.add(camera)
            self._changed.notify_all()

    def take(self, most: int) -> list[tuple[str, Row | Notice]]:
        """Up to ``most`` items, of the cameras in turn; empty where none came in time.

        A notice comes before the rows that are taken with it, so that rows may be encoded together.
        """
        with self._changed:
            self._changed.wait_for(lambda: any(self._items.values()) or len(self._ended) == len(self._live), TAKE_S)
            found: list[tuple[str, Row | Notice]] = []
            with_rows: set[str] = set()
            while len(found) < most:
                ready = (name for name in self._order if self._items[name])
                camera = next((c for c in ready if c not in with_rows or isinstance(self._items[c][0], Row)), None)
                if camera is None:
                    break
                item = self._items[camera].popleft()
                if isinstance(item, Row):
                    self.taken[camera] += 1
                    with_rows.add(camera)
                found.append((camera, item))
                self._order.remove(camera)
                self._order.append(camera)
            self._changed.notify_all()
            return found

    def _rows(self, camera: str) -> int:
        return sum(isinstance(item, Row) for item in self._items[camera])
