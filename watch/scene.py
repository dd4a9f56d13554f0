"""What a camera sees, apart from what happens: brightness, contrast, a small grey picture; black rows show no scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from kgvad.explain.scorers.base import NO_SCENE
from kgvad.video.frame_quality import HEIGHT, WIDTH, FrameMeter


@dataclass(frozen=True, eq=False)
class SceneFacts:
    """Of the frames of one row.

    Attributes
    ----------
    picture
        float32 [48, 64]: the mean grey picture.
    luma
        Mean grey value, 0 to 255.
    shows_scene
        False where most frames are black, of one colour or a fade.
    """

    picture: NDArray[np.float32]
    luma: float
    shows_scene: bool


class SceneMeter:
    """Measures the frames of one row after the other, with constant memory."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._begin()

    def __call__(self, frame: Any, time_s: float) -> None:
        """Measure one PyAV frame."""
        grey = self._reformatter.reformat(frame, WIDTH, HEIGHT, "gray", interpolation=Interpolation.AREA)
        thumbnail = grey.to_ndarray().astype(np.uint8, copy=False)
        self._meter.measure(thumbnail, time_s)
        self._sum += thumbnail
        self._frames += 1

    def take(self) -> SceneFacts:
        """The facts about the frames since the last call."""
        if not self._frames:
            return SceneFacts(np.zeros((HEIGHT, WIDTH), np.float32), 0.0, False)
        facts = self._meter.facts()
        picture = (self._sum / self._frames).astype(np.float32)
        found = SceneFacts(picture, float(facts.luma.mean()), bool(np.isin(facts.kinds, NO_SCENE).mean() < 0.5))
        self._begin()
        return found

    def _begin(self) -> None:
        self._meter = FrameMeter()
        self._sum = np.zeros((HEIGHT, WIDTH))
        self._frames = 0
