"""What the commands do: train seeds, score videos."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kgvad.console import track
from kgvad.detector.api import detector_class
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.resample import resample_captions
from kgvad.detector.data.samples import Sample, load_samples
from kgvad.detector.data.training_inputs import Inputs
from kgvad.detector.run import RunConfig
from kgvad.detector.training.distributed import Team
from kgvad.detector.training.exemplars import write_examples
from kgvad.detector.training.process_pool import side_by_side
from kgvad.detector.training.trainer import train
from kgvad.errors import FeatureError, UsageError
from kgvad.video.feature_store import FeatureStore

logger = logging.getLogger(__name__)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Detector options from ``NAME=VALUE``; a value is JSON where it can be, otherwise text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair!r} is not NAME=VALUE", "write for example --set width=64")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def wants_anchors(detector: str, options: Mapping[str, Any]) -> bool:
    """Whether training needs an anchor bank; ``anchors=false`` turns it off where a detector has the option."""
    cls = detector_class(detector)
    if "anchors" in cls.Config.model_fields:
        return options.get("anchors", True) is not False
    return cls.needs_anchors


@dataclass(frozen=True, eq=False)
class Order:
    """What to train.

    Attributes
    ----------
    inputs
        Dataset, features, anchors and the folder of the run.
    detector, options
        Its name, and those of its options that are not left at their defaults.
    recipe
        Those fields of its recipe that are changed.
    text
        Store of caption embeddings.
    device
        Torch device.
    overwrite
        Replace runs with other settings.
    text_encoder
        Name or folder of the bank's text encoder, for options that learn through it; default: by the bank's name.
    """

    inputs: Inputs
    detector: str
    options: Mapping[str, Any]
    recipe: Mapping[str, float | str] = field(default_factory=dict)
    text: Path | None = None
    device: str = "cpu"
    overwrite: bool = False
    text_encoder: str | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Training videos of an order, and the configuration of its run with seed 0."""

    samples: list[Sample]
    config: RunConfig


def prepare(order: Order) -> Prepared:
    """Load the training videos and fill in every default; stderr tells what is there and what is missing.

    Raises
    ------
    UsageError, FeatureError
        An option is wrong, or the features cannot train this detector.
    """
    inputs, truth, bank = order.inputs, order.inputs.truth, order.inputs.bank
    cls = detector_class(order.detector)
    try:
        recipe = type(cls.recipe).model_validate(cls.recipe.model_dump() | dict(order.recipe))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", "choose another value") from error
    if "patience" in order.recipe and not recipe.validation:
        raise UsageError("--patience needs videos to validate on", "add --validate 0.1")
    if recipe.sigma and not cls.takes_noise:
        raise UsageError(f"{order.detector} does not choose its rows with noise", "leave --sigma out")
    text = _open_text(order.detector, order.text)
    categories = tuple(bank.categories) if bank is not None else truth.categories
    normal = bank.normal if bank is not None else truth.categories.index(truth.normal)
    laid = None if text is None else resample_captions(text, inputs.store, truth.split("train"), skip_mismatched=True)
    samples = load_samples(inputs.store, truth, categories, normal, text=laid)
    videos = {sample.video for sample in samples}
    abnormal = len({sample.video for sample in samples if not sample.target[normal]})
    if laid is not None:
        missing = len(set(inputs.store.ids()).intersection(truth.split("train")).difference(laid))
        logger.info(f"{missing} training videos have no captions of their length in {order.text} and are left out")
    _describe(inputs, samples_by_category(truth, videos), len(videos), abnormal)
    config = RunConfig(
        detector=order.detector,
        options=dict(order.options),
        recipe=recipe,
        seed=0,
        dataset=inputs.dataset,
        categories=categories,
        normal=normal,
        dim=inputs.store.manifest.dim,
        text_dim=None if text is None else text.manifest.dim,
        text_encoder=None if text is None else text.manifest.encoder,
        encoder=inputs.store.manifest.encoder,
        features_fingerprint=inputs.store.fingerprint,
        text_fingerprint=None if text is None else text.fingerprint,
        bank_fingerprint=None if bank is None else bank.fingerprint,
        videos=len(videos),
        abnormal_videos=abnormal,
    )
    return Prepared(samples, config)


def train_seeds(order: Order, seeds: Sequence[int], jobs: int = 1) -> Iterator[Path]:
    """Train one run per seed, ``jobs`` at once, and yield its folder: that of the order, or ``seed-N`` in it."""
    team = Team(order.device)
    if team.size > 1 and jobs > 1:
        raise UsageError("--jobs trains seeds side by side, but these processes train one together", "leave --jobs out")
    root = order.inputs.run
    folders = {seed: root if len(seeds) == 1 else root / f"seed-{seed}" for seed in seeds}
    with team.speaking():
        prepared = prepare(order)
    if jobs > 1 and len(seeds) > 1:
        tasks = [(order, seed, folders[seed]) for seed in seeds]
        for _, _, folder in track(side_by_side(_train_alone, tasks, min(jobs, len(seeds))), "seeds", len(seeds)):
            yield folder
        return
    for seed, folder in folders.items():
        with team.speaking():
            _train_one(order, prepared, seed, folder)
        if team.first:
            yield folder


def _train_one(order: Order, prepared: Prepared, seed: int, folder: Path) -> None:
    config = prepared.config.model_copy(update={"seed": seed})
    run = train(
        prepared.samples,
        config,
        folder,
        bank=order.inputs.bank,
        device=order.device,
        overwrite=order.overwrite,
        text_encoder=order.text_encoder,
    )
    if Team(order.device).first:
        write_examples(run, order.inputs.store, order.inputs.truth)


def _train_alone(task: tuple[Order, int, Path]) -> None:
    """One seed in a process of its own, silent: the first process has told what is to be told."""
    order, seed, folder = task
    with open(os.devnull, "w") as nothing, redirect_stderr(nothing):
        _train_one(order, prepare(order), seed, folder)


def _open_text(detector: str, text: Path | None) -> FeatureStore | None:
    """The store of caption embeddings, where the detector reads captions; otherwise ``None``."""
    reads = detector_class(detector).reads_text
    if reads and text is None:
        raise UsageError(f"{detector} fuses features with captions, and there are none", "name their store with --text")
    if not reads and text is not None:
        raise UsageError(f"{detector} does not read captions", "leave --text out, or train anchor-fused")
    return None if text is None else FeatureStore.open(text)


def samples_by_category(truth: Truth, videos: set[str]) -> dict[str, int]:
    """Number of ``videos`` of each category, in the order of the dataset's categories."""
    count = dict.fromkeys(truth.categories, 0)
    for video in videos:
        for label in truth.videos[video].labels or (truth.normal,):
            count[label] += 1
    return count


def _describe(inputs: Inputs, count: Mapping[str, int], videos: int, abnormal: int) -> None:
    logger.info(f"{videos} training videos ({abnormal} abnormal) with features of {inputs.store.manifest.encoder}")
    if abnormal == 0 or abnormal == videos:
        raise FeatureError(
            f"all {videos} training videos of {inputs.dataset} are {'abnormal' if abnormal else 'normal'}",
            "a detector needs videos of both kinds",
        )
    empty = [name for name, number in count.items() if number == 0]
    if empty:
        logger.info(f"no training video of {', '.join(empty)}: the detector will hardly name that")
