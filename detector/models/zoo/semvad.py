"""SemVAD: VadCLIP's branches over features fused with captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import Batch, Output, Problem, Recipe, valid_mask
from kgvad.detector.models import losses as loss
from kgvad.detector.models.zoo.vadclip import VadClip, VadClipConfig
from kgvad.errors import UsageError


class SemvadConfig(VadClipConfig):
    """Width 1024: 512 of the features and 512 of the captions."""

    width: int = Field(
        default=1024, ge=4, multiple_of=4, description="Channels, half from the features, half from captions."
    )
    kernel: int = Field(default=9, ge=1, description="Kernel of the mixers, in snippets.")
    mixers: int = Field(default=2, ge=0, description="Number of mixers.")
    semantic_weight: float = Field(default=1.0, ge=0, description="Weight of the semantic alignment.")


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
    """Cross-attention of features on captions with the keys as values, then convolution mixers over both.

    softmax(Q K^T / sqrt(d)) K with Q from the features and K from the captions; the mixers take
    [features, attended captions].
    """

    def __init__(self, dim: int, caption_dim: int, width: int, kernel: int, mixers: int) -> None:
        super().__init__()
        half = width // 2
        self.visual, self.captions = nn.Linear(dim, half), nn.Linear(caption_dim, half)
        self.query, self.key = nn.Linear(half, half), nn.Linear(half, half)
        self.mixers = nn.ModuleList(Mixer(width, kernel) for _ in range(mixers))

    def forward(self, features: Tensor, captions: Tensor, lengths: Tensor) -> Tensor:
        keep = valid_mask(lengths, features.shape[1])
        x, c = self.visual(features), self.captions(captions)
        q, k = self.query(x), self.key(c)
        match = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~keep[:, None], -torch.inf)
        y = torch.cat([x, c + match.softmax(-1) @ k], dim=-1) * keep[..., None]
        for mixer in self.mixers:
            y = mixer(y, keep[..., None]) * keep[..., None]
        return y


class Semvad(VadClip):
    """VadCLIP's two branches over features fused with captions, with a semantic alignment loss.

    The loss is a cosine between high-scoring snippets and the text of their category. The depth and kernel of the
    mixers are not published and are options here.
    """

    name: ClassVar[str] = "semvad"
    Config = SemvadConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=10, learning_rate=2e-5, weight_decay=1e-2, normal_batch=64, abnormal_batch=64, warmup=0.0
    )
    source: ClassVar[str] = "SemVAD"
    reads_captions: ClassVar[bool] = True

    def __init__(self, problem: Problem, config: SemvadConfig) -> None:
        if problem.caption_dim is None:
            raise UsageError(
                "semvad fuses features with captions, and there are none", "name their store with --captions"
            )
        super().__init__(problem, config)
        self.fusion = Fusion(problem.dim, problem.caption_dim, config.width, config.kernel, config.mixers)
        self.visual = nn.Identity()
        self.semantic_weight = config.semantic_weight

    def encode(self, features: Tensor, lengths: Tensor, captions: Tensor | None) -> Tensor:
        assert captions is not None
        v: Tensor = self.temporal(self.fusion(features, captions, lengths), lengths)
        return v

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert output.alignment is not None
        terms = dict(super().losses(output, batch))
        cosine = output.alignment * self.options.temperature
        noise = batch.noise(output.logits)
        choice = output.logits if noise is None else output.logits + noise
        terms["semantic"] = self.semantic_weight * loss.semantic_alignment(cosine, choice, batch.lengths, batch.targets)
        return terms
