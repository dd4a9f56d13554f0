"""What the encoders of this package share: choice of frames, scaling, crops, batches."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.device import cpu_threads
from kgvad.errors import FeatureError
from kgvad.video.sampling import SCALED, Precision, Sampling, cut


def fingerprint_of(name: str, dim: int, weights: str, sampling: Any, precision: Precision) -> str:
    """16 hexadecimal digits over everything that changes the numbers; ``sampling`` is a dataclass."""
    facts = {"encoder": name, "dim": dim, "weights": weights, "version": 1, **asdict(sampling)}
    if precision != "fp32":
        facts["precision"] = precision
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class SnippetEncoder(ABC):
    """An encoder of snippets: chooses frames, scales and crops them."""

    name: str
    dim: int
    batch: int
    side: int  # pixels of the square the network takes
    columns: tuple[str, ...] | None = None

    def __init__(self, weights_hash: str, sampling: Sampling, device: str, precision: Precision) -> None:
        self.weights = weights_hash
        self.sampling = sampling
        self.device = device
        self.precision = precision

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.name, self.dim, self.weights, self.sampling, self.precision)

    def decode_size(self, width: int, height: int) -> tuple[int, int]:
        if self.sampling.crop != "plain":
            return SCALED
        return self._plain_size(width, height)

    def _plain_size(self, width: int, height: int) -> tuple[int, int]:
        """Whole frame, squeezed to the network's square: nothing at the border is lost."""
        return self.side, self.side

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        frames = self._chosen(clips)
        height, width = frames.shape[2:4]
        size = self.decode_size(width, height)
        if size != (width, height):
            frames = resize(frames, size)
        if self.sampling.crop == "plain":
            views = [middle(frames, self.side)]
        else:
            views = cut(frames, self.sampling.crop)
            if views[0].shape[2] != self.side:
                views = [resize(view, (self.side, self.side)) for view in views]
        rows = [self._embed(view) for view in views]
        return rows[0] if self.sampling.crops == 1 else np.stack(rows, axis=1)

    def _chosen(self, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wanted, stride = self.sampling.positions, self.sampling.stride
        check_clips(clips)
        if clips.shape[1] == len(wanted):
            return clips
        if clips.shape[1] == stride:
            return clips[:, list(wanted)]
        raise FeatureError(f"a snippet has {clips.shape[1]} frames instead of {stride} (or the {len(wanted)} encoded)")

    @abstractmethod
    def _embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uint8 [B, F, side, side, 3] to float32 [B, D]."""


class FrameEncoder(SnippetEncoder):
    """An encoder of single frames; the features of a snippet's frames are averaged."""

    def __init__(self, weights_hash: str, sampling: Sampling, device: str, precision: Precision) -> None:
        super().__init__(weights_hash, sampling, device, precision)
        self.chunk = max(16, 8 * cpu_threads()) if device == "cpu" else 128  # frames of one call
        self.batch = max(1, self.chunk // len(sampling.positions))

    def _embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch, count = frames.shape[:2]
        single = frames.reshape(batch * count, *frames.shape[2:])
        parts = [self.embed_frames(single[i : i + self.chunk]) for i in range(0, len(single), self.chunk)]
        means: NDArray[np.float32] = np.concatenate(parts).reshape(batch, count, -1).mean(axis=1)
        return means

    @abstractmethod
    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Uint8 [N, side, side, 3] to features, float32 [N, D]."""


def check_clips(clips: NDArray[np.uint8]) -> None:
    """Raise :class:`FeatureError` where clips are not uint8 [B, frames, height, width, 3]."""
    if clips.ndim != 5 or clips.shape[-1] != 3 or clips.dtype != np.uint8:
        raise FeatureError(f"clips must be uint8 [B, frames, height, width, 3], not {clips.dtype} {list(clips.shape)}")


def shorter_side(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) scaled so that the shorter of both is ``side``."""
    if width <= height:
        return side, max(side, round(height * side / width))
    return max(side, round(width * side / height)), side


def middle(frames: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The square of ``side`` pixels in the middle, [..., side, side, 3]."""
    top, left = (frames.shape[-3] - side) // 2, (frames.shape[-2] - side) // 2
    return frames[..., top : top + side, left : left + side, :]


def resize(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bicubic with antialiasing; [..., H, W, 3] to [..., size[1], size[0], 3]."""
    import torch  # pictures are scaled while they are decoded, so hardly anything comes here

    lead = frames.shape[:-3]
    x = torch.from_numpy(np.ascontiguousarray(frames)).flatten(0, -4).permute(0, 3, 1, 2).float()
    x = torch.nn.functional.interpolate(x, size[::-1], mode="bicubic", antialias=True, align_corners=False)
    result: NDArray[np.uint8] = x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return result.reshape(*lead, *result.shape[1:])
