"""Methods and runs of ``benchmarks/tracks.py``: configurations, training data, trained and stored runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from track_data import Track, caption_texts

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.captions import texts_of_videos
from kgvad.detector.registry import detector_class
from kgvad.detector.run import CONFIG, MODEL, TrainConfig
from kgvad.detector.training.config import load_train_config
from kgvad.detector.training.inputs import TrainingData
from kgvad.detector.training.seeds import Training, train_seeds
from kgvad.toml import tomllib
from kgvad.video.feature_store import FeatureStore

SHARES = (0.10, 0.25, 0.50, 1.0)  # of the training videos

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """A line of ``tracks.toml``."""

    name: str
    detector: str
    tracks: tuple[str, ...]
    seeds: int
    tuned: bool = False
    carried: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.name.replace(", ", "-").replace(" ", "-")


@dataclass(frozen=True)
class Runs:
    """Where everything is, and what may be trained.

    Attributes
    ----------
    folder
        Holds ``stores``, ``tuned``, ``runs`` and ``results``.
    shared
        The research data.
    bank
        Anchor bank.
    train
        Whether missing runs are trained; else their rows are left out.
    seeds
        Number of seeds in place of that of ``tracks.toml``.
    jobs
        Parallel processes.
    device
        Torch device of trainings.
    """

    folder: Path
    shared: Path
    bank: Path
    train: bool = False
    seeds: int | None = None
    jobs: int = 1
    device: str = "cpu"

    def of(self, track: Track, method: Method, *inside: str, truth: Truth | None = None) -> Path | None:
        """Folder of the runs of a method, trained where that is allowed; ``None`` where there are none.

        Parameters
        ----------
        inside
            Sub-folders, for runs on other training lists.
        truth
            Labels with this training list; default: those of the track.
        """
        folder = self.folder.joinpath("runs", track.name, *inside, method.folder)
        config = self.config(track, method)
        if self.train and config is not None:
            count = self.count(method)
            place = folder / "seed-0" if count == 1 else folder
            training = Training(config, self.data(track, config, truth), place, self.device, threshold_folds=0)
            for run in train_seeds(training, count, self.jobs):
                logger.info(f"trained {run}")
        if not finished_runs(folder):
            logger.warning(f"{track.name}: no run of {method.name}; train it with --train")
            return None
        return folder

    def count(self, method: Method) -> int:
        """Number of seeds of a method."""
        return self.seeds or method.seeds

    def config(self, track: Track, method: Method) -> TrainConfig | None:
        """Configuration of a method; ``None`` where it was not tuned yet."""
        file = None
        if method.tuned or method.carried:
            file = self.folder / "tuned" / (method.carried or track.name) / f"{method.detector}.json"
            if not file.is_file():
                logger.warning(f"{track.name}: {method.detector} was not tuned: there is no {file}")
                return None
        return load_train_config(file, {"detector": method.detector, **method.changes})

    def data(self, track: Track, config: TrainConfig, truth: Truth | None = None) -> TrainingData:
        """Inputs of a training."""
        cls = detector_class(config.detector)
        texts = None
        if config.class_prompt_options is not None:
            path = self.folder / "stores" / "captions.json"
            texts = texts_of_videos(path if path.is_file() else caption_texts(self.shared, path))
        return TrainingData(
            "ucf",
            FeatureStore.open(track.features),
            truth or Truth.load(track.features),
            AnchorBank.load(self.bank) if config.uses_anchors else None,
            FeatureStore.open(track.captions) if cls.reads_captions and track.captions else None,
            None,
            texts,
        )


def read_methods(file: Path) -> list[Method]:
    """The methods of ``tracks.toml``, in its order."""
    entries = tomllib.loads(file.read_text("utf-8"))["method"]
    return [Method(**{**entry, "tracks": tuple(entry["tracks"])}) for entry in entries]


def finished_runs(folder: Path) -> list[Path]:
    """Trained runs below a folder, in the order of their seeds."""
    found = [path.parent for path in folder.glob(f"seed-*/{CONFIG}") if (path.parent / MODEL).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("seed-")))


def with_share(truth: Truth, share: float, present: Sequence[str], seed: int = 0) -> Truth:
    """The labels with ``share`` of the training videos of each category, one at least; smaller shares lie in larger."""
    random = np.random.default_rng(seed)
    groups: dict[tuple[str, ...], list[str]] = {}
    known = set(present)
    for video in truth.split("train"):
        if video in known:
            groups.setdefault(truth.videos[video].labels, []).append(video)
    kept = set()
    for videos in groups.values():
        order = random.permutation(videos).tolist()
        kept |= set(order[: max(1, round(share * len(order)))])
    return truth.model_copy(update={"videos": _without(truth, lambda name: name not in kept, "train")})


def halves(truth: Truth, present: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every other abnormal category of the training videos that are present, in alphabetical order."""
    known = set(present)
    names = sorted({label for video in truth.split("train") if video in known for label in truth.videos[video].labels})
    return tuple(names[::2]), tuple(names[1::2])


def with_categories(truth: Truth, names: Sequence[str], split: str) -> Truth:
    """The labels without the abnormal videos of other categories in ``split``."""

    def other(video: str) -> bool:
        labels = truth.videos[video].labels
        return bool(labels) and not set(labels) & set(names)

    return truth.model_copy(update={"videos": _without(truth, other, split)})


def without_videos(truth: Truth, videos: Sequence[str]) -> Truth:
    """The labels without some test videos."""
    gone = set(videos)
    return truth.model_copy(update={"videos": _without(truth, lambda name: name in gone, "test")})


def _without(truth: Truth, drop: Any, split: str) -> dict[str, Any]:
    return {name: own for name, own in truth.videos.items() if own.split != split or not drop(name)}
