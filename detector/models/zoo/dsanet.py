"""DSANet: disentangled semantic alignment on VadCLIP's two branches, AAAI 2026 (arXiv 2511.10334)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.anchors.learnable_prompts import LearnedAnchors
from kgvad.detector.api import Batch, Output, Problem, Recipe
from kgvad.detector.models import losses as loss
from kgvad.detector.models.learned_anchors import text_encoder_adapters
from kgvad.detector.models.temporal import FeedForward
from kgvad.detector.models.zoo.vadclip import TextOutput, VadClip, VadClipConfig


class DsanetConfig(VadClipConfig):
    """Values of the published code for UCF-Crime; XD-Violence: adapter_layers 1, adapter_share 0.6, align_weight 5.

    The published form is ``learn=adapters``; the default needs no text encoder.
    """

    separation_weight: float = Field(
        default=1.0, ge=0, description="Weight of the separation of Normal's text features."
    )
    align_weight: float = Field(
        default=1.1, ge=0, description="Weight of the category loss of the snippets (MIL-align)."
    )
    adapter_layers: int = Field(default=3, ge=0, description="Number of text adapters.")
    adapter_share: float = Field(default=0.1, ge=0, le=1, description="Share of the adapters' output.")
    prototypes: int = Field(default=16, ge=1, description="Prototypes of normality of each video.")
    blocks: int = Field(default=8, ge=0, description="Blocks of the reconstruction.")
    prototype_heads: int = Field(default=8, ge=1, description="Attention heads of the normality model.")
    normal_share: float = Field(
        default=0.8, gt=0, le=1, description="Share of the snippets taken as normal, lowest scores first."
    )
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="Label smoothing of event and background.")


@dataclass(frozen=True, eq=False)
class DsanetOutput(TextOutput):
    """VadCLIP's output with V, its reconstruction, compactness, and pooled alignments."""

    visual: Tensor | None = None  # [B, T, m]
    reconstruction: Tensor | None = None  # [B, T, m]
    compactness: Tensor | None = None  # [B]
    event: Tensor | None = None  # [B, C]
    background: Tensor | None = None  # [B, C]


class _Attention(nn.Module):
    """Multi-head attention of queries on a memory; ``gated`` replaces softmax by relu(gain * cosine)."""

    def __init__(self, width: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.gain = nn.Parameter(torch.ones(heads)) if gated else None

    def forward(self, x: Tensor, memory: Tensor, keep: Tensor | None = None) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.reshape(*y.shape[:2], self.heads, -1).transpose(1, 2)

        q, k, v = split(self.q(x)), split(self.k(memory)), split(self.v(memory))
        if self.gain is not None:
            weights = F.relu(
                self.gain[:, None, None] * (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(2, 3))
            )
        else:
            scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
            if keep is not None:
                scores = scores.masked_fill(~keep[:, None, None], -torch.inf)
            weights = scores.softmax(-1)
        y: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return y


class _Block(nn.Module):
    """Attention on a memory and a feed-forward network; the reconstruction has no residual around its attention."""

    def __init__(self, width: int, heads: int, rebuild: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.attention = _Attention(width, heads, gated=rebuild)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.rebuild = rebuild

    def forward(self, x: Tensor, memory: Tensor, keep: Tensor | None = None) -> Tensor:
        y = self.attention(self.norm1(x), self.norm1(memory), keep)
        x = y if self.rebuild else x + y
        y = x + self.mlp(self.norm2(x))
        assert isinstance(y, Tensor)
        return y


class NormalityModel(nn.Module):
    """Self-guided normality modelling: prototypes of the lowest-scoring snippets, and reconstructions from them.

    30,479,424 parameters at width 512.
    """

    def __init__(self, width: int, options: DsanetConfig) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(options.prototypes, width))
        self.gather = _Block(width, options.prototype_heads, rebuild=False)
        self.bottleneck = FeedForward(width)
        self.rebuild = nn.ModuleList(
            _Block(width, options.prototype_heads, rebuild=True) for _ in range(options.blocks)
        )
        self.share = options.normal_share
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.03, b=0.03)
                nn.init.zeros_(layer.bias)

    def forward(self, v: Tensor, logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructed snippets [B, T, m], and compactness of each video [B]."""
        normal, keep = loss.lowest_scoring_snippets(v, logits.detach(), lengths, self.share)
        prototypes = self.gather(self.queries.expand(len(v), -1, -1), normal, keep)
        r = self.bottleneck(v)
        for block in self.rebuild:
            r = block(r, prototypes)
        return r, loss.compactness(normal, keep, prototypes)


class Dsanet(VadClip):
    """VadCLIP with text adapters, self-guided normality modelling, and separate alignment of event and background.

    With ``learn=adapters`` the adapters act, as published, on the tokens in the first layers of the text encoder, and a
    learned layer replaces its projection; the bank's anchors are unused. Otherwise they act on the anchors. Deviations:
    one AdamW with a cosine over all steps for all parameters, where the authors give the normality model a second
    optimiser with a warm-up; padding is neither a normal snippet nor part of event and background. In compatible mode
    it has 44,130,882 parameters besides VadCLIP's prompt table, which the published one lacks.
    """

    name: ClassVar[str] = "dsanet"
    Config = DsanetConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=10, learning_rate=7e-5, weight_decay=1e-2, normal_batch=64, abnormal_batch=64, warmup=0.0
    )
    snippet_averaged_losses: ClassVar[frozenset[str]] = frozenset({"consistency"})
    source: ClassVar[str] = "DSANet 2026"

    def __init__(self, problem: Problem, config: DsanetConfig) -> None:
        super().__init__(problem, config)
        self.choice = config
        if config.learn != "adapters":
            self.adapter = nn.ModuleList(
                nn.Linear(config.width, config.width, bias=False) for _ in range(config.adapter_layers)
            )
            self.adapter_out = nn.Linear(config.width, config.width, bias=False)
            for layer in (*self.adapter, self.adapter_out):
                nn.init.xavier_uniform_(layer.weight)
        else:
            self.text = nn.Identity()  # the adapters' output has the width of the detector
        self.normality = NormalityModel(config.width, config)

    def make_learned(self, problem: Problem) -> LearnedAnchors | None:
        config = self.config
        assert isinstance(config, DsanetConfig)
        if config.learn != "adapters":
            return super().make_learned(problem)
        return text_encoder_adapters(problem, config.adapter_layers, config.adapter_share, config.width)

    def text_features(self) -> Tensor:
        t = super().text_features()
        if self.choice.learn == "adapters":
            return t
        for layer in self.adapter:
            a = F.leaky_relu(layer(t))
            a = a * t.norm(dim=-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) + 1e-6)
            t = (1 - self.choice.adapter_share) * t + self.choice.adapter_share * a
        return F.normalize(F.leaky_relu(self.adapter_out(t)), dim=-1)

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> DsanetOutput:
        v = self.encode(features, lengths, captions)
        base = self.branches(v, lengths)
        assert base.text is not None
        reconstruction, compactness = self.normality(v, base.logits, lengths) if self.training else (None, None)
        event, background = loss.event_background(v, base.logits, lengths)
        t = F.normalize(base.text, dim=-1).transpose(1, 2)
        scale = 1 / self.options.temperature
        return DsanetOutput(
            base.logits,
            base.alignment,
            text=base.text,
            visual=v,
            reconstruction=reconstruction,
            compactness=compactness,
            event=(F.normalize(event, dim=-1)[:, None] @ t)[:, 0] * scale,
            background=(F.normalize(background, dim=-1)[:, None] @ t)[:, 0] * scale,
        )

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert isinstance(output, DsanetOutput)
        assert output.event is not None and output.background is not None
        terms = dict(super().losses(output, batch))
        terms["align"] = terms["align"] * self.choice.align_weight
        smooth = self.choice.label_smoothing
        terms["event"] = loss.smoothed_cross_entropy(output.event, batch.targets, smooth)
        background = torch.full_like(batch.targets, 0.01)
        background[:, batch.normal] = 1.0
        terms["background"] = loss.smoothed_cross_entropy(output.background, background, smooth)
        if output.reconstruction is not None and output.compactness is not None and output.visual is not None:
            terms["consistency"] = loss.consistency(output.logits, output.visual, output.reconstruction, batch.lengths)
            terms["compactness"] = output.compactness.mean()
        return terms
