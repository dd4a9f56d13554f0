"""Sultani, Chen, Shah: Real-world Anomaly Detection in Surveillance Videos, CVPR 2018."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models import losses as loss


class SultaniConfig(BaseModel):
    """The paper's section 4.2."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=512, ge=1, description="Channels of the first layer.")
    dropout: float = Field(default=0.6, ge=0, lt=1, description="Dropout.")
    smooth_weight: float = Field(default=8e-5, ge=0, description="Weight of the temporal smoothness of the scores.")
    sparse_weight: float = Field(default=8e-5, ge=0, description="Weight of the sparsity of the scores.")


class Sultani(Detector):
    """MIL ranking with a margin of 1 between the highest scores of abnormal and of normal videos.

    A network D-512-32-1 (``width`` 512) scores each of 32 segments; smoothness and sparsity act on abnormal videos. It
    does not classify. Deviation from the paper: AdamW with the paper's rate instead of Adagrad.
    """

    name: ClassVar[str] = "sultani"
    Config: ClassVar[type[BaseModel]] = SultaniConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=30, learning_rate=1e-3, weight_decay=1e-3, normal_batch=30, abnormal_batch=30, max_length=32,
        warmup=0.0, schedule="constant",
    )  # fmt: skip
    source: ClassVar[str] = "Sultani et al. 2018"

    def __init__(self, problem: Problem, config: SultaniConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        drop = nn.Dropout(config.dropout)
        self.net = nn.Sequential(
            nn.Linear(problem.dim, config.width), nn.ReLU(), drop, nn.Linear(config.width, 32), drop, nn.Linear(32, 1)
        )
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> Output:
        return Output(self.net(features)[..., 0])

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        abnormal = batch.abnormal > 0.5
        scores = torch.sigmoid(output.logits) * valid_mask(batch.lengths, output.logits.shape[1])
        terms = {"ranking": loss.mil_ranking(output.logits, batch.lengths, batch.abnormal)}
        if abnormal.any():
            terms["smooth"] = self.options.smooth_weight * loss.smoothness(scores[abnormal], batch.lengths[abnormal])
            terms["sparse"] = self.options.sparse_weight * loss.sparsity(scores[abnormal], batch.lengths[abnormal])
        return terms
