"""SemVAD: VadCLIP's branches over features fused with captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import Batch, Output, Problem, Recipe, valid_rows
from kgvad.detector.models import losses as loss
from kgvad.detector.models.zoo.vadclip import VadClip, VadClipConfig
from kgvad.errors import UsageError


class SemvadConfig(VadClipConfig):
    """Width 1024: 512 of the features and 512 of the captions."""

    width: int = Field(default=1024, ge=4, multiple_of=4)
    kernel: int = Field(default=9, ge=1)  # rows that the mixer sees
    mixers: int = Field(default=2, ge=0)
    semantic_weight: float = Field(default=1.0, ge=0)


class Mixer(nn.Module):
    """Depth-wise convolution over time with a residual, then a point-wise one (ConvMixer, Trockman and Kolter 2022)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.depth = nn.Conv1d(width, width, kernel, padding="same", groups=width)
        self.point = nn.Conv1d(width, width, 1)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        y = F.gelu(self.depth((self.norm1(x) * keep).transpose(1, 2)).transpose(1, 2))
        x = x + y
        y = x + F.gelu(self.point(self.norm2(x).transpose(1, 2)).transpose(1, 2))
        return y


class Fusion(nn.Module):
    """Two phases: rows attend to captions with the keys as values, then a convolution mixer joins both.

    softmax(Q K^T / sqrt(d)) K with Q from the features and K from the captions; [rows, attended captions] goes through
    the mixers.
    """

    def __init__(self, dim: int, text_dim: int, width: int, kernel: int, mixers: int) -> None:
        super().__init__()
        half = width // 2
        self.visual, self.text = nn.Linear(dim, half), nn.Linear(text_dim, half)
        self.query, self.key = nn.Linear(half, half), nn.Linear(half, half)
        self.mixers = nn.ModuleList(Mixer(width, kernel) for _ in range(mixers))

    def forward(self, features: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
        keep = valid_rows(lengths, features.shape[1])
        x, c = self.visual(features), self.text(text)
        q, k = self.query(x), self.key(c)
        match = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~keep[:, None], -torch.inf)
        y = torch.cat([x, c + match.softmax(-1) @ k], dim=-1) * keep[..., None]
        for mixer in self.mixers:
            y = mixer(y, keep[..., None]) * keep[..., None]
        return y


class Semvad(VadClip):
    """VadCLIP's two branches over fused features, with a cosine loss that ties abnormal rows to their category's text.

    What the facts at hand leave open (the mixer's depth and kernel) is an option here; its sigma-greedy selection is
    the recipe's ``sigma``.
    """

    name: ClassVar[str] = "semvad"
    Config = SemvadConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=10, learning_rate=2e-5, weight_decay=1e-2, normal_batch=64, abnormal_batch=64, warmup=0.0
    )
    source: ClassVar[str] = "SemVAD"
    reads_text: ClassVar[bool] = True

    def __init__(self, problem: Problem, config: SemvadConfig) -> None:
        if problem.text_dim is None:
            raise UsageError("semvad fuses features with captions, and there are none", "name their store with --text")
        super().__init__(problem, config)
        self.fusion = Fusion(problem.dim, problem.text_dim, config.width, config.kernel, config.mixers)
        self.visual = nn.Identity()
        self.semantic_weight = config.semantic_weight

    def encode(self, features: Tensor, lengths: Tensor, text: Tensor | None) -> Tensor:
        assert text is not None
        v: Tensor = self.temporal(self.fusion(features, text, lengths), lengths)
        return v

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert output.alignment is not None
        terms = dict(super().losses(output, batch))
        cosine = output.alignment * self.options.temperature
        noise = batch.noise(output.logits)
        choice = output.logits if noise is None else output.logits + noise
        terms["semantic"] = self.semantic_weight * loss.semantic_alignment(cosine, choice, batch.lengths, batch.targets)
        return terms
