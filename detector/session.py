"""What the commands do: train seeds, evaluate runs, score videos."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.console import note, track
from kgvad.detector.api import check_options, detector_class
from kgvad.detector.data import load_samples
from kgvad.detector.datasets import Truth
from kgvad.detector.detection import THRESHOLDS, alarms, category_auc, confusion, detection_map
from kgvad.detector.evaluate import score_split, tracks_of
from kgvad.detector.inputs import Inputs, load_truth, open_store
from kgvad.detector.metrics import Board, Metrics, Track, measure
from kgvad.detector.run import CONFIG, METRICS, Run, RunConfig
from kgvad.detector.score import score_features
from kgvad.detector.statistics import bootstrap
from kgvad.detector.train import train
from kgvad.errors import FeatureError, RunError, UsageError
from kgvad.files import write_json
from kgvad.settings import default_features


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
        encoder=inputs.store.manifest.encoder,
        features_fingerprint=inputs.store.fingerprint,
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
    epochs: int | None = None,
    learning_rate: float | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> Iterator[Path]:
    """Train one run per seed and yield its folder: the run folder itself, or ``seed-N`` in it for several."""
    bank, truth = inputs.bank, inputs.truth
    categories = tuple(bank.categories) if bank is not None else truth.categories
    normal = bank.normal if bank is not None else truth.categories.index(truth.normal)
    samples = load_samples(inputs.store, truth, categories, normal)
    abnormal = len({sample.video for sample in samples if not sample.target[normal]})
    videos = len({sample.video for sample in samples})
    _describe(inputs, samples_by_category(truth, {sample.video for sample in samples}), videos, abnormal)
    for seed in seeds:
        folder = inputs.run if len(seeds) == 1 else inputs.run / f"seed-{seed}"
        config = make_config(
            inputs, detector, options, seed, (videos, abnormal), epochs=epochs, learning_rate=learning_rate
        )
        run = train(samples, config, folder, bank=bank, device=device, overwrite=overwrite)
        yield run.folder


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


@dataclass(frozen=True)
class Evaluation:
    """Figures of several runs on one set of test videos."""

    videos: int
    abnormal: int
    categories: int
    runs: tuple[str, ...]
    metrics: tuple[Metrics, ...]
    details: tuple[dict[str, Any], ...]  # of each run, for the JSON

    def as_json(self) -> dict[str, Any]:
        """Plain values; what cannot be computed is ``None``."""
        rows = [
            _plain({"run": run} | asdict(metrics) | details)
            for run, metrics, details in zip(self.runs, self.metrics, self.details, strict=True)
        ]
        summary = {
            field.name: {"mean": values.mean(), "std": values.std(ddof=1) if len(values) > 1 else 0.0}
            for field in fields(Metrics)
            if len(values := np.array([getattr(m, field.name) for m in self.metrics])) and np.isfinite(values).all()
        }
        return {
            "videos": self.videos,
            "abnormal_videos": self.abnormal,
            "categories_present": self.categories,
            "runs": rows,
            "summary": summary,
        }

    def as_markdown(self) -> str:
        """A table with one row per run, and mean and standard deviation where there are several."""
        names = [field.name for field in fields(Metrics)]
        lines = [
            f"{self.videos} test videos, {self.abnormal} abnormal, {self.categories} categories present",
            "",
            f"| run | {' | '.join(name.replace('_', ' ') for name in names)} |",
            f"|---|{'---:|' * len(names)}",
        ]
        for run, metrics in zip(self.runs, self.metrics, strict=True):
            lines.append(f"| {run} | {' | '.join(_figure(getattr(metrics, name)) for name in names)} |")
        if len(self.runs) > 1:
            columns = [np.array([getattr(metrics, name) for metrics in self.metrics]) for name in names]
            cells = [f"{_figure(float(c.mean()))} ± {_figure(float(c.std(ddof=1)))}" for c in columns]
            lines.append(f"| mean ± standard deviation of {len(self.runs)} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """``value`` for JSON, which has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def describe_tracks(tracks: Sequence[Track], config: RunConfig, draws: int) -> dict[str, Any]:
    """Detection mAP (corrected and legacy), alarms, AUC and confusion by category; intervals where ``draws`` > 0."""
    details: dict[str, Any] = {}
    if all(one.category_scores is not None for one in tracks):
        for mode in ("corrected", "legacy"):
            found = detection_map(
                tracks, config.categories, config.normal, mode, normal_has_events=config.dataset == "xd"
            )
            details[f"map_{mode}"] = {"iou": THRESHOLDS, "map": found.maps, "mean": found.average}
        details["confusion"] = confusion(tracks, config.categories, config.normal)
    details["alarms"] = asdict(alarms(tracks))
    details["category_auc"] = category_auc(tracks, config.categories)
    if draws:
        board = Board(tracks, config.categories, config.normal)
        details["intervals"] = {name: asdict(value) for name, value in bootstrap(board, draws=draws).items()}
    return details


def _figure(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.4f}"


def expand_runs(paths: Iterable[Path]) -> list[Path]:
    """Run folders; a folder of runs (``--seeds``) stands for the runs in it."""
    folders: list[Path] = []
    for path in paths:
        inside = [] if (path / CONFIG).is_file() else sorted(p.parent for p in path.glob(f"*/{CONFIG}"))
        folders.extend(inside or [path])
    return folders


def evaluate_runs(
    paths: Sequence[Path], features: Path | None, lists: Path | None, device: str, draws: int = 0
) -> Evaluation:
    """Score the test videos with each run, write its ``metrics.json`` and collect the figures.

    Raises
    ------
    RunError
        The runs are of different datasets.
    """
    folders = expand_runs(paths)
    runs = [Run.load(folder, device) for folder in folders]
    datasets = sorted({run.config.dataset for run in runs})
    if len(datasets) > 1:
        raise RunError(f"the runs are of different datasets ({', '.join(datasets)})", "evaluate them one by one")
    root = features or default_features(datasets[0])
    found = []
    details = []
    present: set[str] = set()
    tracks = []
    for run in runs:
        store = open_store(root, run.config.encoder)
        truth = load_truth(datasets[0], root, lists)
        tracks = tracks_of(score_split(run, store, truth), truth)
        present = {label for one in tracks for label in one.labels}
        metrics = measure(tracks, run.config.categories, run.config.normal)
        details.append(describe_tracks(tracks, run.config, draws))
        single = Evaluation(
            len(tracks), sum(t.abnormal for t in tracks), len(present), (str(run.folder),), (metrics,), (details[-1],)
        )
        write_json(run.folder / METRICS, single.as_json())
        found.append(metrics)
    return Evaluation(
        len(tracks),
        sum(t.abnormal for t in tracks),
        len(present),
        tuple(str(f) for f in folders),
        tuple(found),
        tuple(details),
    )


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
