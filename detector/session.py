"""What the commands do: train seeds, score videos."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kgvad.console import note, track
from kgvad.detector.api import check_options, detector_class
from kgvad.detector.data import load_samples
from kgvad.detector.datasets import Truth
from kgvad.detector.examples import write_examples
from kgvad.detector.inputs import Inputs, open_store
from kgvad.detector.lay import laid_text
from kgvad.detector.run import Run, RunConfig
from kgvad.detector.score import score_features
from kgvad.detector.train import train
from kgvad.errors import FeatureError, UsageError
from kgvad.video.store import FeatureStore


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


def make_config(
    inputs: Inputs,
    detector: str,
    options: Mapping[str, Any],
    seed: int,
    counts: tuple[int, int],
    *,
    text: FeatureStore | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
) -> RunConfig:
    """The configuration of one run, with every default filled in."""
    cls = detector_class(detector)
    changes = {"epochs": epochs, "learning_rate": learning_rate}
    recipe = type(cls.recipe).model_validate(
        cls.recipe.model_dump() | {name: value for name, value in changes.items() if value is not None}
    )
    bank, truth = inputs.bank, inputs.truth
    categories = tuple(bank.categories) if bank is not None else truth.categories
    normal = bank.normal if bank is not None else truth.categories.index(truth.normal)
    return RunConfig(
        detector=detector,
        options=check_options(detector, options).model_dump(mode="json"),
        recipe=recipe,
        seed=seed,
        dataset=inputs.dataset,
        categories=categories,
        normal=normal,
        dim=inputs.store.manifest.dim,
        text_dim=None if text is None else text.manifest.dim,
        encoder=inputs.store.manifest.encoder,
        features_fingerprint=inputs.store.fingerprint,
        text_fingerprint=None if text is None else text.fingerprint,
        bank_fingerprint=None if bank is None else bank.fingerprint,
        videos=counts[0],
        abnormal_videos=counts[1],
    )


def train_seeds(
    inputs: Inputs,
    detector: str,
    options: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    text: Path | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> Iterator[Path]:
    """Train one run per seed and yield its folder: the run folder itself, or ``seed-N`` in it for several."""
    bank, truth = inputs.bank, inputs.truth
    categories = tuple(bank.categories) if bank is not None else truth.categories
    normal = bank.normal if bank is not None else truth.categories.index(truth.normal)
    words = _open_text(detector, text)
    laid = None if words is None else laid_text(words, inputs.store, truth.split("train"), leave_out=True)
    samples = load_samples(inputs.store, truth, categories, normal, text=laid)
    abnormal = len({sample.video for sample in samples if not sample.target[normal]})
    videos = len({sample.video for sample in samples})
    if laid is not None:
        missing = len(set(inputs.store.ids()).intersection(truth.split("train")).difference(laid))
        note(f"{missing} training videos have no captions of their length in {text} and are left out")
    _describe(inputs, samples_by_category(truth, {sample.video for sample in samples}), videos, abnormal)
    for seed in seeds:
        folder = inputs.run if len(seeds) == 1 else inputs.run / f"seed-{seed}"
        config = make_config(
            inputs, detector, options, seed, (videos, abnormal), text=words, epochs=epochs, learning_rate=learning_rate
        )
        run = train(samples, config, folder, bank=bank, device=device, overwrite=overwrite)
        write_examples(run, inputs.store, truth)
        yield run.folder


def _open_text(detector: str, text: Path | None) -> FeatureStore | None:
    """The store of caption embeddings, where the detector reads captions; otherwise ``None``."""
    reads = detector_class(detector).reads_text
    if reads and text is None:
        raise UsageError(f"{detector} fuses features with captions, and there are none", "name their store with --text")
    if not reads and text is not None:
        raise UsageError(f"{detector} does not read captions", "leave --text out, or train semvad")
    return None if text is None else FeatureStore.open(text)


def samples_by_category(truth: Truth, videos: set[str]) -> dict[str, int]:
    """Number of ``videos`` of each category, in the order of the dataset's categories."""
    count = dict.fromkeys(truth.categories, 0)
    for video in videos:
        for label in truth.videos[video].labels or (truth.normal,):
            count[label] += 1
    return count


def _describe(inputs: Inputs, count: Mapping[str, int], videos: int, abnormal: int) -> None:
    note(f"{videos} training videos ({abnormal} abnormal) with features of {inputs.store.manifest.encoder}")
    if abnormal == 0 or abnormal == videos:
        raise FeatureError(
            f"all {videos} training videos of {inputs.dataset} are {'abnormal' if abnormal else 'normal'}",
            "a detector needs videos of both kinds",
        )
    empty = [name for name, number in count.items() if number == 0]
    if empty:
        note(f"no training video of {', '.join(empty)}: the detector will hardly name that")


def score_videos(
    features: Path, run: Path, output: Path, form: str, videos: Sequence[str] | None, device: str
) -> Iterator[Path]:
    """Score the videos of a store, write one file each and yield its path."""
    suffix = f".{form}"
    if suffix not in (".npz", ".csv", ".json"):
        raise UsageError(f"--format {form!r} is unknown", "use npz, csv or json")
    loaded = Run.load(run, device)
    store = open_store(features, loaded.config.encoder)
    for video in track(videos or store.ids(), "scoring"):
        scores = score_features(
            loaded, store.load(video), store.info(video), video=video, encoder_fingerprint=store.fingerprint
        )
        path = output / f"{video}{suffix}"
        scores.save(path)
        yield path
