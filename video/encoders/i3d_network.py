"""I3D: Inception-v1 inflated to video (Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?").

RGB stream, Kinetics-400. The weights are a port of the TF-Hub module ``deepmind/i3d-kinetics-400/1``;
they were not shown to equal the ``rgb_imagenet`` checkpoint, so features made here are not claimed to
match published I3D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad import weights
from kgvad.video.encoders.pretrained import State, state_of

FEATURES = 1024
CLASSES = 400

# name, channels of: branch 0, branch 1 (1x1, 3x3), branch 2 (1x1, 3x3), branch 3
MIXED = (
    ("Mixed_3b", 64, (96, 128), (16, 32), 32),
    ("Mixed_3c", 128, (128, 192), (32, 96), 64),
    ("Mixed_4b", 192, (96, 208), (16, 48), 64),
    ("Mixed_4c", 160, (112, 224), (24, 64), 64),
    ("Mixed_4d", 128, (128, 256), (24, 64), 64),
    ("Mixed_4e", 112, (144, 288), (32, 64), 64),
    ("Mixed_4f", 256, (160, 320), (32, 128), 128),
    ("Mixed_5b", 256, (160, 320), (32, 128), 128),
    ("Mixed_5c", 384, (192, 384), (48, 128), 128),
)
_POOL_BEFORE = {"Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}  # kernel, stride


def _same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """TensorFlow's "same" padding with zeros (inputs of the max pools are never negative, so zero is neutral)."""
    amounts: list[int] = []
    for size, k, s in zip(x.shape[-3:], kernel, stride, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        amounts = [total // 2, total - total // 2, *amounts]  # F.pad starts at the last axis
    return F.pad(x, amounts) if any(amounts) else x


def _pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(_same(x, kernel, stride), kernel, stride)


class _Unit(nn.Module):
    """Convolution with the batch norm folded in, then ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv3d(_same(x, self.kernel, self.stride), self.weight, self.bias, self.stride), inplace=True)


class _Mixed(nn.Module):
    """Inception block: four branches side by side."""

    def __init__(self, inputs: int, b0: int, b1: tuple[int, int], b2: tuple[int, int], b3: int) -> None:
        super().__init__()
        self.units = nn.ModuleDict(
            {
                "Branch_0/Conv3d_0a_1x1": _Unit(inputs, b0, 1),
                "Branch_1/Conv3d_0a_1x1": _Unit(inputs, b1[0], 1),
                "Branch_1/Conv3d_0b_3x3": _Unit(b1[0], b1[1], 3),
                "Branch_2/Conv3d_0a_1x1": _Unit(inputs, b2[0], 1),
                "Branch_2/Conv3d_0b_3x3": _Unit(b2[0], b2[1], 3),
                "Branch_3/Conv3d_0b_1x1": _Unit(inputs, b3, 1),
            }
        )
        self.outputs = b0 + b1[1] + b2[1] + b3

    def forward(self, x: Tensor) -> Tensor:
        unit = self.units
        branches = (
            unit["Branch_0/Conv3d_0a_1x1"](x),
            unit["Branch_1/Conv3d_0b_3x3"](unit["Branch_1/Conv3d_0a_1x1"](x)),
            unit["Branch_2/Conv3d_0b_3x3"](unit["Branch_2/Conv3d_0a_1x1"](x)),
            unit["Branch_3/Conv3d_0b_1x1"](_pool(x, (3, 3, 3), (1, 1, 1))),
        )
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """Clips [B, 3, T, 224, 224] in [-1, 1] to features [B, 1024] and Kinetics logits [B, 400]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": _Unit(3, 64, 7, 2),
                "Conv3d_2b_1x1": _Unit(64, 64, 1),
                "Conv3d_2c_3x3": _Unit(64, 192, 3),
            }
        )
        self.mixed = nn.ModuleDict()
        channels = 192
        for name, *widths in MIXED:
            block = _Mixed(channels, *widths)  # type: ignore[arg-type]
            self.mixed[name] = block
            channels = block.outputs
        self.classifier = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem["Conv3d_1a_7x7"](x)
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        x = self.stem["Conv3d_2c_3x3"](self.stem["Conv3d_2b_1x1"](x))
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        for name, block in self.mixed.items():
            if name in _POOL_BEFORE:
                x = _pool(x, *_POOL_BEFORE[name])
            x = block(x)
        # The published head pools 2 x 7 x 7 with stride 1, then averages over time.
        depth = min(2, x.shape[2])
        x = F.avg_pool3d(x, (depth, *x.shape[-2:]), stride=1).mean((2, 3, 4))  # [B, 1024]
        return x, self.classifier(x)

    def load_published(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the arrays of the published Flax checkpoint, folding each batch norm into its convolution.

        Raises
        ------
        KeyError, RuntimeError
            An array is missing or has another shape.
        """
        params, stats = checkpoint["params"], checkpoint["batch_stats"]
        for name, unit in self.stem.items():
            _fold(unit, params[name], stats[name])
        for name, block in self.mixed.items():
            units: Any = block.units
            for path, unit in units.items():
                _fold(unit, params[name][path], stats[name][path])
        head = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
        with torch.no_grad():
            self.classifier.weight.copy_(torch.from_numpy(np.array(head["kernel"]))[0, 0, 0].T)
            self.classifier.bias.copy_(torch.from_numpy(np.array(head["bias"])))


def _fold(unit: Any, params: Mapping[str, Any], stats: Mapping[str, Any]) -> None:
    """Kernel [kt, kh, kw, in, out] to [out, in, kt, kh, kw]; the batch norm has no scale (weight 1)."""
    kernel = torch.from_numpy(np.array(params["Conv_0"]["kernel"])).permute(4, 3, 0, 1, 2)
    mean = torch.from_numpy(np.array(stats["BatchNorm_0"]["mean"])).flatten()
    variance = torch.from_numpy(np.array(stats["BatchNorm_0"]["var"])).flatten()
    bias = torch.from_numpy(np.array(params["BatchNorm_0"]["bias"])).flatten()
    scale = 1 / torch.sqrt(variance + 1e-3)
    with torch.no_grad():
        unit.weight.copy_(kernel * scale[:, None, None, None, None])
        unit.bias.copy_(bias - mean * scale)


def published_state(path: Path) -> State:
    """The tensors of :class:`I3D` from the published file."""
    network = I3D()
    network.load_published(weights.read_numpy_pickle(path))
    return state_of(network)
