"""Video files to frames and snippets with PyAV: one pass, constant memory.

Times come from the presentation timestamps of the frames, never from index / fps, so videos of
variable frame rate are timed right. A snippet is :data:`~kgvad.video.SNIPPET_FRAMES` consecutive
frames; a video of n frames has floor(n / 16) snippets, and the up to 15 frames of the tail belong
to no snippet (whoever scores frames gives them the last snippet's score).
"""

from __future__ import annotations

import logging
import math
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kgvad.console import count_of
from kgvad.errors import UsageError, VideoError
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.container import (
    SOFTWARE,
    STRICT_REMEDY,
    Converter,
    DecodedFrames,
    Decoding,
    declared_fps,
    is_timed,
    open_video,
    packet_times,
    rotation_of,
)
from kgvad.video.frame_clock import FrameClock, packet_clock, warn_of_breaks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What is known about a video.

    Attributes
    ----------
    path
        The file.
    fps
        Mean frames a second.
    frame_count
        Frames; what the container declares until the video was decoded, exact afterwards.
    width, height
        Pixels as displayed, rotation applied.
    duration_s
        Seconds from the start of the first frame to the end of the last.
    rotation
        Degrees counter-clockwise (0, 90, 180, 270) by which decoded frames are turned for display.
    codec
        Name of the codec.
    start_s
        Timestamp of the first frame in the container, seconds.
    frame_times
        float64 [frame_count]: start of each frame in seconds after the first; ``None`` until decoded or indexed.
    breaks
        How often its timestamps restart or jump; ``frame_times`` do not follow them there.
    damaged
        Whether some of it could not be decoded, or not without damage; known once it was decoded.
    """

    path: Path
    fps: float
    frame_count: int
    width: int
    height: int
    duration_s: float
    rotation: int = 0
    codec: str = ""
    start_s: float = 0.0
    frame_times: NDArray[np.float64] | None = field(default=None, repr=False)
    breaks: int = 0
    damaged: bool = False

    def seconds(self, frame: int) -> float:
        """When ``frame`` is shown, in seconds; ``frame_count`` gives the end of the video."""
        if self.frame_times is None:
            return min(frame / self.fps, self.duration_s)
        return float(self.frame_times[frame]) if frame < len(self.frame_times) else self.duration_s

    @property
    def variable_rate(self) -> bool:
        """Whether some frame lasts more than half as long again, or less than half as long, as the typical one."""
        if self.frame_times is None or len(self.frame_times) < 3:
            return False
        gaps = np.diff(self.frame_times)
        typical = float(np.median(gaps))
        return bool(((gaps > 1.5 * typical) | (gaps < 0.5 * typical)).any())


def probe(path: str | os.PathLike[str], *, exact: bool = False) -> VideoInfo:
    """Facts about a video, from its header and first frame.

    Parameters
    ----------
    path
        The file.
    exact
        Also read every packet (without decoding) for the exact frame count and times.

    Raises
    ------
    VideoError
        Missing, a folder, empty, not a video, no video stream, or no frame can be decoded.
    """
    with open_video(path) as (container, stream):
        info, first = _describe(Path(path), container, stream)
    if not exact:
        return info
    with open_video(path) as (container, stream):  # anew: seeking to 0 passes over frames with times below it
        stamps = packet_times(container, stream)
    if stamps is None:
        return info
    times, breaks, start_s = packet_clock(stamps, info.fps, first)
    warn_of_breaks(info.path, breaks)
    return _timed(info, times, start_s, breaks)


def _describe(path: Path, container: Any, stream: Any) -> tuple[VideoInfo, float | None]:
    """What the header says, and the timestamp of the first frame in seconds."""
    first = next((frame for frame in DecodedFrames(container, stream, path)), None)
    if first is None:
        raise VideoError(f"{path} holds no frame that can be decoded", "the file is damaged; use another copy")
    rotation = rotation_of(first)
    width, height = (first.height, first.width) if rotation % 180 else (first.width, first.height)
    fps = declared_fps(stream)
    duration = (
        float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / av.time_base
    )
    count = stream.frames or round(duration * fps) or 1
    info = VideoInfo(path, fps, count, width, height, duration or count / fps, rotation, stream.codec_context.name)
    return info, first.time


def _timed(info: VideoInfo, shown: NDArray[np.float64], start_s: float, breaks: int) -> VideoInfo:
    """``info`` with exact count and times; the first frame has the timestamp ``start_s``."""
    span = float(shown[-1])
    fps = info.fps
    if len(shown) > 1 and span > 0:
        measured = (len(shown) - 1) / span
        if abs(measured / fps - 1) > 0.005:  # otherwise the declared rate, which is not rounded
            fps = measured
    info = replace(info, fps=fps, frame_count=len(shown), duration_s=span + 1 / fps)
    return replace(info, start_s=start_s, frame_times=shown, breaks=breaks)


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame: its index, the time it is shown (seconds after the first) and its picture, RGB [H, W, 3]."""

    index: int
    time_s: float
    picture: NDArray[np.uint8]


class VideoReader:
    """One pass over a video.

    Parameters
    ----------
    path
        The file.
    size
        (width, height) to scale to, in libswscale while the colours are converted; ``None`` keeps the video's own.
    decoding
        Decoder threads, hardware, and how damage is handled.
    observe
        Called with every decoded frame (of PyAV) and its time in seconds, also with those that become no picture.

    Attributes
    ----------
    info : VideoInfo
        From the header at first; exact, with the time of every frame, once the pass is over.

    Raises
    ------
    VideoError
        As :func:`probe`; with ``decoding.strict`` also where the video is damaged or cut short.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int] | None = None,
        decoding: Decoding = SOFTWARE,
        observe: Callable[[Any, float], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.info = probe(path)
        self.size = size or (self.info.width, self.info.height)
        self._decoding = decoding
        self._observe = observe
        self._times: list[float] = []  # of the frames decoded so far, never falling

    @property
    def decoded_s(self) -> float:
        """Time of the latest frame that was decoded, seconds after the first."""
        return self._times[-1] if self._times else 0.0

    def frames_before(self, time_s: float) -> int:
        """How many of the frames decoded so far are shown before this time."""
        return bisect_left(self._times, time_s)

    def frames(self, period: int = 1, wanted: Sequence[int] = (0,)) -> Iterator[Frame]:
        """Frames whose index modulo ``period`` is in ``wanted``; only these are converted to pictures.

        Raises
        ------
        UsageError
            ``period`` is not a positive number, or ``wanted`` is not in [0, period).
        """
        keep = frozenset(wanted)
        if period < 1 or not all(0 <= index < period for index in keep):
            raise UsageError(f"no frame has an index of {sorted(keep)} modulo {period}", "give 0 <= wanted < period")
        convert = Converter(self.size, self.info.rotation)
        for index, decoded in self._pass():
            if index % period in keep:
                yield Frame(index, self.decoded_s, convert(decoded))

    def sampled(self, rate_hz: float, assumed_fps: float | None = None) -> Iterator[NDArray[np.uint8]]:
        """For each multiple of 1/``rate_hz`` seconds the frame nearest to it, uint8 [H, W, 3], RGB.

        Parameters
        ----------
        rate_hz
            Pictures a second. Where the video has fewer, frames are repeated; where it has more, some are skipped and
            not converted to pictures.
        assumed_fps
            Frames a second that replace the times of the file.

        Raises
        ------
        UsageError
            A rate is not a positive number.
        """
        for rate in (rate_hz, 1 if assumed_fps is None else assumed_fps):
            if not 0 < rate < math.inf:
                raise UsageError(f"a rate of {rate} pictures a second is not possible", "give a positive number")
        convert = Converter(self.size, self.info.rotation)
        point = 0
        shown = -1  # index of the frame in `picture`
        picture: NDArray[np.uint8] = np.empty(0, np.uint8)
        before: tuple[int, float, Any] | None = None  # index, time and content of the latest frame
        for index, decoded in self._pass(assumed_fps):
            while before is not None and point / rate_hz < (before[1] + self.decoded_s) / 2 - 1e-6:
                if shown != before[0]:
                    shown, picture = before[0], convert(before[2])
                yield picture
                point += 1
            before = (index, self.decoded_s, decoded)
        assert before is not None  # a video without frames is an error
        end = self.info.frame_count / assumed_fps if assumed_fps else self.info.duration_s
        while point / rate_hz < end - 1e-6:
            if shown != before[0]:
                shown, picture = before[0], convert(before[2])
            yield picture
            point += 1

    def _pass(self, assumed_fps: float | None = None) -> Iterator[tuple[int, Any]]:
        """Every decoded frame with its index; notes its time, and makes ``info`` exact at the end."""
        declared = self.info.frame_count
        clock = FrameClock(self.info.fps)
        start_s = 0.0
        self._times = [] if assumed_fps else clock.times
        guessed = 0
        with open_video(self.path, self._decoding) as (container, stream):
            timed = is_timed(container)
            frames = DecodedFrames(container, stream, self.path, strict=self._decoding.strict)
            for index, frame in enumerate(frames):
                stamp = frame.time if timed else None
                start_s = start_s if index or stamp is None else float(stamp)
                clock.add(stamp)
                guessed += frame.is_corrupt
                if assumed_fps:
                    self._times.append(index / assumed_fps)
                if self._observe is not None:
                    self._observe(frame, self.decoded_s)
                yield index, frame
            exact = bool(stream.frames)
        if not clock.times:
            raise VideoError(f"{self.path} holds no frame that can be decoded", "the file is damaged; use another copy")
        warn_of_breaks(self.path, clock.breaks)
        count, faults = len(clock.times), []
        if guessed:
            faults.append(f"{self.path} is damaged: the decoder guessed parts of {guessed} of its {count} frames")
        if exact and count < 0.98 * declared:
            faults.append(f"{self.path} is cut short: {count} of the {declared} frames it declares could be read")
        for fault in faults:
            if self._decoding.strict:
                raise VideoError(fault, STRICT_REMEDY)
            logger.warning(fault)
        info = _timed(self.info, np.array(clock.times), start_s, clock.breaks)
        self.info = replace(info, damaged=frames.damaged or bool(faults))

    def snippets(
        self, stride: int = SNIPPET_FRAMES, positions: Sequence[int] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Snippets, uint8 [len(positions), H, W, 3], RGB; the incomplete one at the end is left out.

        Parameters
        ----------
        stride
            Frames from one snippet to the next. 1 is for footage that keeps one frame per snippet.
        positions
            Which frames of each snippet are wanted, in rising order; all of them by default.

        Raises
        ------
        VideoError
            The video is shorter than one snippet.
        """
        positions = range(stride) if positions is None else positions
        pictures: list[NDArray[np.uint8]] = []
        done = 0
        for frame in self.frames(stride, positions):
            if len(pictures) == len(positions):  # a wanted frame of the next snippet: this one is complete
                yield np.stack(pictures)
                done, pictures = done + 1, []
            pictures.append(frame.picture)
        if len(pictures) == len(positions) and self.info.frame_count >= (done + 1) * stride:
            yield np.stack(pictures)
        if self.info.frame_count < stride:
            raise VideoError(
                f"{self.path} has {count_of(self.info.frame_count, 'frame')}, fewer than one snippet of {stride}",
                "use a longer video",
            )
