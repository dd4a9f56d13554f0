"""Seconds of a video as frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kgvad.video.decode import VideoInfo


@dataclass(frozen=True, eq=False)
class VideoClock:
    """What turns the clock of a file of scores or captions into frames.

    Attributes
    ----------
    fps
        Frames per second.
    frame_count
        Frames, or ``None``.
    frame_times
        Start of each frame in seconds, where the rate varies or was measured; ``None``: frame / fps.
    """

    fps: float
    frame_count: int | None = None
    frame_times: NDArray[np.float64] | None = None

    def frames(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """The frame that starts at each time, or the nearest one."""
        if self.frame_times is None or len(self.frame_times) < 2:
            return np.rint(seconds * self.fps).astype(np.int64)
        edges = np.append(self.frame_times, self.frame_times[-1] + 1 / self.fps)
        return np.asarray(np.rint(np.interp(seconds, edges, np.arange(len(edges)))), np.int64)

    @classmethod
    def of(cls, info: VideoInfo) -> VideoClock:
        """The clock of a video that was probed or decoded."""
        return cls(info.fps, info.frame_count, info.frame_times)
