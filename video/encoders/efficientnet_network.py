"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant of TensorFlow's TPU models, 2020), ImageNet-1k.

Inverted residual blocks with ReLU6 and without squeeze-and-excitation; batch norm eps 1e-3 and
TensorFlow's "same" padding, which pads one side more where the padding is odd.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.video.encoders.pretrained import State, state_of

FEATURES = 1280
CLASSES = 1000


class Stage(NamedTuple):
    repeats: int
    channels: int
    kernel: int
    stride: int
    expand: int


STAGES = (
    Stage(1, 16, 3, 1, 1),
    Stage(2, 24, 3, 2, 6),
    Stage(2, 40, 5, 2, 6),
    Stage(3, 80, 3, 2, 6),
    Stage(3, 112, 5, 1, 6),
    Stage(4, 192, 5, 2, 6),
    Stage(1, 320, 3, 1, 6),
)


class _Conv(nn.Module):
    """Convolution with the batch norm folded in, "same" padding, and ReLU6 where asked for."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.kernel, self.stride, self.groups, self.relu = kernel, stride, groups, relu

    def forward(self, x: Tensor) -> Tensor:
        height, width = (max((-(-n // self.stride) - 1) * self.stride + self.kernel - n, 0) for n in x.shape[-2:])
        if height % 2 or width % 2:
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            padding = (0, 0)
        else:
            padding = (height // 2, width // 2)
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return F.relu6(x, inplace=True) if self.relu else x


class _Block(nn.Module):
    """Expand (1 x 1), filter each channel, project (1 x 1); residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.expand = _Conv(inputs, inner, 1) if expand > 1 else None
        self.depthwise = _Conv(inner, inner, kernel, stride, groups=inner)
        self.project = _Conv(inner, outputs, 1, relu=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = x if self.expand is None else self.expand(x)
        y: Tensor = self.project(self.depthwise(inner))
        return y + x if self.residual else y


class EfficientNetLite0(nn.Module):
    """Pictures [B, 3, 224, 224], (pixel - 127) / 128, to features [B, 1280] and ImageNet logits [B, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels = 32
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(_Block(channels, stage.channels, stage.kernel, stride, stage.expand))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = _Conv(channels, FEATURES, 1)
        self.classifier = nn.Linear(FEATURES, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """Mean of the last feature map, [B, 1280]."""
        pooled: Tensor = self.head(self.blocks(self.stem(x))).mean((-2, -1))
        return pooled

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.classifier(features)

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of the published checkpoint, folding each batch norm into its convolution.

        Raises
        ------
        KeyError, RuntimeError
            A tensor is missing or has another shape.
        """
        self._fold(self.stem, state, "_conv_stem", "_bn0")
        blocks: Any = self.blocks
        for index, block in enumerate(blocks):
            prefix = f"_blocks.{index}."
            if block.expand is not None:
                self._fold(block.expand, state, f"{prefix}_expand_conv", f"{prefix}_bn0")
            self._fold(block.depthwise, state, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
            self._fold(block.project, state, f"{prefix}_project_conv", f"{prefix}_bn2")
        self._fold(self.head, state, "_conv_head", "_bn1")
        with torch.no_grad():
            self.classifier.weight.copy_(state["_fc.weight"])
            self.classifier.bias.copy_(state["_fc.bias"])

    @staticmethod
    def _fold(conv: _Conv, state: Mapping[str, Tensor], name: str, norm: str) -> None:
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
        with torch.no_grad():
            conv.weight.copy_(state[f"{name}.weight"] * scale[:, None, None, None])
            conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)


def published_state(path: Path) -> State:
    """The tensors of :class:`EfficientNetLite0` from the published file."""
    network = EfficientNetLite0()
    network.load_published(torch.load(path, map_location="cpu", weights_only=True))
    return state_of(network)
