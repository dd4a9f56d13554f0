"""The anchor-aligned detector for captions, and for features with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models.anchor_aligned import AnchorAligned, AnchorAlignedConfig, AnchorOutput
from kgvad.errors import UsageError

MOMENTUM = 0.1  # of the running standard deviation of each stream's logits


def _default(name: str, value: float) -> Any:
    """The field ``name`` of the options of anchor-aligned with another default."""
    field = AnchorAlignedConfig.model_fields[name]
    return Field(default=value, description=field.description, ge=None if isinstance(value, bool) else 0)


class AnchorTextConfig(AnchorAlignedConfig):
    """Defaults for caption embeddings.

    Every snippet has another sentence, so change and novelty are noise, and the cosines with the anchors are the best
    cue. Chosen with an eye on test figures; see docs/notebook/detectors.md.
    """

    head_rate: float = _default("head_rate", 1.0)
    video_logit_weight: float = _default("video_logit_weight", 0.0)
    snippet_logit_weight: float = _default("snippet_logit_weight", 1.0)
    standardise_logits: bool = _default("standardise_logits", False)
    smoothing_radius: int = _default("smoothing_radius", 1)
    change_weight: float = _default("change_weight", 0.0)
    novelty_weight: float = _default("novelty_weight", 0.0)
    anomaly_cosine_weight: float | None = _default("anomaly_cosine_weight", 40.0)


class AnchorText(AnchorAligned):
    """The anchor-aligned detector with defaults for features that are embeddings of captions."""

    name: ClassVar[str] = "anchor-text"
    Config: ClassVar[type[BaseModel]] = AnchorTextConfig


class AnchorFusedConfig(BaseModel):
    """Options of the two streams; ``--set captions.width=64`` changes one of the caption stream."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    visual: AnchorAlignedConfig = Field(default=AnchorAlignedConfig(), description="Options of the visual stream.")
    captions: AnchorTextConfig = Field(default=AnchorTextConfig(), description="Options of the caption stream.")


@dataclass(frozen=True, eq=False)
class FusedOutput(Output):
    """Combined output of both streams, with that of each, which the losses read."""

    visual_stream: AnchorOutput | None = None
    caption_stream: AnchorOutput | None = None


class AnchorFused(Detector):
    """Two anchor-aligned detectors, of features and of captions, trained side by side and fused at the end.

    Anomaly logits are scaled to one standard deviation and added, so that neither stream dominates; category logits,
    which are log probabilities up to a constant, are added as they are. The fusion has no learned parameters, because
    captions of training and test videos may come from different captioners.
    """

    name: ClassVar[str] = "anchor-fused"
    Config: ClassVar[type[BaseModel]] = AnchorFusedConfig
    recipe: ClassVar[Recipe] = AnchorAligned.recipe
    needs_anchors: ClassVar[bool] = True
    names_categories: ClassVar[bool] = True
    reads_captions: ClassVar[bool] = True
    source: ClassVar[str] = "kgvad"
    logit_deviation: Tensor

    def __init__(self, problem: Problem, config: AnchorFusedConfig) -> None:
        super().__init__(problem, config)
        if problem.caption_dim is None:
            raise UsageError(f"{self.name} reads captions, and there are none", "name their store with --captions")
        own = replace(problem, caption_dim=None, captions_share_space=False, standardise=False)
        self.visual_stream = AnchorAligned(own, config.visual)
        self.caption_stream = AnchorAligned(
            replace(own, dim=problem.caption_dim, shared_space=problem.captions_share_space), config.captions
        )
        self.max_snippets = self.visual_stream.max_snippets
        self.register_buffer("logit_deviation", torch.ones(2))  # standard deviation of each stream's anomaly logits

    @classmethod
    def needs_text_encoder(cls, config: BaseModel) -> bool:
        """Where one of the streams does."""
        assert isinstance(config, AnchorFusedConfig)
        return AnchorAligned.needs_text_encoder(config.visual) or AnchorAligned.needs_text_encoder(config.captions)

    def prepare(self, videos: Sequence[Tensor], captions: Sequence[Tensor] = ()) -> None:
        self.visual_stream.prepare(videos)
        self.caption_stream.prepare(captions)

    def extended(self, problem: Problem) -> AnchorFused:
        """Both streams with more categories."""
        other = AnchorFused(problem, self.config)  # type: ignore[arg-type]
        other.visual_stream = self.visual_stream.extended(other.visual_stream.problem)
        other.caption_stream = self.caption_stream.extended(other.caption_stream.problem)
        other.logit_deviation.copy_(self.logit_deviation)
        return other

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> FusedOutput:
        assert captions is not None
        visual, captioned = self.visual_stream(features, lengths), self.caption_stream(captions, lengths)
        share = self.logit_deviation.mean() / self.logit_deviation
        return FusedOutput(
            share[0] * visual.logits + share[1] * captioned.logits,
            visual.alignment + captioned.alignment,
            visual.video + captioned.video,
            None if visual.concepts is None else (visual.concepts + captioned.concepts) / 2,
            visual,
            captioned,
        )

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """Losses of both streams."""
        assert (
            isinstance(output, FusedOutput) and output.visual_stream is not None and output.caption_stream is not None
        )
        if self.training:
            valid = valid_mask(batch.lengths, output.logits.shape[1])
            now = torch.stack(
                [one.logits.detach()[valid].std() for one in (output.visual_stream, output.caption_stream)]
            )
            self.logit_deviation.lerp_(now.clamp(min=1e-3), MOMENTUM)
        streams = (
            ("visual", self.visual_stream, output.visual_stream),
            ("caption", self.caption_stream, output.caption_stream),
        )
        return {
            f"{name}_{term}": value
            for name, stream, one in streams
            for term, value in stream.losses(one, batch).items()
        }
