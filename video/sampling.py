"""What an encoder sees: which part of a frame (crop rule) and which frames of a snippet (temporal rule).

Windows that are sampled by time have rules of their own: :mod:`kgvad.video.windows`.

Crop rules

``plain``   the encoder's own preprocessing, one view
``centre``  the frame scaled to 340 x 256 whatever its shape, then the 224 x 224 window in the middle
``five``    the same, then five windows: 0 centre, 1 top left, 2 top right, 3 bottom left, 4 bottom right
``ten``     these five, then 5 to 9 the same mirrored. The order and geometry of the features that VadCLIP and DeepMIL
            published.

Temporal rules of frame encoders (the features of the chosen frames are averaged)

``mean16``  all 16 frames
``mean4``   four evenly spaced frames (2, 6, 10, 14): the default of EfficientNet, a quarter of the work
``centre``  frame 8
``first``   frame 0

Snippet encoders (I3D) always see all frames: rule ``clip``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError
from kgvad.types import Fields
from kgvad.video import SNIPPET_FRAMES

if TYPE_CHECKING:
    from kgvad.video.decode import VideoInfo, VideoReader

CropRule = Literal["plain", "centre", "five", "ten"]
Precision = Literal["fp32", "bf16"]
TemporalRule = Literal["mean16", "mean4", "centre", "first", "clip"]

VIEWS: dict[CropRule, int] = {"plain": 1, "centre": 1, "five": 5, "ten": 10}
SCALED = (340, 256)  # width, height before the windows are cut, pixels
WINDOW = 224  # side of a window, pixels
_LEFT, _TOP = SCALED[0] - WINDOW, SCALED[1] - WINDOW  # 116, 32
_CORNERS = ((_TOP // 2, _LEFT // 2), (0, 0), (0, _LEFT), (_TOP, 0), (_TOP, _LEFT))  # (row, column) of windows 0 to 4


class SamplingRule(Protocol):
    """Which frames make the clips of an encoder, and which frames of the video a row of features stands for.

    Attributes
    ----------
    crop, crops
        Crop rule and views of each frame.
    temporal
        Name of the temporal rule.
    stride
        Frames of the file per snippet.
    """

    @property
    def crop(self) -> str: ...
    @property
    def crops(self) -> int: ...
    @property
    def temporal(self) -> str: ...
    @property
    def stride(self) -> int: ...

    def clips(self, reader: VideoReader) -> Iterator[NDArray[np.uint8]]:
        """One uint8 [F, H, W, 3] for each row of features, in order; one pass over the video."""
        ...

    def expected_rows(self, info: VideoInfo) -> int:
        """About how many rows a video will have, from what its header says."""
        ...

    def edges(self, info: VideoInfo) -> NDArray[np.int64] | None:
        """First frame of each row and the end of the last, int64 [T + 1]; ``None``: row i begins at frame i stride."""
        ...

    def rule(self) -> Fields | None:
        """What a manifest says about windows that are sampled by time; otherwise ``None``."""
        ...

    def options(self) -> EncoderOptions:
        """The options with which an encoder of this sampling is loaded again."""
        ...


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
        return VIEWS[self.crop]

    def clips(self, reader: VideoReader) -> Iterator[NDArray[np.uint8]]:
        """The encoded frames of each snippet."""
        return reader.snippets(self.stride, self.positions)

    def expected_rows(self, info: VideoInfo) -> int:
        """Whole snippets of the video."""
        return max(1, info.frame_count // self.stride)

    def edges(self, info: VideoInfo) -> None:
        """``None``: row i begins at frame i stride."""
        return None

    def rule(self) -> None:
        """``None``: stride and temporal rule say everything."""
        return None

    def options(self) -> EncoderOptions:
        """The options with which an encoder of this sampling is loaded again."""
        return EncoderOptions(self.crop, self.temporal, self.stride)


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder was asked to sample a video; what is ``None`` is the encoder's choice.

    Attributes
    ----------
    crop
        Crop rule.
    temporal
        Temporal rule.
    stride
        Frames of the file per snippet.
    step_s
        Seconds from one row to the next, for encoders of windows that are sampled by time.
    precision
        In which the network computes: fp32, or bf16 where torch's autocast thinks it safe.

    Raises
    ------
    UsageError
        Unknown precision.
    """

    crop: CropRule = "plain"
    temporal: TemporalRule | None = None
    stride: int = SNIPPET_FRAMES
    step_s: float | None = None
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UsageError(f"unknown precision {self.precision!r}", f"use {', '.join(get_args(Precision))}")

    def frame_sampling(self, name: str, default: TemporalRule) -> Sampling:
        """Sampling for the encoder ``name`` of single frames, whose temporal rule is ``default`` if none was asked for.

        Raises
        ------
        UsageError
            An option is unknown or does not fit.
        """
        self._refuse_step(name)
        if self.temporal == "clip":
            raise UsageError(f"{name} sees single frames, so the temporal rule clip does not fit", "use mean16")
        return Sampling(self.crop, self.temporal or default, self.stride)

    def clip_sampling(self, name: str) -> Sampling:
        """Sampling for the encoder ``name`` of whole snippets; raises as :meth:`frame_sampling`."""
        self._refuse_step(name)
        if self.temporal not in (None, "clip"):
            raise UsageError(
                f"{name} sees whole snippets, so the temporal rule {self.temporal} does not fit", "leave it out"
            )
        return Sampling(self.crop, "clip", self.stride)

    def _refuse_step(self, name: str) -> None:
        if self.step_s is not None:
            raise UsageError(f"{name} has one row per snippet, so a step in seconds does not fit", "leave it out")


def cut(frames: NDArray[np.uint8], crop: CropRule) -> list[NDArray[np.uint8]]:
    """Windows of frames scaled to 340 x 256: a list with one uint8 [..., 224, 224, 3] per crop.

    ``frames`` is uint8 [..., 256, 340, 3].
    """
    corners = _CORNERS[: min(VIEWS[crop], len(_CORNERS))]
    views = [frames[..., row : row + WINDOW, column : column + WINDOW, :] for row, column in corners]
    return views + [view[..., ::-1, :] for view in views] if crop == "ten" else views
