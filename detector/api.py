"""What a detector is: the small protocol that every detector of this and of other packages follows.

A detector is a :class:`torch.nn.Module` that is built for a :class:`Problem`, turns features into an
:class:`Output` and names its own losses. Training, scoring, evaluation and explanation need nothing else.
Detectors register by name in the entry-point group ``kgvad.detectors``; the value is the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.errors import KgvadError, UsageError

GROUP = "kgvad.detectors"
_OWN = {
    "anchor-aligned": "kgvad.detector.models.anchor_aligned:AnchorAligned",
    "anchor-text": "kgvad.detector.models.two_stream:AnchorText",
    "anchor-fused": "kgvad.detector.models.two_stream:AnchorFused",
    "sultani": "kgvad.detector.models.zoo.sultani:Sultani",
    "rtfm": "kgvad.detector.models.zoo.rtfm:Rtfm",
    "clip_tsa": "kgvad.detector.models.zoo.clip_tsa:ClipTsa",
    "vadclip": "kgvad.detector.models.zoo.vadclip:VadClip",
    "dsanet": "kgvad.detector.models.zoo.dsanet:Dsanet",
    "semvad": "kgvad.detector.models.zoo.semvad:Semvad",
}


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
    text_dim
        Width of the captions' embeddings where the features come with captions (SemVAD).
    shared_space
        Whether features and anchors lie in one space (CLIP, BLIP, text), so that their cosines mean something.
    text_shared
        The same of the captions' embeddings and the anchors.
    standardise
        Whether the detector sees features less their mean, at a mean deviation of one (:meth:`Detector.fit_input`).
    words
        The C categories in words; empty where the run has no anchor bank.
    tower
        The bank's frozen text encoder, in training and where :meth:`Detector.needs_tower`; otherwise ``None``.
    """

    dim: int
    categories: tuple[str, ...]
    normal: int
    anchors: Tensor | None = None
    concepts: Tensor | None = None
    concept_category: Tensor | None = None
    text_dim: int | None = None
    shared_space: bool = False
    text_shared: bool = False
    standardise: bool = False
    words: tuple[str, ...] = ()
    tower: TransformersEncoder | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Videos of a training step, padded at the end to the longest.

    Attributes
    ----------
    features
        float32 [B, T, D].
    lengths
        int64 [B], valid rows of each video.
    targets
        float32 [B, C], one at each category of the video; a normal video has one at Normal.
    normal
        Index of Normal.
    text
        float32 [B, T, E]: embedding of the caption of each row, or ``None``.
    sigma
        Strength of :meth:`noise` in this step.
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    normal: int
    text: Tensor | None = None
    sigma: float = 0.0

    @property
    def abnormal(self) -> Tensor:
        """float32 [B]: 1 where the video is abnormal."""
        return 1.0 - self.targets[:, self.normal]

    def part(self, which: slice) -> Batch:
        """Some of the videos, padded as they are."""
        text = None if self.text is None else self.text[which]
        return replace(
            self, features=self.features[which], lengths=self.lengths[which], targets=self.targets[which], text=text
        )

    def noise(self, values: Tensor) -> Tensor | None:
        """Gaussian noise like ``values`` [B, T] or [B, T, C], to be added where the largest rows are chosen by them.

        Its deviation is ``sigma`` times that of the valid values of each video and column, so ``sigma`` means the same
        for logits, probabilities and cosines. ``None``, and no random number is drawn, where ``sigma`` is 0.
        """
        if not self.sigma:
            return None
        values = values.detach()
        keep = valid_rows(self.lengths, values.shape[1]).reshape(*values.shape[:2], *[1] * (values.dim() - 2))
        count = keep.sum(1, keepdim=True).clamp(min=1)
        mean = (values * keep).sum(1, keepdim=True) / count
        deviation = (((values - mean) * keep).square().sum(1, keepdim=True) / count).sqrt()
        return self.sigma * deviation * torch.randn_like(values)


@dataclass(frozen=True, eq=False)
class Output:
    """What a detector says of a batch. Every tensor, also of a subclass, has the B videos as first axis.

    Attributes
    ----------
    logits
        [B, T]; the anomaly score is their sigmoid.
    alignment
        [B, T, C]: category logits of each row; ``None`` where the detector names no categories.
    video
        [B, C]: category logits of the whole video, where the detector has them.
    concepts
        [B, T, P]: cosine of each row with each concept, where the detector has them.
    """

    logits: Tensor
    alignment: Tensor | None = None
    video: Tensor | None = None
    concepts: Tensor | None = None


class Recipe(BaseModel):
    """How a detector is trained unless the user says otherwise; the source is named where it is a paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    normal_batch: int = Field(default=32, ge=0)  # normal videos in a step
    abnormal_batch: int = Field(default=32, ge=0)
    micro_batch: int = Field(default=0, ge=0)  # videos in memory at once; 0: all, or as many as are fastest (by_video)
    standardise: bool = False  # inputs less the mean of the training rows, at unit deviation
    max_length: int = Field(default=256, ge=1)  # longer videos are averaged down to so many rows for training
    warmup: float = Field(default=0.1, ge=0, lt=1)  # share of the steps
    schedule: str = Field(default="cosine", pattern="^(cosine|constant)$")
    balance_categories: bool = False  # draw abnormal categories equally often
    clip_norm: float = Field(default=0.0, ge=0)  # 0: no clipping
    precision: str = Field(default="fp32", pattern="^(fp32|bf16)$")  # of the detector; losses are always fp32
    sigma: float = Field(default=0.0, ge=0)  # of Batch.noise in the first step; falls linearly to 0 in the last
    validation: float = Field(default=0.0, ge=0, le=0.5)  # share of the training videos kept back; the best epoch stays
    patience: int = Field(default=5, ge=1)  # epochs without a better one before training stops; only with validation


class Detector(nn.Module, ABC):
    """Base of all detectors.

    A subclass sets ``name``, ``Config`` and ``recipe``, takes ``(problem, config)`` and implements
    :meth:`forward` and :meth:`losses`.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    recipe: ClassVar[Recipe] = Recipe()
    needs_anchors: ClassVar[bool] = False
    takes_noise: ClassVar[bool] = False  # its losses pass Batch.noise to what they choose by (sigma of the recipe)
    reads_text: ClassVar[bool] = False  # takes embeddings of captions beside the features
    by_video: ClassVar[bool] = False  # every loss is a mean over videos, or reads none: a step may go part by part
    by_row: ClassVar[frozenset[str]] = frozenset()  # losses that are means over valid rows instead; with by_video
    max_rows: int | None = None  # rows it takes at once; longer videos are scored in overlapping chunks
    source: ClassVar[str] = ""  # paper, for tables

    def __init__(self, problem: Problem, config: BaseModel) -> None:
        super().__init__()
        self.problem = problem
        self.config = config
        if problem.standardise:
            for name, dim in (("features", problem.dim), ("text", problem.text_dim or 0)):
                self.register_buffer(f"{name}_centre", torch.zeros(dim))
                self.register_buffer(f"{name}_scale", torch.ones(()))
            self.register_forward_pre_hook(_hook_input)

    def fit_input(self, kind: str, videos: Sequence[Tensor]) -> list[Tensor]:
        """Take mean and deviation of training rows of ``kind`` (features or text); the rows as the detector sees them.

        One deviation for all columns, so that directions keep their shares; features of another origin than a paper's
        come to the scale that its initial weights and margins were made for.
        """
        rows = torch.cat(list(videos))
        centre = rows.mean(0)
        scale = 1 / (rows - centre).square().mean().sqrt().clamp(min=1e-6)
        getattr(self, f"{kind}_centre").copy_(centre)
        getattr(self, f"{kind}_scale").copy_(scale)
        return [(video - centre) * scale for video in videos]

    @classmethod
    def needs_tower(cls, config: BaseModel) -> bool:
        """Whether training with these options runs through the text encoder of the bank (``Problem.tower``).

        Scoring never has it: what comes out of it belongs into the state dict, as in
        :class:`kgvad.anchors.learnable_prompts.LearnedAnchors`.
        """
        return False

    def prepare(self, videos: Sequence[Tensor], text: Sequence[Tensor] = ()) -> None:
        """Take statistics of the training videos, float32 [T, D] each, once before training.

        ``text`` are their captions' embeddings, float32 [T, E] each, where the detector reads captions.
        """

    def extended(self, problem: Problem) -> Detector:
        """A detector with these parameters for ``problem``, which has more categories after those of this one.

        Raises
        ------
        UsageError
            This detector names only what it was trained on.
        """
        raise UsageError(
            f"{self.name} names only the categories it was trained on", "leave out --open, or train anchor-aligned"
        )

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor, text: Tensor | None = None) -> Output:
        """Scores of features [B, T, D] whose first ``lengths`` rows are valid."""

    @abstractmethod
    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """Named scalars, already weighted; their sum is minimised."""


def _hook_input(detector: Detector, inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Forward hook: features and text at the centre and scale that :meth:`Detector.fit_input` took; padding stays 0."""
    features, lengths, *text = inputs
    assert features is not None and lengths is not None
    valid = valid_rows(lengths, features.shape[1])[..., None]

    def moved(x: Tensor, kind: str) -> Tensor:
        at: Tensor = (x - getattr(detector, f"{kind}_centre")) * getattr(detector, f"{kind}_scale") * valid
        return at

    return moved(features, "features"), lengths, *(None if one is None else moved(one, "text") for one in text)


def detector_names() -> list[str]:
    """Names of all detectors, ours first."""
    return [*_OWN, *sorted(point.name for point in entry_points(group=GROUP) if point.name not in _OWN)]


def detector_class(name: str) -> type[Detector]:
    """The detector registered as ``name``.

    Raises
    ------
    UsageError
        No detector has this name; the message lists those that are installed.
    KgvadError
        The package that registers it cannot be imported or gives something else.
    """
    if name in _OWN:
        point = EntryPoint(name, _OWN[name], GROUP)
    else:
        found = [point for point in entry_points(group=GROUP) if point.name == name]
        if not found:
            raise UsageError(f"no detector is called {name!r}", f"installed: {', '.join(detector_names())}")
        point = found[0]
    try:
        value = point.load()
    except Exception as error:  # a plugin may raise anything while it is imported
        raise KgvadError(
            f"detector {name!r} ({point.value}) cannot be loaded: {error}", "repair its package"
        ) from error
    if not (isinstance(value, type) and issubclass(value, Detector)):
        raise KgvadError(f"detector {name!r} ({point.value}) is not a kgvad Detector class", "repair its package")
    return value


def check_options(name: str, options: Mapping[str, object] | None = None) -> BaseModel:
    """The complete ``Config`` of detector ``name``.

    Raises
    ------
    UsageError
        An option is unknown or has a wrong value.
    """
    config = detector_class(name).Config
    try:
        return config.model_validate(dict(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{name}: option {'.'.join(map(str, first['loc']))}: {first['msg']}",
            f"its options are {', '.join(config.model_fields) or 'none'}",
        ) from error


def build(name: str, problem: Problem, options: Mapping[str, object] | None = None) -> Detector:
    """A new detector for ``problem``; ``options`` are fields of its ``Config``.

    Raises
    ------
    UsageError
        An option is wrong, or the detector needs an anchor bank and has none.
    """
    cls = detector_class(name)
    config = check_options(name, options)
    if cls.needs_anchors and problem.anchors is None:
        raise UsageError(
            f"{name} needs an anchor bank", "make one with: kgvad build-anchors, and name it with --anchors"
        )
    return cls(problem, config)


def valid_rows(lengths: Tensor, size: int) -> Tensor:
    """Bool [B, size]: true at the first ``lengths`` rows."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
