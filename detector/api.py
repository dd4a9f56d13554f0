"""The plugin protocol of detectors.

A detector is a :class:`torch.nn.Module` that is built for a :class:`Problem`, turns features into an
:class:`Output` and defines its own losses. Training, scoring, evaluation and explanation need nothing else.
:mod:`kgvad.detector.registry` finds detectors by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from kgvad.errors import UsageError

if TYPE_CHECKING:
    from kgvad.anchors.transformers_encoder import TransformersEncoder


@dataclass(frozen=True, eq=False)
class Problem:
    """What a detector is built for.

    Attributes
    ----------
    dim
        Width D of the features.
    categories
        C names; their order is the order of every category axis.
    normal
        Index of Normal.
    anchors
        float32 [C, d], unit rows; ``None`` where the run has no anchor bank.
    concepts
        float32 [P, d], unit rows, and ``concept_category``, int64 [P].
    caption_dim
        Width E of the caption embeddings; ``None`` where the features come without captions.
    shared_space
        Whether features and anchors lie in one space (CLIP, BLIP, text), so that their cosines mean something.
    captions_share_space
        The same for caption embeddings and anchors.
    standardise
        Whether features are centred and scaled to unit standard deviation (:meth:`Detector.fit_input`).
    words
        The C categories in words; empty where the run has no anchor bank.
    columns
        Names of the D feature columns, where each has a meaning of its own (``kgvad extract --encoder i3d-actions``).
    column_vectors
        float32 [D, d]: the names by the bank's text encoder, in training where :attr:`Detector.reads_columns`.
    text_encoder
        Frozen text encoder of the bank, in training and where :meth:`Detector.needs_text_encoder`; else ``None``.
    class_prompts
        float32 [C, E]: a class prompt per category by the text encoder of the captions, in training where
        :meth:`Detector.class_prompt_options`; else ``None``.
    """

    dim: int
    categories: tuple[str, ...]
    normal: int
    anchors: Tensor | None = None
    concepts: Tensor | None = None
    concept_category: Tensor | None = None
    caption_dim: int | None = None
    shared_space: bool = False
    captions_share_space: bool = False
    standardise: bool = False
    words: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    column_vectors: Tensor | None = None
    text_encoder: TransformersEncoder | None = None
    class_prompts: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Videos of a training step, zero-padded at the end to the longest.

    Attributes
    ----------
    features
        float32 [B, T, D].
    lengths
        int64 [B], number of snippets of each video.
    targets
        float32 [B, C], one at each category of the video; a normal video has one at Normal.
    normal
        Index of Normal.
    captions
        float32 [B, T, E]: caption embedding of each snippet, or ``None``.
    select_by_distance
        Whether, in this step, the top-k snippets of abnormal videos are those most unlike the normal videos
        (sigma-greedy; :func:`kgvad.detector.models.losses.normal_distance`).
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    normal: int
    captions: Tensor | None = None
    select_by_distance: bool = False

    @property
    def abnormal(self) -> Tensor:
        """float32 [B]: 1 where the video is abnormal."""
        return 1.0 - self.targets[:, self.normal]

    def part(self, which: slice) -> Batch:
        """Some of the videos; the padding stays."""
        captions = None if self.captions is None else self.captions[which]
        return replace(
            self,
            features=self.features[which],
            lengths=self.lengths[which],
            targets=self.targets[which],
            captions=captions,
        )


@dataclass(frozen=True, eq=False)
class Output:
    """What a detector returns for a batch. The first axis of every tensor, also of a subclass, is the B videos.

    Attributes
    ----------
    logits
        [B, T]; the anomaly score is their sigmoid.
    alignment
        [B, T, C]: category logits of each snippet; ``None`` where the detector does not classify.
    video
        [B, C]: category logits of the whole video, where the detector has them.
    concepts
        [B, T, P]: cosine of each snippet with each concept, where the detector has them.
    """

    logits: Tensor
    alignment: Tensor | None = None
    video: Tensor | None = None
    concepts: Tensor | None = None


class Recipe(BaseModel):
    """Training hyperparameters. Every detector has its own defaults, from its paper where it is a published one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=20, ge=1, description="Passes over the training videos.")
    optimiser: Literal["adamw", "adam"] = Field(
        default="adamw", description="adam: weight decay is an L2 penalty, whose gradient Adam rescales."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(default=1e-2, ge=0, description="Weight decay, or factor of the L2 penalty.")
    normal_batch: int = Field(default=32, ge=0, description="Normal videos in a step.")
    abnormal_batch: int = Field(default=32, ge=0, description="Abnormal videos in a step.")
    mixed_batch: int = Field(
        default=0,
        ge=0,
        description="Videos in a step from one shuffled list, in place of the two numbers above. 0: drawn by kind.",
    )
    micro_batch: int = Field(
        default=0,
        ge=0,
        description="Videos in memory at a time; the gradients are those of the whole batch. 0: all, or on a CPU the "
        "fastest number where the detector allows it.",
    )
    standardise: bool = Field(
        default=False,
        description="Centre the features and scale them to unit standard deviation, over the training videos.",
    )
    max_length: int = Field(default=256, ge=1, description="Longer videos are averaged to this number of time steps.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps with a linear warm-up.")
    schedule: Literal["cosine", "constant", "steps"] = Field(
        default="cosine", description="Learning rate after the warm-up; steps: a tenth from each milestone on."
    )
    milestones: tuple[int, ...] = Field(
        default=(), description="Epochs after which the learning rate falls to a tenth, for schedule=steps."
    )
    balance_categories: bool = Field(default=False, description="Sample abnormal categories with equal frequency.")
    clip_norm: float = Field(default=0.0, ge=0, description="Maximum norm of the gradient; 0: no clipping.")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="Precision of the forward pass; losses are fp32."
    )
    sigma_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Sigma-greedy: factor per step of the probability, 1 at first, that the top-k snippets of abnormal "
        "videos are those most unlike the normal videos (SemVAD: 0.99). 0: never.",
    )
    validation_share: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Share of the training videos held out; the best epoch on them is kept. 0: none.",
    )
    patience: int = Field(default=5, ge=1, description="Epochs without improvement before training stops early.")


class Detector(nn.Module, ABC):
    """Base of all detectors.

    A subclass sets ``name``, ``Config`` and ``recipe``, takes ``(problem, config)`` and implements
    :meth:`forward` and :meth:`losses`. The first line of its docstring is its summary in ``kgvad detectors``.

    Attributes
    ----------
    name
        As registered.
    Config
        Its options; every field has a description.
    recipe
        Default training hyperparameters.
    source
        Paper, for tables.
    needs_anchors
        Whether it requires an anchor bank.
    reads_captions
        Whether it takes caption embeddings in addition to features.
    reads_columns
        Whether it relates the names of the feature columns to the anchors (:attr:`Problem.column_vectors`).
    names_categories
        Whether it classifies, so that its :class:`Output` has an alignment.
    supports_sigma_greedy
        Whether its losses use :attr:`Batch.select_by_distance`.
    losses_average_over_videos
        Whether every loss is a mean over videos, or depends on no video, so that a step can be split by video.
    snippet_averaged_losses, abnormal_averaged_losses
        Losses that are means over valid snippets, or over abnormal videos, instead; only with
        ``losses_average_over_videos``.
    max_snippets
        Snippets it takes in one pass; longer videos are scored in overlapping chunks. ``None``: any number.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    recipe: ClassVar[Recipe] = Recipe()
    source: ClassVar[str] = ""
    needs_anchors: ClassVar[bool] = False
    reads_captions: ClassVar[bool] = False
    reads_columns: ClassVar[bool] = False
    names_categories: ClassVar[bool] = False
    supports_sigma_greedy: ClassVar[bool] = False
    losses_average_over_videos: ClassVar[bool] = False
    snippet_averaged_losses: ClassVar[frozenset[str]] = frozenset()
    abnormal_averaged_losses: frozenset[str] = frozenset()
    max_snippets: int | None = None

    def __init__(self, problem: Problem, config: BaseModel) -> None:
        super().__init__()
        self.problem = problem
        self.config = config
        if problem.standardise:
            for name, dim in (("features", problem.dim), ("captions", problem.caption_dim or 0)):
                self.register_buffer(f"{name}_centre", torch.zeros(dim))
                self.register_buffer(f"{name}_scale", torch.ones(()))
            self.register_forward_pre_hook(_standardise_input)

    def start_from(self, other: Detector) -> None:
        """Start at the weights of another trained detector, and regularise the training towards them.

        Raises
        ------
        UsageError
            This detector has no such training, or ``other`` does not fit.
        """
        raise UsageError(f"{self.name} cannot start from a trained run", "leave out --from, or train additive")

    def fit_input(self, kind: Literal["features", "captions"], videos: Sequence[Tensor]) -> list[Tensor]:
        """Estimate the mean and the standard deviation of the training videos; return the videos standardised.

        One standard deviation serves all dimensions, so that directions keep their proportions. Features other
        than a paper's are brought to the scale for which its initial weights and margins were chosen.

        Parameters
        ----------
        kind
            What is standardised.
        videos
            float32 [T, D] each.
        """
        snippets = torch.cat(list(videos))
        centre = snippets.mean(0)
        scale = 1 / (snippets - centre).square().mean().sqrt().clamp(min=1e-6)
        getattr(self, f"{kind}_centre").copy_(centre)
        getattr(self, f"{kind}_scale").copy_(scale)
        return [(video - centre) * scale for video in videos]

    @classmethod
    def uses_anchors(cls, config: BaseModel) -> bool:
        """Whether training with these options reads an anchor bank."""
        return cls.needs_anchors

    @classmethod
    def needs_text_encoder(cls, config: BaseModel) -> bool:
        """Whether training with these options backpropagates through the bank's text encoder.

        Scoring never has it: its results belong into the state dict, as in
        :class:`kgvad.anchors.learnable_prompts.LearnedAnchors`.
        """
        return False

    @classmethod
    def class_prompt_options(cls, config: BaseModel) -> BaseModel | None:
        """How class prompts are made of the words of the training captions; ``None`` where training needs none.

        They are a :class:`kgvad.detector.data.class_prompts.PromptOptions`.
        """
        return None

    def observe_labels(self, targets: Tensor) -> None:
        """Count the training labels, once before training.

        Parameters
        ----------
        targets
            float32 [N, C], of the N training videos; see :attr:`Batch.targets`.
        """

    def contributions(self, features: Tensor, weights: Tensor) -> Tensor | None:
        """Contribution of every feature column to every category logit, float32 [C, D].

        The logits are averaged over the snippets with ``weights`` [T] of sum 1. ``None`` where they are not sums over
        columns.
        """
        return None

    def without_columns(self, features: Tensor, columns: Tensor) -> Tensor:
        """``features`` [T, D] with these columns, int64 [N], at the value that contributes nothing.

        Raises
        ------
        UsageError
            The logits are not such a sum (:meth:`contributions`).
        """
        raise UsageError(f"the logits of {self.name} are not sums over feature columns", "name a run of additive")

    def prepare(self, videos: Sequence[Tensor], captions: Sequence[Tensor] = ()) -> None:
        """Compute statistics of the training videos, once before training.

        Parameters
        ----------
        videos
            Features, float32 [T, D] each.
        captions
            Caption embeddings, float32 [T, E] each, where the detector reads captions.
        """

    def extended(self, problem: Problem) -> Detector:
        """A detector with these parameters for ``problem``, which appends categories to those of this one.

        Raises
        ------
        UsageError
            The detector only knows the categories it was trained on.
        """
        raise UsageError(
            f"{self.name} names only the categories it was trained on", "leave out --open, or train anchor-aligned"
        )

    def causal_form(self) -> Detector | None:
        """The same detector, scoring each snippet from those up to it; ``None`` where it has no such form."""
        return None

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> Output:
        """Output for features [B, T, D], of which the first ``lengths`` snippets of each video are valid."""

    @abstractmethod
    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """Named scalars, already weighted; their sum is minimised."""


def _standardise_input(detector: Detector, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Forward pre-hook: apply what :meth:`Detector.fit_input` estimated; padding stays 0."""
    features, lengths, *captions = inputs
    assert features is not None and lengths is not None
    valid = valid_mask(lengths, features.shape[1])[..., None]

    def standardised(x: Tensor, kind: str) -> Tensor:
        result: Tensor = (x - getattr(detector, f"{kind}_centre")) * getattr(detector, f"{kind}_scale") * valid
        return result

    rest = (None if one is None else standardised(one, "captions") for one in captions)
    return standardised(features, "features"), lengths, *rest


def valid_mask(lengths: Tensor, size: int) -> Tensor:
    """Bool [B, size]: true at the first ``lengths`` positions of each video."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
