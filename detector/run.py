"""A run: a trained detector in a folder that describes itself.

model.safetensors     parameters and statistics
config.json           detector, options, recipe, categories, encoder and fingerprints
anchors.safetensors   the anchor bank it was trained with, where it was
history.jsonl         one line per epoch
resume.safetensors    only while training is unfinished
metrics.json          written by ``kgvad evaluate``
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from safetensors.torch import load_file

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.learnable_prompts import category_texts
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.detector.api import Detector, Problem, Recipe, build, check_options
from kgvad.errors import RunError, UsageError
from kgvad.files import DAMAGED, check_version, read_json, sha256

MODEL, CONFIG, ANCHORS, HISTORY = "model.safetensors", "config.json", "anchors.safetensors", "history.jsonl"
VERSION = 1  # of config.json
RESUME, METRICS = "resume.safetensors", "metrics.json"


class RunConfig(BaseModel):
    """Everything that decides what training gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = VERSION
    detector: str
    options: dict[str, Any]  # the detector's own Config, complete
    recipe: Recipe
    seed: int
    dataset: str
    categories: tuple[str, ...]
    normal: int
    dim: int
    text_dim: int | None = None
    text_encoder: str | None = None
    encoder: str  # of the features
    features_fingerprint: str
    text_fingerprint: str | None = None  # of the captions' embeddings
    bank_fingerprint: str | None = None
    videos: int  # training videos
    abnormal_videos: int

    @field_validator("options")
    @classmethod
    def _complete(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Options that are not named, or that the version that wrote a file did not have yet, have their defaults."""
        return check_options(info.data["detector"], options).model_dump(mode="json") if "detector" in info.data else {}


@dataclass(frozen=True, eq=False)
class Run:
    """A trained detector, ready to score.

    Attributes
    ----------
    folder
        Where it stands.
    config
        What it was trained with.
    detector
        In evaluation mode.
    bank
        Its anchor bank, or ``None``.
    fingerprint
        SHA-256 of its parameters, first 16 digits.
    """

    folder: Path
    config: RunConfig
    detector: Detector
    bank: AnchorBank | None
    fingerprint: str

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> Run:
        """Read a run.

        Raises
        ------
        RunError
            The folder is no run, its training is unfinished, or a file in it is damaged or does not fit.
        """
        folder = Path(folder)
        config = read_config(folder)
        if not (folder / MODEL).is_file():
            raise RunError(f"{folder} is not trained to the end", "give the same kgvad train command again to go on")
        bank = AnchorBank.load(folder / ANCHORS) if config.bank_fingerprint else None
        if bank is not None and bank.fingerprint != config.bank_fingerprint:
            raise RunError(
                f"{folder / ANCHORS} is not the anchor bank that the run was trained with",
                "restore the file, or train again",
            )
        with torch.random.fork_rng(devices=[]):  # the first parameters are random and thrown away
            detector = build(config.detector, make_problem(config, bank), config.options)
        try:
            detector.load_state_dict(load_file(folder / MODEL))
        except DAMAGED as error:
            reason = " ".join(str(error).split())[:160]
            raise RunError(f"{folder / MODEL} is damaged or of another detector: {reason}", "train again") from error
        return cls(folder, config, detector.eval().to(device), bank, sha256(folder / MODEL)[:16])


def read_config(folder: Path) -> RunConfig:
    """The ``config.json`` of a run folder."""
    path = folder / CONFIG
    try:
        if not path.exists():
            raise RunError(f"{folder} is not a run: it has no {CONFIG}", "make one with: kgvad train")
        data = read_json(path, RunError, "restore the file, or train again")
        check_version(data, path, VERSION, RunError, "train again with this kgvad")
        return RunConfig.model_validate(data)
    except UsageError as error:
        raise RunError(f"{path}: {error.message}", error.remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(f"{path}: {where}: {first['msg']}", "restore the file, or train again") from error


def make_problem(config: RunConfig, bank: AnchorBank | None, tower: TransformersEncoder | None = None) -> Problem:
    """What the detector of a run is built for; ``tower`` only where it is trained."""
    spaces = () if bank is None else (bank.encoder.joint, f"{bank.encoder.name}-text")
    return Problem(
        dim=config.dim,
        categories=config.categories,
        normal=config.normal,
        anchors=None if bank is None else torch.from_numpy(bank.anchors.copy()),
        concepts=None if bank is None else torch.from_numpy(bank.concept_vectors.copy()),
        concept_category=None if bank is None else torch.from_numpy(bank.concept_category.copy()),
        text_dim=config.text_dim,
        shared_space=bank is not None and config.encoder in spaces and bank.anchors.shape[1] == config.dim,
        standardise=config.recipe.standardise,
        text_shared=bank is not None and config.text_encoder in spaces and bank.anchors.shape[1] == config.text_dim,
        words=() if bank is None else category_texts(bank),
        tower=tower,
    )
