"""SemVAD: Fusing Semantic and Vision Features for Weakly Supervised Video Anomaly Detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from kgvad.detector.api import Batch, Output, Problem, Recipe
from kgvad.detector.data.class_prompts import PromptOptions
from kgvad.detector.models import losses as loss
from kgvad.detector.models.zoo.semvad_fusion import Form, Fusion, Stage, Values
from kgvad.detector.models.zoo.vadclip import TextOutput, VadClip, VadClipConfig
from kgvad.errors import UsageError


class SemvadConfig(VadClipConfig):
    """The paper's values for UCF-Crime; ``kgvad train --preset`` has those for XD-Violence and of the released code."""

    width: int = Field(
        default=1024, ge=4, multiple_of=4, description="Channels of the adapter; the fusion has half as many, D."
    )
    stage: Stage = Field(
        default="mixer", description="Fusion up to: concatenation of the captions, attention, or mixer (Table 10)."
    )
    form: Form = Field(
        default="paper", description="Attention over time, as in the paper, or over channels, as in the released code."
    )
    values: Values = Field(
        default="keys", description="Values of the attention: its keys (QKK), or one more projection (QKV, Table 13)."
    )
    hidden: int = Field(
        default=0, ge=0, description="Channels inside the fusion's feed-forward network; 0: half of D. Not published."
    )
    separation: Literal["sum", "mean"] = Field(
        default="sum",
        description="Of the cosines with Normal: the sum of the positive ones (eq. 4), or the mean of the absolute "
        "ones (released code).",
    )
    semantic_weight: float = Field(default=1.0, ge=0, description="Weight of the semantic loss l_sem; 0: without.")
    semantic_videos: Literal["abnormal", "all"] = Field(
        default="abnormal", description="Videos over which l_sem is averaged; the released code takes all."
    )
    prompts: PromptOptions = Field(default=PromptOptions(), description="How the words of class prompts are chosen.")


@dataclass(frozen=True, eq=False)
class SemvadOutput(TextOutput):
    """Output with the projected captions t [B, T, D], in training."""

    captions: Tensor | None = None


class Semvad(VadClip):
    """VadCLIP's adapter and branches over features fused with captions, and a loss that aligns captions with classes.

    The fused [f, F_mix] (:class:`~kgvad.detector.models.zoo.semvad_fusion.Fusion`) replace VadCLIP's features. The loss
    is bce + nce + lambda cts + l_sem: l_sem draws the captions of a video's likeliest snippets to the class prompt of
    its category, a phrase of the words that set its training captions apart
    (:func:`~kgvad.detector.data.class_prompts.class_prompts`). A video of several categories takes the first.

    The categories' text features are one linear map of the anchors to the adapter's width, as in the released code.
    """

    name: ClassVar[str] = "semvad"
    Config = SemvadConfig
    recipe: ClassVar[Recipe] = VadClip.recipe
    source: ClassVar[str] = "SemVAD"
    reads_captions: ClassVar[bool] = True
    class_prompts: Tensor

    def __init__(self, problem: Problem, config: SemvadConfig) -> None:
        if problem.caption_dim is None:
            raise UsageError(
                "semvad fuses features with captions, and there are none", "name their store with --captions"
            )
        if config.compatible:
            raise UsageError("semvad has no compatible mode", "leave out --set compatible=true")
        super().__init__(problem, config)
        self.semvad = config
        fusion = (config.width // 2, config.stage, config.form, config.values, config.hidden)
        self.fusion = Fusion(problem.dim, problem.caption_dim, *fusion)
        self.visual = nn.Identity()
        prompts = problem.class_prompts
        if prompts is None:
            prompts = torch.zeros(len(problem.categories), problem.caption_dim)
        self.register_buffer("class_prompts", prompts.clone())
        if config.semantic_videos == "abnormal":
            self.abnormal_averaged_losses = frozenset({"semantic"})

    @classmethod
    def class_prompt_options(cls, config: BaseModel) -> BaseModel | None:
        """Where the semantic loss is on."""
        assert isinstance(config, SemvadConfig)
        return config.prompts if config.semantic_weight else None

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> SemvadOutput:
        assert captions is not None
        fused, projected = self.fusion(features, captions, lengths)
        found = self.branches(self.temporal(fused, lengths), lengths)
        kept = projected if self.training else None
        return SemvadOutput(found.logits, found.alignment, text=found.text, snippets=found.snippets, captions=kept)

    def separation(self, text: Tensor, normal: int) -> Tensor:
        return (
            loss.separation_sum(text, normal) if self.semvad.separation == "sum" else super().separation(text, normal)
        )

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        terms = dict(super().losses(output, batch))
        if self.semvad.semantic_weight:
            terms["semantic"] = self.semvad.semantic_weight * self.semantic(output, batch)
        return terms

    def semantic(self, output: Output, batch: Batch) -> Tensor:
        """l_sem, averaged over the videos; 0 without any."""
        assert isinstance(output, SemvadOutput) and output.captions is not None and output.alignment is not None
        prompts = self.fusion.captions(self.standardised_prompts())  # t^(m) [C, D]
        labels = batch.targets.argmax(-1)  # the first of several
        each = loss.semantic_alignment(output.captions, prompts, output.alignment, batch.lengths, labels)
        if self.semvad.semantic_videos == "all":
            return each.mean()
        return (each * batch.abnormal).sum() / batch.abnormal.sum().clamp(min=1)

    def standardised_prompts(self) -> Tensor:
        """Class prompts [C, E] on the scale of the captions."""
        if not self.problem.standardise:
            return self.class_prompts
        centre, scale = self.get_buffer("captions_centre"), self.get_buffer("captions_scale")
        return (self.class_prompts - centre) * scale
