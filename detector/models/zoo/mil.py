"""Two plain baselines: multiple-instance learning with a linear layer, or with a network of one hidden layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe
from kgvad.detector.models import losses as loss


class LinearConfig(BaseModel):
    """Options of the linear baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    standardise_rows: bool = Field(
        default=False, description="Scale every snippet to mean 0 and standard deviation 1 over its columns."
    )
    category_weight: float = Field(default=1.0, ge=0, description="Weight of the category loss.")


class MlpConfig(LinearConfig):
    """Options of the baseline with a hidden layer."""

    width: int = Field(default=128, ge=1, description="Channels of the hidden layer.")
    dropout: float = Field(default=0.6, ge=0, lt=1, description="Dropout after the hidden layer.")


class Linear(Detector):
    """A linear layer for the anomaly logit and the category logits, trained by top-k MIL.

    Cross-entropy of the mean of the k largest scores, and of the k largest logits of each category
    (:func:`kgvad.detector.models.losses.mil_bce` and :func:`~kgvad.detector.models.losses.mil_align`).
    """

    name: ClassVar[str] = "linear"
    Config: ClassVar[type[BaseModel]] = LinearConfig
    recipe: ClassVar[Recipe] = Recipe(epochs=15, learning_rate=1e-3, weight_decay=1e-2, max_length=32)
    source: ClassVar[str] = "baseline"
    names_categories: ClassVar[bool] = True

    def __init__(self, problem: Problem, config: LinearConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        self.net = self.layers(1 + len(problem.categories))

    def layers(self, outputs: int) -> nn.Module:
        """The network from a snippet to its ``outputs`` logits."""
        return nn.Linear(self.problem.dim, outputs)

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> Output:
        if self.options.standardise_rows:
            features = features - features.mean(-1, keepdim=True)
            features = features / features.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
        found = self.net(features)
        return Output(found[..., 0], found[..., 1:])

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert output.alignment is not None
        return {
            "score": loss.mil_bce(output.logits, batch.lengths, batch.abnormal),
            "category": self.options.category_weight * loss.mil_align(output.alignment, batch.lengths, batch.targets),
        }


class Mlp(Linear):
    """The linear baseline with a hidden layer, ReLU and dropout before it."""

    name: ClassVar[str] = "mlp"
    Config: ClassVar[type[BaseModel]] = MlpConfig
    options: MlpConfig

    def layers(self, outputs: int) -> nn.Module:
        width = self.options.width
        return nn.Sequential(
            nn.Linear(self.problem.dim, width), nn.ReLU(), nn.Dropout(self.options.dropout), nn.Linear(width, outputs)
        )
