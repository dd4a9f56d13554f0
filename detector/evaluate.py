"""Score the test videos of a dataset and measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.console import track as tracked
from kgvad.detector.data import Features
from kgvad.detector.datasets import Truth
from kgvad.detector.detection import THRESHOLDS, alarms, category_auc, confusion, detection_map
from kgvad.detector.inputs import load_truth, open_store
from kgvad.detector.metrics import Board, Metrics, Track, make_track, measure
from kgvad.detector.run import CONFIG, METRICS, Run, RunConfig
from kgvad.detector.score import score_features
from kgvad.detector.scores import Scores
from kgvad.detector.statistics import bootstrap
from kgvad.errors import FeatureError, RunError
from kgvad.files import write_json
from kgvad.settings import default_features
from kgvad.video.store import FeatureStore


def score_split(
    run: Run, store: FeatureStore, truth: Truth, text: Mapping[str, Features] | None = None
) -> list[Scores]:
    """Scores of the test videos that have features (and captions, where the run needs them)."""
    present = set(store.ids())
    videos = [video for video in truth.split("test") if video in present and (text is None or video in text)]
    if not videos:
        raise FeatureError(f"{store.root} has features of no test video of {truth.dataset}", "extract or import them")
    return [
        score_features(
            run,
            store.load(video),
            store.info(video),
            video=video,
            encoder_fingerprint=store.fingerprint,
            text=None if text is None else text[video],
        )
        for video in tracked(videos, "scoring")
    ]


def tracks_of(scores: Sequence[Scores], truth: Truth) -> list[Track]:
    """Lay scores over the ground truth.

    Raises
    ------
    FeatureError
        A video has no frame labels.
    ScoresError
        The scores of a video are for another number of frames than the ground truth has.
    """
    tracks = []
    for one in scores:
        known = truth.videos.get(one.video)
        if known is None:
            raise FeatureError(f"{one.video} is not a video of {truth.dataset}", "name the scores after the videos")
        if known.intervals is None:
            raise FeatureError(f"{one.video} has no frame labels in {truth.dataset}", "evaluate the test videos only")
        tracks.append(
            make_track(
                one,
                known.labels,
                known.intervals,
                known.frame_count or one.frame_count,
                category_scores=None if one.alignment is None else one.alignment.astype(np.float64),
                events=known.events,
            )
        )
    return tracks


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
