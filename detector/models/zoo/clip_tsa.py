"""Joo et al.: CLIP-TSA: CLIP-Assisted Temporal Self-Attention for Weakly-Supervised VAD, ICIP 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models.multiscale import MultiScale, perturbed_topk, score_head
from kgvad.detector.models.zoo.rtfm import MagnitudeOutput, RtfmConfig, rtfm_losses


class ClipTsaConfig(RtfmConfig):
    """RTFM's options and those of the temporal self-attention (UCF-Crime's values)."""

    share: float = Field(default=0.95, gt=0, le=1, description="Share of the snippets that are selected.")
    samples: int = Field(default=100, ge=1, description="Noise samples of the perturbed top-k.")
    sigma: float = Field(default=0.05, gt=0, description="Standard deviation of the noise of the perturbed top-k.")


class ClipTsa(Detector):
    """RTFM's network on the snippets that a differentiable top-k selects.

    The scores of the selected snippets go back to their time steps, weighted by the selection; a snippet that was never
    selected takes the lowest score of its video. In evaluation the selection is the plain top-k. It does not classify.
    Deviations: those of RTFM.
    """

    name: ClassVar[str] = "clip_tsa"
    Config: ClassVar[type[BaseModel]] = ClipTsaConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=20, optimiser="adam", learning_rate=1e-3, weight_decay=5e-3, normal_batch=16, abnormal_batch=16,
        max_length=32, warmup=0.0, schedule="constant",
    )  # fmt: skip
    source: ClassVar[str] = "Joo et al. 2023"

    def __init__(self, problem: Problem, config: ClipTsaConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        self.scorer = nn.Sequential(nn.Linear(problem.dim, 256), nn.ReLU(), nn.Linear(256, 1), nn.Sigmoid())
        width = config.width or problem.dim
        self.visual = nn.Identity() if config.width is None else nn.Linear(problem.dim, width)
        self.temporal = MultiScale(width, width // 4, config.dropout)
        self.head = score_head(width, config.dropout)

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> MagnitudeOutput:
        size = features.shape[1]
        interest = self.scorer(features)[..., 0].float()  # no selection in bfloat16
        wanted = (self.options.share * lengths).long().clamp(min=1)  # k of each video
        k = int(wanted.max())
        used = valid_mask(wanted, k)
        choice = features.new_zeros(len(lengths), k, size)
        for length in sorted(set(lengths.tolist())):  # videos of one length are selected together
            group = lengths == length
            choice[group, : int(wanted[group][0]), :length] = self._choose(
                interest[group, :length], int(wanted[group][0])
            )
        chosen = self.temporal(choice @ self.visual(features), wanted)  # [B, k, D]
        score = torch.sigmoid(self.head(chosen)[..., 0])
        weight = choice.sum(1)  # [B, T]
        back = (choice.transpose(1, 2) @ score[..., None])[..., 0] / weight.clamp(min=1e-6)
        lowest = score.masked_fill(~used, torch.inf).amin(1, keepdim=True)
        scores = torch.where(weight > 1e-6, back, lowest).clamp(1e-6, 1 - 1e-6)
        temporal = choice.transpose(1, 2) @ chosen / weight.clamp(min=1e-6)[..., None]
        return MagnitudeOutput(torch.logit(scores), temporal=temporal)

    def _choose(self, interest: Tensor, k: int) -> Tensor:
        if self.training:
            return perturbed_topk(interest, k, self.options.samples, self.options.sigma)
        places = interest.topk(k, dim=1).indices.sort(dim=1).values
        return F.one_hot(places, interest.shape[1]).to(interest.dtype)

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert isinstance(output, MagnitudeOutput) and output.temporal is not None
        return rtfm_losses(output.logits, output.temporal, batch, self.options)
