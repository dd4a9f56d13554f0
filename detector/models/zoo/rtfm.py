"""Tian et al.: Weakly-supervised Video Anomaly Detection with Robust Temporal Feature Magnitude Learning, ICCV 2021."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models import losses as loss
from kgvad.detector.models.multiscale import MultiScale, score_head


class RtfmConfig(BaseModel):
    """Defaults of the paper, section 4.2, and its code."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(default=3, ge=1, description="Snippets of largest feature magnitude.")
    margin: float = Field(default=100.0, gt=0, description="Margin of the feature magnitude.")
    dropout: float = Field(default=0.7, ge=0, lt=1, description="Dropout.")
    magnitude_weight: float = Field(default=1e-4, ge=0, description="Weight of the magnitude loss.")
    smooth_weight: float = Field(default=8e-4, ge=0, description="Weight of the temporal smoothness of the scores.")
    sparse_weight: float = Field(default=8e-3, ge=0, description="Weight of the sparsity of the scores.")
    width: int | None = Field(
        default=None, ge=8, description="Width of a linear projection of the features; none: no projection."
    )


@dataclass(frozen=True, eq=False)
class MagnitudeOutput(Output):
    """Output with the temporal features [B, T, D] whose norm the loss reads."""

    temporal: Tensor | None = None


class Rtfm(Detector):
    """Top-k MIL by the magnitude of temporal features, which abnormal videos should have larger.

    24,718,849 parameters for 2048-d features. It does not classify. Deviations: the magnitude loss is the mean over all
    pairs of videos; smoothness and sparsity are sums over a video, averaged over the abnormal videos.
    """

    name: ClassVar[str] = "rtfm"
    Config: ClassVar[type[BaseModel]] = RtfmConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=20, optimiser="adam", learning_rate=1e-3, weight_decay=5e-3, max_length=32, warmup=0.0,
        schedule="constant",
    )  # fmt: skip
    source: ClassVar[str] = "Tian et al. 2021"

    def __init__(self, problem: Problem, config: RtfmConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        width = config.width or problem.dim
        self.visual = nn.Identity() if config.width is None else nn.Linear(problem.dim, width)
        self.temporal = MultiScale(width, width // 4, config.dropout)
        self.head = score_head(width, config.dropout)

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> MagnitudeOutput:
        y = self.temporal(self.visual(features), lengths)
        return MagnitudeOutput(self.head(y)[..., 0], temporal=y)

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert isinstance(output, MagnitudeOutput) and output.temporal is not None
        return rtfm_losses(output.logits, output.temporal, batch, self.options)


def rtfm_losses(logits: Tensor, temporal: Tensor, batch: Batch, options: RtfmConfig) -> dict[str, Tensor]:
    """BCE of the selected snippets, magnitude margin, smoothness and sparsity of abnormal videos (equations 5 to 8)."""
    keep = valid_mask(batch.lengths, logits.shape[1])
    k = torch.full_like(batch.lengths, options.k)
    magnitude = temporal.detach().norm(dim=-1).masked_fill(~keep, -torch.inf)
    most = min(options.k, logits.shape[1])
    places = magnitude.topk(most, dim=1).indices
    count = torch.minimum(k, batch.lengths)
    use = (torch.arange(most, device=k.device)[None] < count[:, None]).to(logits.dtype)
    scores = torch.sigmoid(logits)
    chosen = ((scores.gather(1, places) * use).sum(1) / count).clamp(1e-7, 1 - 1e-7)
    abnormal = batch.abnormal
    terms = {"bce": -(abnormal * chosen.log() + (1 - abnormal) * (1 - chosen).log()).mean()}
    selected = temporal.gather(1, places[..., None].expand(-1, -1, temporal.shape[-1]))
    mean = (selected * use[..., None]).sum(1) / count[:, None]  # [B, D]
    high, low = mean[abnormal > 0.5].norm(dim=-1), mean[abnormal < 0.5].norm(dim=-1)
    if len(high) and len(low):
        gap = (options.margin - high).abs()[:, None] + low[None, :]
        terms["magnitude"] = options.magnitude_weight * gap.pow(2).mean()
    if len(high):
        lengths = batch.lengths[abnormal > 0.5]
        terms["smooth"] = options.smooth_weight * loss.smoothness(scores[abnormal > 0.5], lengths)
        terms["sparse"] = options.sparse_weight * loss.sparsity(scores[abnormal > 0.5], lengths)
    return terms
