"""A run: a trained detector in a self-describing folder.

model.safetensors     parameters and statistics
config.json           configuration of the training, categories, encoder and fingerprints
anchors.safetensors   its anchor bank, if any
history.jsonl         one line per epoch
resume.safetensors    only while training is unfinished
metrics.json          written by ``kgvad evaluate``
thresholds.json       thresholds measured on held-out training videos, if any
causal_thresholds.json  the same for the causal form of the detector, which scores streams, where it has one
start.json            what starting from another run gains on held-out training videos, if it did
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from safetensors.torch import load_file
from torch import Tensor

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.api import Detector, Problem, Recipe
from kgvad.detector.registry import build, check_options, detector_class, detector_names
from kgvad.detector.thresholds import RunThresholds
from kgvad.device import resolve_device
from kgvad.errors import RunError, UsageError, first_fault, one_line
from kgvad.files import DAMAGED, check_version, read_json, sha256
from kgvad.types import Fields
from kgvad.video.store_folders import OF_TEXT

if TYPE_CHECKING:
    from kgvad.anchors.transformers_encoder import TransformersEncoder

MODEL, CONFIG, ANCHORS, HISTORY = "model.safetensors", "config.json", "anchors.safetensors", "history.jsonl"
RESUME, METRICS, THRESHOLDS = "resume.safetensors", "metrics.json", "thresholds.json"
CAUSAL_THRESHOLDS = "causal_thresholds.json"
START = "start.json"
TRAINING_VIDEOS, EXEMPLARS = "training_videos.json", "exemplars.safetensors"
VERSION: Final = 4  # of config.json
VIDEOS_VERSION: Final = 1  # of training_videos.json


class TrainConfig(BaseModel):
    """How a detector is trained. Options and recipe are completed with the defaults of the detector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str = Field(default="anchor-aligned", description="Name of the detector.")
    options: Fields = Field(
        default_factory=dict, validate_default=True, description="Options of the detector; see kgvad detectors NAME."
    )
    recipe: Recipe = Field(default=Recipe(), description="Training hyperparameters.")
    seed: int = Field(default=0, ge=0, description="Seed of everything random.")
    data_seed: int | None = Field(
        default=None, ge=0, description="Seed of the order of the training videos. Default: as seed."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_recipe(cls, values: object) -> object:
        """Hyperparameters that are not given have the defaults of the detector."""
        if not isinstance(values, Mapping):
            return values
        name = values.get("detector", cls.model_fields["detector"].default)
        recipe = values.get("recipe", {})
        if isinstance(name, str) and isinstance(recipe, Mapping):
            return {**values, "recipe": detector_class(name).recipe.model_dump() | dict(recipe)}
        return values

    @field_validator("options")
    @classmethod
    def _complete_options(cls, options: Fields, info: ValidationInfo) -> Fields:
        """Options that are not given have their defaults."""
        return check_options(info.data["detector"], options).model_dump(mode="json") if "detector" in info.data else {}

    @model_validator(mode="after")
    def _supported(self) -> TrainConfig:
        if self.recipe.sigma_decay and not detector_class(self.detector).supports_sigma_greedy:
            raise UsageError(f"{self.detector} does not support sigma-greedy", "leave --sigma-greedy out")
        return self

    @property
    def order_seed(self) -> int:
        """Seed of the order of the training videos, and of the draws of sigma-greedy."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def uses_anchors(self) -> bool:
        """Whether training reads an anchor bank."""
        return detector_class(self.detector).uses_anchors(check_options(self.detector, self.options))

    @property
    def needs_text_encoder(self) -> bool:
        """Whether training backpropagates through the bank's text encoder."""
        return detector_class(self.detector).needs_text_encoder(check_options(self.detector, self.options))

    @property
    def class_prompt_options(self) -> BaseModel | None:
        """How class prompts are made, where training needs some."""
        return detector_class(self.detector).class_prompt_options(check_options(self.detector, self.options))


class RunConfig(TrainConfig):
    """Everything that determines the result of training: its configuration and the data."""

    version: Literal[4] = VERSION
    detector: str
    dataset: str
    categories: tuple[str, ...]
    normal: int = Field(description="Index of Normal.")
    dim: int = Field(description="Dimensions of the features.")
    encoder: str = Field(description="Encoder of the features.")
    features_fingerprint: str
    columns: tuple[str, ...] = Field(default=(), description="Names of the feature columns, where they have names.")
    caption_dim: int | None = Field(default=None, description="Dimensions of the caption embeddings.")
    class_prompts: tuple[str, ...] = Field(
        default=(), description="Class prompt of each category, of the words of the training captions."
    )
    caption_encoder: str | None = Field(default=None, description="Text encoder of the captions.")
    captions_fingerprint: str | None = None
    bank_fingerprint: str | None = None
    start_fingerprint: str | None = Field(default=None, description="Of the run that the training started from.")
    videos: int = Field(description="Number of training videos.")
    abnormal_videos: int
    data_fingerprint: str | None = Field(
        default=None, description="Of the names, labels and features of the training videos."
    )

    def differences(self, other: RunConfig) -> list[str]:
        """Names of the fields that differ. A run without a fingerprint of its data may be of any."""
        same = [] if self.data_fingerprint and other.data_fingerprint else ["data_fingerprint"]
        return [
            name for name in RunConfig.model_fields if name not in same and getattr(self, name) != getattr(other, name)
        ]


@dataclass(frozen=True, eq=False)
class Run:
    """A trained detector, ready to score.

    Attributes
    ----------
    folder
        Folder of the run.
    config
        Configuration of its training.
    detector
        In evaluation mode.
    bank
        Its anchor bank, or ``None``.
    fingerprint
        SHA-256 of its parameters, first 16 digits.
    thresholds
        Measured on held-out training videos, or ``None``.
    """

    folder: Path
    config: RunConfig
    detector: Detector
    bank: AnchorBank | None
    fingerprint: str
    thresholds: RunThresholds | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> Run:
        """Read a run.

        Raises
        ------
        UsageError
            There is no such device.
        RunError
            The folder is not a run, its training is unfinished, or a file in it is damaged or does not fit.
        """
        folder, device = Path(folder), resolve_device(device)
        config = read_config(folder)
        if not (folder / MODEL).is_file():
            raise RunError(f"the training of {folder} is unfinished", "repeat the kgvad train command to resume it")
        bank = AnchorBank.load(folder / ANCHORS) if config.bank_fingerprint else None
        if bank is not None and bank.fingerprint != config.bank_fingerprint:
            raise RunError(
                f"{folder / ANCHORS} is not the anchor bank that the run was trained with",
                "restore the file, or train again",
            )
        with torch.random.fork_rng(devices=[]):  # the initial parameters are discarded
            detector = build(config.detector, make_problem(config, bank), config.options)
        try:
            detector.load_state_dict(load_file(folder / MODEL))
        except DAMAGED as error:
            reason = one_line(error)[:160]
            raise RunError(f"{folder / MODEL} is damaged or of another detector: {reason}", "train again") from error
        fingerprint = sha256(folder / MODEL)[:16]
        return cls(folder, config, detector.eval().to(device), bank, fingerprint, read_thresholds(folder))

    def training_videos(self) -> frozenset[str]:
        """Identifiers of the training videos; empty for a run that does not list them.

        Raises
        ------
        RunError
            The list cannot be read.
        """
        path, remedy = self.folder / TRAINING_VIDEOS, "delete it, or train again"
        if not path.exists():
            return frozenset()
        content = read_json(path, RunError, remedy)
        check_version(content, path, VIDEOS_VERSION, RunError, remedy)
        videos = content.get("videos")
        if not isinstance(videos, list) or not all(isinstance(video, str) for video in videos):
            raise RunError(f"{path} is not a list of videos", remedy)
        return frozenset(videos)

    def causal(self) -> Run:
        """The run in its causal form, which scores each snippet from those up to it, with the thresholds of that form.

        Raises
        ------
        RunError
            The detector has no causal form, or its thresholds were not measured.
        """
        form = self.detector.causal_form()
        if form is None:
            raise RunError(
                f"{self.folder} cannot score a stream: {self.config.detector} has no causal form",
                "train one with: kgvad train --detector additive --encoder i3d-actions",
            )
        thresholds = read_thresholds(self.folder, CAUSAL_THRESHOLDS)
        if thresholds is None:
            raise RunError(
                f"{self.folder} has no {CAUSAL_THRESHOLDS}", "train again with --threshold-folds 4, which measures them"
            )
        return replace(self, detector=form.eval(), thresholds=thresholds)


def read_thresholds(folder: Path, name: str = THRESHOLDS) -> RunThresholds | None:
    """The thresholds of a run folder, if there are any."""
    path = folder / name
    if not path.exists():
        return None
    remedy = "delete it, and give --onset"
    try:
        return RunThresholds.model_validate(read_json(path, RunError, remedy))
    except ValidationError as error:
        raise RunError(f"{path}: {first_fault(error)}", remedy) from error


def read_config(folder: Path) -> RunConfig:
    """The ``config.json`` of a run folder."""
    path = folder / CONFIG
    try:
        if not path.exists():
            inside = sorted(found.parent for found in folder.glob(f"*/{CONFIG}"))
            remedy = f"name one in it, such as {inside[0]}" if inside else "make one with: kgvad train"
            raise RunError(f"{folder} is not a run: it has no {CONFIG}", remedy)
        data = read_json(path, RunError, "restore the file, or train again")
        check_version(data, path, VERSION, RunError, "train again with this kgvad")
        detector = data.get("detector")
        if isinstance(detector, str) and detector not in detector_names():
            raise RunError(f"{path}: unknown detector {detector!r}", "install the package that it comes from")
        return RunConfig.model_validate(data)
    except UsageError as error:
        raise RunError(f"{path}: {error.message}", error.remedy) from error
    except ValidationError as error:
        raise RunError(f"{path}: {first_fault(error)}", "restore the file, or train again") from error


def make_problem(
    config: RunConfig,
    bank: AnchorBank | None,
    text_encoder: TransformersEncoder | None = None,
    column_vectors: Tensor | None = None,
    class_prompts: Tensor | None = None,
) -> Problem:
    """The problem of a run; ``text_encoder``, ``column_vectors`` and ``class_prompts`` only for training."""
    if bank is None:
        return Problem(
            config.dim,
            config.categories,
            config.normal,
            caption_dim=config.caption_dim,
            standardise=config.recipe.standardise,
            columns=config.columns,
            class_prompts=class_prompts,
        )
    from kgvad.anchors.learnable_prompts import category_texts

    spaces, width = (bank.encoder.joint, f"{bank.encoder.name}{OF_TEXT}"), bank.anchors.shape[1]
    return Problem(
        dim=config.dim,
        categories=config.categories,
        normal=config.normal,
        anchors=torch.from_numpy(bank.anchors.copy()),
        concepts=torch.from_numpy(bank.concept_vectors.copy()),
        concept_category=torch.from_numpy(bank.concept_category.copy()),
        caption_dim=config.caption_dim,
        shared_space=config.encoder in spaces and width == config.dim,
        captions_share_space=config.caption_encoder in spaces and width == config.caption_dim,
        standardise=config.recipe.standardise,
        words=category_texts(bank),
        columns=config.columns,
        column_vectors=column_vectors,
        text_encoder=text_encoder,
        class_prompts=class_prompts,
    )
