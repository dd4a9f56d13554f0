"""A connection to a camera as videos that go on: one segment from each break of its timestamps to the next."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kgvad.errors import VideoError
from kgvad.video.container import declared_fps, is_timed, rotation_of
from kgvad.video.decode import VideoInfo, VideoReader
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.windows import WindowSampling

GAP_S = 1.5  # a longer one between two frames ends the segment
RESTART_S = 0.1  # by which a timestamp falls where the camera started anew
KEPT_TIMES = 1024  # of the latest frames

OnPacket = Callable[[Any], None]
OnFrame = Callable[[Any, float], None]


class LiveConnection:
    """Decoded frames of one connection, cut into segments.

    Parameters
    ----------
    container, stream
        As :func:`~kgvad.video.cameras.open_camera` gives them.
    on_packet
        Called with every packet before it is decoded.
    arrival_s
        Seconds at which a frame without timestamp arrived.

    Attributes
    ----------
    gap_s
        By how much the timestamps jumped at the end of the latest segment; ``None``: the connection ended.
    first_s
        Timestamp of the first frame of the latest segment, seconds.
    damaged
        Packets that could not be decoded.
    error
        Why the connection ended; empty where the camera ended it.
    """

    def __init__(self, container: Any, stream: Any, on_packet: OnPacket | None, arrival_s: Callable[[], float]) -> None:
        self._container, self.stream = container, stream
        self._on_packet = on_packet or (lambda packet: None)
        self._arrival_s = arrival_s
        self._frames = self._decoded()
        self._pending: tuple[Any, float] | None = None
        self.gap_s: float | None = None
        self.first_s = 0.0
        self.damaged = 0
        self.error = ""

    def segment(self) -> Iterator[tuple[Any, float]]:
        """Frames and their seconds after the first, up to the next break."""
        self.gap_s = None
        last: float | None = None
        while True:
            item = self._pending or next(self._frames, None)
            self._pending = None
            if item is None:
                return
            frame, stamp = item
            if last is None:
                self.first_s = last = stamp
            elif not -RESTART_S <= stamp - last <= GAP_S:
                self._pending, self.gap_s = item, stamp - last
                return
            last = max(last, stamp)
            yield frame, last - self.first_s

    def _decoded(self) -> Iterator[tuple[Any, float]]:
        timed = is_timed(self._container)
        fps, count = declared_fps(self.stream), 0
        for packet in self._packets():
            if packet.size:
                self._on_packet(packet)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                stamp = frame.time if timed else count / fps
                count += 1
                yield frame, self._arrival_s() if stamp is None else float(stamp)

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self.stream)
        except av.FFmpegError as error:
            self.error = getattr(error, "strerror", None) or type(error).__name__


class LiveReader(VideoReader):
    """One segment of a connection, read as a video whose length is not known; it keeps a bounded number of times.

    Parameters
    ----------
    connection
        From which the segment is read.
    encoder
        Whose frame size is decoded to.
    observe
        Called with every decoded frame and its time in seconds.
    """

    def __init__(self, connection: LiveConnection, encoder: VisualEncoder, observe: OnFrame | None = None) -> None:
        self._segment = connection.segment()
        self._next = next(self._segment, None)
        self._observe = observe
        self._times: list[float] = []
        self._dropped = 0  # times that are no longer kept
        self.path = Path("camera")
        self.is_empty = self._next is None
        if self._next is None:
            return
        first = self._next[0]
        rotation = rotation_of(first)
        width, height = (first.height, first.width) if rotation % 180 else (first.width, first.height)
        fps = declared_fps(connection.stream)
        self.info = VideoInfo(self.path, fps, 0, width, height, 0.0, rotation)
        self.size = encoder.decode_size(width, height)

    def frames_before(self, time_s: float) -> int:
        """How many of the frames decoded so far are shown before this time, which lies at most a few seconds back."""
        return self._dropped + bisect_left(self._times, time_s)

    def time_of(self, frame: int) -> float:
        """When a frame that was decoded lately is shown; the latest for those that follow."""
        index = frame - self._dropped
        return self._times[index] if 0 <= index < len(self._times) else self.decoded_s

    def _pass(self, assumed_fps: float | None = None) -> Iterator[tuple[int, Any]]:
        index = 0
        while self._next is not None:
            frame, time_s = self._next
            self._times.append(index / assumed_fps if assumed_fps else time_s)
            if len(self._times) > 2 * KEPT_TIMES:
                del self._times[:KEPT_TIMES]
                self._dropped += KEPT_TIMES
            if self._observe is not None:
                self._observe(frame, time_s)
            yield index, frame
            index += 1
            self._next = next(self._segment, None)
        self.info = replace(self.info, frame_count=index, duration_s=self.decoded_s + 1 / self.info.fps)


@dataclass(frozen=True, eq=False)
class LiveWindow:
    """The frames of one row, uint8 [F, H, W, 3], and what the row stands for: seconds of the segment."""

    frames: NDArray[np.uint8]
    start_s: float
    end_s: float


def live_windows(reader: LiveReader, encoder: VisualEncoder) -> Iterator[LiveWindow]:
    """The windows of a segment, each as soon as its last frame was decoded."""
    sampling = encoder.sampling
    if isinstance(sampling, WindowSampling):
        for row, frames in enumerate(sampling.clips(reader)):
            if reader.decoded_s < sampling.step_s / 2:  # a few frames before the camera set its clock
                return
            yield LiveWindow(frames, row * sampling.step_s, (row + 1) * sampling.step_s)
        return
    stride = sampling.stride
    with suppress(VideoError):  # a segment that is shorter than one snippet has no row
        for row, frames in enumerate(sampling.clips(reader)):
            yield LiveWindow(frames, reader.time_of(row * stride), reader.time_of((row + 1) * stride))
