"""Windows of frames sampled by time, for networks that were trained on a fixed frame rate.

Frames are sampled ten times a second: point k is the frame nearest to k/10 s. A window is 18 consecutive points
(1.8 s); a shorter video repeats its last frame. Row j of the features stands for the part [1.6 j, 1.6 (j + 1)) s of the
video, the last row for everything up to the end, and its window lies in the middle of this part, moved inside the video
at both ends. A part without any frame (in a video of variable or very low rate) has no row.

Footage that keeps one frame per snippet (``stride`` 1) is treated as if it had 5 frames a second, whatever the file
says: each frame is sampled twice, and a row stands for four frames. Such clips show hardly any motion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError
from kgvad.types import Fields
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.decode import VideoInfo, VideoReader
from kgvad.video.sampling import EncoderOptions

RATE_HZ = 10.0  # sampled frames a second
FRAMES = 18  # sampled frames of a window
STEP_S = 1.6  # seconds from one row to the next: 16 sampled frames, so windows overlap by two
SNIPPET_RATE_FPS = 5.0  # assumed for footage of one frame per snippet
SNIPPET_RATE_STEP_S = 0.8  # four frames of such footage
_EPSILON_S = 1e-6


@dataclass(frozen=True)
class WindowSampling:
    """Windows of frames that are sampled by time.

    Parameters
    ----------
    step_s
        Seconds from one row to the next.
    rate_hz
        Sampled frames a second.
    frames
        Sampled frames of a window.
    stride
        16, or 1 for footage that keeps one frame per snippet.

    Raises
    ------
    UsageError
        A step below .1 s or above a minute, or another stride.
    """

    step_s: float = STEP_S
    rate_hz: float = RATE_HZ
    frames: int = FRAMES
    stride: int = SNIPPET_FRAMES

    def __post_init__(self) -> None:
        if not 0.1 <= self.step_s <= 60:
            raise UsageError(f"a step of {self.step_s} s does not fit", "use .1 to 60 seconds")
        if self.stride not in (1, SNIPPET_FRAMES):
            raise UsageError(f"windows are sampled by time, so a stride of {self.stride} frames does not fit", "use 16")

    @classmethod
    def of(cls, name: str, options: EncoderOptions) -> WindowSampling:
        """Windows as ``options`` ask for them.

        Raises
        ------
        UsageError
            An option does not fit the encoder ``name``.
        """
        if options.crop != "plain":
            raise UsageError(f"{name} sees one crop of a frame", "use --crop plain")
        if options.temporal is not None:
            raise UsageError(f"{name} samples frames by time, so a temporal rule does not fit", "leave it out")
        default = SNIPPET_RATE_STEP_S if options.stride == 1 else STEP_S
        return cls(options.step_s or default, stride=options.stride)

    @property
    def crop(self) -> str:
        """The middle of each frame, and nothing else."""
        return "plain"

    @property
    def crops(self) -> int:
        """One view of each frame."""
        return 1

    @property
    def temporal(self) -> str:
        """Name of this rule in a manifest."""
        return "windows"

    @property
    def assumed_fps(self) -> float | None:
        """Frames a second that replace what the file says; ``None``: the file is right."""
        return SNIPPET_RATE_FPS if self.stride == 1 else None

    def options(self) -> EncoderOptions:
        """The options with which an encoder of this sampling is loaded again."""
        return EncoderOptions(stride=self.stride, step_s=self.step_s)

    def rule(self) -> Fields:
        """What a manifest says about these windows."""
        return {**asdict(self), "assumed_fps": self.assumed_fps, "short_videos": "the last frame is repeated"}

    def rows(self, duration_s: float) -> int:
        """Parts of a video of this length."""
        return max(1, round(duration_s / self.step_s))

    def first_point(self, row: int, points: int | None = None) -> int:
        """First sampled frame of a row's window, in a video of ``points`` sampled frames (default: not known yet)."""
        first = max(0, round((row + 0.5) * self.step_s * self.rate_hz - self.frames / 2))
        return first if points is None else min(first, max(0, points - self.frames))

    def expected_rows(self, info: VideoInfo) -> int:
        """About how many rows a video will have, from what its header says."""
        return self.rows(self._duration(info))

    def edges(self, info: VideoInfo) -> NDArray[np.int64]:
        """First frame of each row and the end of the last, int64 [T + 1]; ``info`` as it is after decoding."""
        times = info.frame_times
        if times is None or self.assumed_fps is not None:
            times = np.arange(info.frame_count) / (self.assumed_fps or info.fps)
        starts = np.arange(self.rows(self._duration(info)) + 1) * self.step_s - _EPSILON_S
        edges = np.searchsorted(times, starts)
        found = edges[:-1][np.diff(edges) > 0]  # parts with a frame
        return np.append(found, info.frame_count).astype(np.int64)

    def clips(self, reader: VideoReader) -> Iterator[NDArray[np.uint8]]:
        """The window of each row, uint8 [frames, H, W, 3]; only the sampled frames are converted to pictures."""
        window: deque[NDArray[np.uint8]] = deque()  # sampled frames that may still be needed
        begin = row = 0  # point of the first of them; row whose window comes next
        for picture in reader.sampled(self.rate_hz, self.assumed_fps):
            window.append(picture)
            points = begin + len(window)
            while self.first_point(row) + self.frames <= points and reader.decoded_s >= (row + 1) * self.step_s:
                if self._has_frame(row, reader):
                    yield self._window(window, self.first_point(row) - begin)
                row += 1
            oldest = min(self.first_point(row), points - self.frames)
            while begin < oldest:
                window.popleft()
                begin += 1
        points = begin + len(window)
        for last in range(row, self.rows(self._duration(reader.info))):
            if self._has_frame(last, reader):
                yield self._window(window, self.first_point(last, points) - begin)

    def _duration(self, info: VideoInfo) -> float:
        return info.frame_count / self.assumed_fps if self.assumed_fps else info.duration_s

    def _has_frame(self, row: int, reader: VideoReader) -> bool:
        start = row * self.step_s - _EPSILON_S
        return reader.frames_before(start + self.step_s) > reader.frames_before(start)

    def _window(self, pictures: deque[NDArray[np.uint8]], first: int) -> NDArray[np.uint8]:
        last = len(pictures) - 1
        return np.stack([pictures[min(first + i, last)] for i in range(self.frames)])
