"""Seconds of a video as frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kgvad.video.decode import VideoInfo


def seconds_of(text: str) -> float:
    """Seconds from ``62.5`` or ``00:01:02.5``; a comma is a decimal point.

    Raises
    ------
    ValueError
        It is neither.
    """
    parts = [float(part.replace(",", ".")) for part in text.split(":")]
    return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))


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
        """The frame that starts at each time, or the nearest one; after the end they continue at ``fps``."""
        return np.rint(self.positions(seconds)).astype(np.int64)

    def positions(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each time in frames, with fractions."""
        if self.frame_times is None or len(self.frame_times) < 2:
            return np.asarray(np.round(seconds * self.fps, 6))
        edges = np.append(self.frame_times, self.frame_times[-1] + 1 / self.fps)
        beyond = np.maximum(seconds - edges[-1], 0) * self.fps
        inside = np.interp(seconds, edges, np.arange(len(edges)))
        return np.asarray(np.round(inside + beyond, 6))

    @classmethod
    def of(cls, info: VideoInfo) -> VideoClock:
        """The clock of a video that was probed or decoded."""
        return cls(info.fps, info.frame_count, info.frame_times)
