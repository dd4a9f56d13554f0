"""Times of frames from the timestamps of a container, also where these restart or jump.

Joined recordings start their timestamps again, and a damaged one may leap by hours. Neither says when a frame was
shown, so the next frame then follows after one frame at the declared rate.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
LONGEST_GAP_S = 60.0  # between frames; a longer one is a jump where it is also JUMP times the usual gap
JUMP = 100
RESTART_S = 0.1  # by which a timestamp falls at least where a recording begins anew
GAPS = 31  # of the latest frames, whose median is the usual gap


class FrameClock:
    """Seconds of each frame after the first, never falling.

    Parameters
    ----------
    fps
        Declared frames a second, for frames without timestamps and until a gap was seen.

    Attributes
    ----------
    times
        Of the frames so far.
    breaks
        How often the timestamps restarted or jumped.
    """

    def __init__(self, fps: float) -> None:
        self.times: list[float] = []
        self.breaks = 0
        self._step = 1 / fps
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._raw = 0.0  # timestamp of the latest frame
        self._offset = 0.0  # timestamp at which the video starts, moved by every break

    def add(self, timestamp: float | None) -> float:
        """The time of the next frame, whose timestamp may be missing."""
        if not self.times:
            self._raw = self._offset = 0.0 if timestamp is None else timestamp
            self.times.append(0.0)
            return 0.0
        raw = self._raw + self._step if timestamp is None else timestamp
        gap, usual = raw - self._raw, median(self._gaps) if self._gaps else self._step
        if gap < -max(2 * usual, RESTART_S) or gap > max(LONGEST_GAP_S, JUMP * usual):
            self.breaks += 1
            self._offset = raw - self.times[-1] - (self._step if self._gaps and self._is_plausible(usual) else usual)
        elif gap > 0:
            self._gaps.append(gap)
        self._raw = raw
        self.times.append(max(raw - self._offset, self.times[-1]))
        return self.times[-1]

    def _is_plausible(self, usual: float) -> bool:
        """Whether the declared rate is near that of the frames; a jump may have spoilt it."""
        return usual / 2 < self._step < 2 * usual


def warn_of_breaks(path: Path, breaks: int) -> None:
    """Log that the timestamps of a video were not used where they break."""
    if breaks:
        logger.warning(
            f"{path}: its timestamps restart or jump ({breaks} x), as in joined recordings; there the declared frame "
            "rate was used"
        )


def packet_clock(
    stamps: Iterable[tuple[float, float | None]], fps: float, first: float | None = None
) -> tuple[NDArray[np.float64], int, float]:
    """Times of the frames of packets in the order of decoding, breaks, and the timestamp of the first frame.

    Parameters
    ----------
    stamps
        (presentation, decoding) timestamp of each packet in seconds. Frames are presented in another order than they
        are decoded in, but decoding timestamps only fall where a recording begins anew.
    fps
        Declared frames a second.
    first
        Timestamp of the first frame that can be decoded. A recording that was cut at its start has packets before it
        that give no frame.
    """
    parts: list[list[float]] = [[]]
    last = -np.inf
    for shown, decoded in stamps:
        now = shown if decoded is None else decoded
        if parts[-1] and now < last - max(RESTART_S, 2 / fps) and shown < max(parts[-1]) - max(RESTART_S, 2 / fps):
            parts.append([])
        parts[-1].append(shown)
        last = now
    if first is not None:
        parts[0] = [shown for shown in parts[0] if shown > first - 1e-6] or parts[0]
    clock = FrameClock(fps)
    for part in parts:
        for shown in sorted(part):
            clock.add(shown)
    return np.array(clock.times), clock.breaks, min(parts[0], default=0.0)
