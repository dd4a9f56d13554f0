"""Score the test videos of a dataset and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.console import track as tracked
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.resample import laid_text
from kgvad.detector.data.samples import Features
from kgvad.detector.data.training_inputs import load_truth, open_store
from kgvad.detector.evaluation.bootstrap import DRAWS, Board, sample
from kgvad.detector.evaluation.frame_metrics import Track, make_track
from kgvad.detector.evaluation.report import Evaluation, Method, plain, short_names
from kgvad.detector.evaluation.temporal_map import THRESHOLDS, alarms, category_auc, confusion, detection_map
from kgvad.detector.run import CONFIG, METRICS, Run, RunConfig
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import FeatureError, RunError
from kgvad.files import write_json
from kgvad.settings import default_features
from kgvad.video.feature_store import FeatureStore


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


def smoothed(scores: Scores, rows: int) -> Scores:
    """Scores whose anomaly score is the mean over ``rows`` rows around each; fewer at the ends of the video."""
    count = len(scores.scores)
    before = np.maximum(np.arange(count) - (rows - 1) // 2, 0)
    after = np.minimum(np.arange(count) + rows // 2 + 1, count)
    total = np.concatenate([[0.0], np.cumsum(scores.scores, dtype=np.float64)])
    mean = (total[after] - total[before]) / (after - before)
    return replace(scores, scores=np.clip(mean, 0, 1).astype(np.float32))


def describe_tracks(tracks: Sequence[Track], config: RunConfig, rule: ClassRule) -> dict[str, Any]:
    """Detection mAP (corrected and legacy), alarms, AUC and confusion by category."""
    details: dict[str, Any] = {}
    if all(one.category_scores is not None for one in tracks):
        for mode in ("corrected", "legacy"):
            found = detection_map(
                tracks, config.categories, config.normal, mode, normal_has_events=config.dataset == "xd", rule=rule
            )
            details[f"map_{mode}"] = {"iou": THRESHOLDS, "map": found.maps, "mean": found.average}
        details["confusion"] = confusion(tracks, config.categories, config.normal)
        details["confusion_with_normal"] = confusion(tracks, config.categories, config.normal, with_normal=True)
    details["alarms"] = asdict(alarms(tracks))
    details["category_auc"] = category_auc(tracks, config.categories)
    return details


def find_methods(paths: Sequence[Path], device: str = "cpu") -> list[tuple[Path, list[Run]]]:
    """Runs by method: a run is one, a folder of runs that differ in the seed only is one, of other runs several."""
    found: list[tuple[Path, list[Run]]] = []
    for path in paths:
        inside = [] if (path / CONFIG).is_file() else [config.parent for config in path.glob(f"*/{CONFIG}")]
        folders = sorted(inside, key=lambda run: (len(run.name), run.name)) or [path]
        runs = [Run.load(folder, device) for folder in folders]
        alike = [run.config.model_copy(update={"seed": 0}) for run in runs]
        if all(config == alike[0] for config in alike):
            found.append((path, runs))
        else:
            found.extend((folder, [run]) for folder, run in zip(folders, runs, strict=True))
    return found


def evaluate_runs(
    paths: Sequence[Path],
    features: Path | None = None,
    lists: Path | None = None,
    *,
    text: Path | None = None,
    device: str = "cpu",
    draws: int = DRAWS,
    smooth: int = 1,
    rule: ClassRule | None = None,
) -> Evaluation:
    """Score the test videos with each run, write its ``metrics.json`` and collect the figures.

    Parameters
    ----------
    paths
        Runs, or folders of runs (:func:`find_methods`); further methods are compared with the first.
    features
        Root of the feature stores; default: the user's data folder.
    lists
        Folder of the official lists; default: what stands beside the features.
    text
        Store of caption embeddings, for runs that fuse them with the features.
    draws
        Of videos and seeds, for intervals and p values; 0: none.
    smooth
        The score is the mean over so many rows; 1: as it is.
    rule
        Of the class probabilities in which detection looks for events; default: softmax.

    Raises
    ------
    RunError
        The runs are of different datasets.
    """
    rule = rule or ClassRule()
    names, groups = zip(*find_methods(paths, device), strict=True)
    datasets = sorted({run.config.dataset for group in groups for run in group})
    if len(datasets) > 1:
        raise RunError(f"the runs are of different datasets ({', '.join(datasets)})", "evaluate them one by one")
    root = features or default_features(datasets[0])
    truth = load_truth(datasets[0], root, lists)
    methods, samples = [], []
    for name, group in zip(short_names(names), groups, strict=True):
        config = group[0].config
        found, boards = [], []
        for run in group:
            store = open_store(root, run.config.encoder)
            words = (
                None
                if text is None or run.config.text_dim is None
                else laid_text(FeatureStore.open(text), store, truth.split("test"))
            )
            scores = score_split(run, store, truth, words)
            found.append(tracks_of([smoothed(one, smooth) for one in scores], truth))
            boards.append(Board(found[-1], run.config.categories, run.config.normal))
        samples.append(sample(boards, draws=draws))
        method = Method(
            name,
            config.detector,
            config.encoder,
            None if text is None or config.text_dim is None else text.name,
            tuple(str(run.folder) for run in group),
            tuple(run.config.seed for run in group),
            config.categories,
            config.normal,
            tuple(board.observed for board in boards),
            tuple(describe_tracks(tracks, run.config, rule) for run, tracks in zip(group, found, strict=True)),
            tuple(found),
            samples[-1].intervals() if draws else {},
        )
        for run, metrics, details in zip(group, method.metrics, method.details, strict=True):
            about = {"smooth": smooth, "classes": rule.name, "temperature": rule.temperature}
            write_json(run.folder / METRICS, plain({**about, **asdict(metrics), **details}))
        methods.append(method)
    differences = tuple(one.minus(samples[0]) for one in samples[1:]) if draws else ()
    return Evaluation(datasets[0], smooth, rule, draws, tuple(methods), differences)
