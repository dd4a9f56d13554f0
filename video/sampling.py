"""What an encoder sees: which part of a frame (crop rule) and which frames of a snippet (temporal rule).

Crop rules

``plain``   the encoder's own preprocessing, one view
``centre``  the frame scaled to 340 x 256 whatever its shape, then the 224 x 224 window in the middle
``ten``     the same, then ten windows: 0 centre, 1 top left, 2 top right, 3 bottom left, 4 bottom right,
            5 to 9 the same mirrored. The order and geometry of the features that VadCLIP and DeepMIL published.

Temporal rules of frame encoders (the features of the chosen frames are averaged)

``mean16``  all 16 frames
``mean4``   four evenly spaced frames (2, 6, 10, 14): the default of EfficientNet, a quarter of the work
``centre``  frame 8
``first``   frame 0

Snippet encoders (I3D) always see all frames: rule ``clip``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError
from kgvad.video import SNIPPET_FRAMES

CropRule = Literal["plain", "centre", "ten"]
TemporalRule = Literal["mean16", "mean4", "centre", "first", "clip"]

SCALED = (340, 256)  # width, height before the windows are cut, pixels
WINDOW = 224  # side of a window, pixels
_LEFT, _TOP = SCALED[0] - WINDOW, SCALED[1] - WINDOW  # 116, 32
_CORNERS = ((_TOP // 2, _LEFT // 2), (0, 0), (0, _LEFT), (_TOP, 0), (_TOP, _LEFT))  # (row, column) of windows 0 to 4


@dataclass(frozen=True)
class Sampling:
    """Crop rule, temporal rule and stride of an extraction.

    Parameters
    ----------
    crop
        Crop rule.
    temporal
        Temporal rule.
    stride
        Frames of the file per row of features: 16, or 1 for footage that keeps one frame per snippet.

    Raises
    ------
    UsageError
        Unknown rule or a stride below 1.
    """

    crop: CropRule = "plain"
    temporal: TemporalRule = "mean16"
    stride: int = SNIPPET_FRAMES

    def __post_init__(self) -> None:
        for name, known in (("crop", CropRule), ("temporal", TemporalRule)):
            if getattr(self, name) not in get_args(known):
                raise UsageError(f"unknown {name} rule {getattr(self, name)!r}", f"use {', '.join(get_args(known))}")
        if self.stride < 1:
            raise UsageError(f"the stride is {self.stride} frames", "use 16, or 1 for one frame per snippet")

    @property
    def positions(self) -> tuple[int, ...]:
        """Which frames of a snippet are encoded, in rising order without repeats."""
        stride = self.stride
        if self.temporal in ("mean16", "clip"):
            return tuple(range(stride))
        if self.temporal == "first":
            return (0,)
        if self.temporal == "centre":
            return (stride // 2,)
        return tuple(sorted({(2 * part + 1) * stride // 8 for part in range(4)}))

    @property
    def crops(self) -> int:
        """Views of each frame."""
        return 10 if self.crop == "ten" else 1


def cut(frames: NDArray[np.uint8], crop: CropRule) -> list[NDArray[np.uint8]]:
    """Windows of frames scaled to 340 x 256: a list with one uint8 [..., 224, 224, 3] per crop.

    ``frames`` is uint8 [..., 256, 340, 3].
    """
    corners = _CORNERS if crop == "ten" else _CORNERS[:1]
    views = [frames[..., row : row + WINDOW, column : column + WINDOW, :] for row, column in corners]
    return views + [view[..., ::-1, :] for view in views] if crop == "ten" else views
