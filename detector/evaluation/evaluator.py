"""Evaluation of runs on the test videos of their dataset."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from kgvad.console import track
from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.data.frame_labels import read_frame_labels, unlabelled, with_frame_labels
from kgvad.detector.data.inputs import load_truth, open_store
from kgvad.detector.data.resample import resample_captions
from kgvad.detector.data.samples import Features
from kgvad.detector.data.video_names import match_videos
from kgvad.detector.evaluation.alarms import alarm_metrics
from kgvad.detector.evaluation.bootstrap import RESAMPLES, BootstrapResult, BootstrapTable, bootstrap
from kgvad.detector.evaluation.category_metrics import category_auc, category_calibration, confusion
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, match_ground_truth
from kgvad.detector.evaluation.report import Evaluation, Method, json_safe
from kgvad.detector.evaluation.temporal_map import THRESHOLDS, temporal_map
from kgvad.detector.run import CONFIG, METRICS, Run, RunConfig
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import FeatureError, RunError
from kgvad.files import write_json
from kgvad.settings import load_settings
from kgvad.types import Fields
from kgvad.video.feature_layout import fitted_entry
from kgvad.video.feature_sources import names_of
from kgvad.video.feature_store import FeatureStore

logger = logging.getLogger(__name__)


def score_split(
    run: Run, store: FeatureStore, truth: Truth, text: Mapping[str, Features] | None = None
) -> list[Scores]:
    """Scores of the test videos that have features (and captions, where ``text`` is given)."""
    present = set(store.ids())
    videos = [video for video in truth.split("test") if video in present and (text is None or video in text)]
    if not videos:
        raise FeatureError(
            f"{store.root} has no features of the test videos of {truth.dataset}",
            "extract or import them; in a folder of videos of your own they lie in test/CATEGORY",
        )
    return [
        score_features(
            run,
            store.load(video),
            fitted_entry(store.info(video), truth.videos[video].frame_count, video),
            video=video,
            encoder_fingerprint=store.fingerprint,
            text=None if text is None else text[video],
        )
        for video in track(videos, "scoring")
    ]


def match_all(scores: Sequence[Scores], truth: Truth) -> list[EvaluatedVideo]:
    """Scores of the videos beside their ground truth.

    Raises
    ------
    FeatureError
        A video is not of the dataset, or its frame labels end after its scores.
    ScoresError
        The scores of a video are for another number of frames than the ground truth has.
    """
    videos = []
    for one in scores:
        known = truth.videos.get(one.video)
        if known is None:
            raise FeatureError(
                f"{one.video} is not a video of {truth.dataset}", "name the scores after the videos of the dataset"
            )
        _check_end(one, known)
        videos.append(
            match_ground_truth(
                one,
                known.labels,
                known.intervals,
                known.frame_count or one.frame_count,
                category_scores=None if one.alignment is None else one.alignment.astype(np.float64),
                events=known.events,
            )
        )
    return videos


def _check_end(scores: Scores, known: VideoTruth) -> None:
    """Refuse frame labels that end more than a snippet past the video, or begin where it has ended."""
    intervals = known.intervals or ()
    last = max((end for _, end in intervals), default=0)
    longest = int(np.diff(scores.spans, axis=1).max())
    late = known.frame_count is not None and any(start >= known.frame_count for start, _ in intervals)
    if late or last > scores.frame_count + longest:
        raise FeatureError(
            f"{scores.video} is annotated to frame {last}, and its features end at {scores.frame_count}",
            "correct its events; or import features of another program again with --frames, a table of frame counts",
        )


def smoothed(scores: Scores, window: int) -> Scores:
    """Scores after a moving average over ``window`` snippets; the window is cut at the ends of the video.

    Every window is summed by itself. Differences of a running total would round small scores away beside large ones,
    and so tie the snippets of a detector whose scores are nearly all 0 or 1.
    """
    if window == 1:
        return scores
    count = len(scores.scores)
    shift = window // 2
    sums = np.convolve(scores.scores.astype(np.float64), np.ones(window))[shift : shift + count]
    number = np.convolve(np.ones(count), np.ones(window))[shift : shift + count]
    return replace(scores, scores=np.clip(sums / number, 0, 1).astype(np.float32))


def detailed_metrics(
    videos: Sequence[EvaluatedVideo], config: RunConfig, rule: ClassRule, temperature: float | None = None
) -> Fields:
    """Detection mAP (corrected and legacy), alarm metrics, and AUC, confusion and calibration of categories.

    ``temperature`` is that of the run's category probabilities, where it was measured.
    """
    details: Fields = {}
    framed = all(one.has_frame_labels for one in videos)
    if all(one.category_scores is not None for one in videos):
        for mode in ("corrected", "legacy") if framed else ():
            found = temporal_map(
                videos, config.categories, config.normal, mode, normal_has_events=config.dataset == "xd", rule=rule
            )
            details[f"map_{mode}"] = {"iou": THRESHOLDS, "map": found.maps, "mean": found.average}
        details["calibration"] = {
            "error": category_calibration(videos, config.categories, config.normal),
            "temperature": temperature,
            "error_with_temperature": math.nan
            if temperature is None
            else category_calibration(videos, config.categories, config.normal, temperature),
        }
        details["confusion"] = confusion(videos, config.categories, config.normal)
        details["confusion_with_normal"] = confusion(videos, config.categories, config.normal, with_normal=True)
    details["alarms"] = asdict(alarm_metrics(videos))
    details["category_auc"] = category_auc(videos, config.categories)
    return details


def find_methods(paths: Sequence[Path], device: str = "cpu") -> list[tuple[Path, list[Run]]]:
    """Runs by method: one run, or the runs of a folder that differ in the seed only.

    Every run of a folder with other differences is a method of its own.
    """
    found: list[tuple[Path, list[Run]]] = []
    for path in paths:
        inside = [] if (path / CONFIG).is_file() else [config.parent for config in path.glob(f"*/{CONFIG}")]
        folders = sorted(inside, key=lambda run: (len(run.name), run.name)) or [path]
        runs = [Run.load(folder, device) for folder in folders]
        if all(set(run.config.differences(runs[0].config)) <= {"seed"} for run in runs):
            found.append((path, runs))
        else:
            found.extend((folder, [run]) for folder, run in zip(folders, runs, strict=True))
    return found


@dataclass(frozen=True)
class EvaluationOptions:
    """How runs are evaluated.

    Attributes
    ----------
    features
        Root of the feature stores; ``None``: the default folder of the dataset.
    lists
        Folder of the official lists; ``None``: ``dataset.json`` beside the features.
    text
        Store of caption embeddings, for runs that read captions.
    annotations
        Frame labels of the test videos (:func:`kgvad.detector.data.frame_labels.read_frame_labels`).
    device
        Torch device.
    resamples
        Bootstrap resamples of videos and seeds, for intervals and p values; 0: none.
    smooth
        Snippets of the moving average of the score; 1: none.
    rule
        Of the class probabilities in which events are searched for the mAP.
    """

    features: Path | None = None
    lists: Path | None = None
    text: Path | None = None
    annotations: Path | None = None
    device: str = "cpu"
    resamples: int = RESAMPLES
    smooth: int = 1
    rule: ClassRule = field(default_factory=ClassRule)


def evaluate_runs(paths: Sequence[Path], options: EvaluationOptions | None = None) -> Evaluation:
    """Score the test videos with each run, write its ``metrics.json`` and collect the results.

    Parameters
    ----------
    paths
        Runs, or folders of runs (:func:`find_methods`); the other methods are compared with the first.
    options
        How they are evaluated.

    Raises
    ------
    RunError
        The runs are of different datasets.
    """
    options = options or EvaluationOptions()
    folders, groups = zip(*find_methods(paths, options.device), strict=True)
    datasets = sorted({run.config.dataset for runs in groups for run in runs})
    if len(datasets) > 1:
        raise RunError(f"the runs are of different datasets ({', '.join(datasets)})", "evaluate them one by one")
    root = options.features or load_settings().features_root(datasets[0])
    store = open_store(root, groups[0][0].config.encoder)
    truth = match_videos(load_truth(datasets[0], root, options.lists), store.ids())
    if options.annotations is not None:
        truth = _with_annotations(truth, store, options.annotations)
    _warn_without_frame_labels(truth, store)
    methods, results = [], []
    for name, runs in zip(short_names(folders), groups, strict=True):
        method, result = _evaluate_method(name, runs, root, truth, options)
        for run, metrics, details in zip(runs, method.metrics, method.details, strict=True):
            rule = {"class_rule": options.rule.name, "temperature": options.rule.temperature}
            write_json(
                run.folder / METRICS, json_safe({"smooth": options.smooth, **rule, **asdict(metrics), **details})
            )
        methods.append(method)
        results.append(result)
    differences = tuple(one.difference_from(results[0]) for one in results[1:]) if options.resamples else ()
    return Evaluation(datasets[0], options.smooth, options.rule, options.resamples, tuple(methods), differences)


def _with_annotations(truth: Truth, store: FeatureStore, path: Path) -> Truth:
    """``truth`` with the frame labels of a file, whose seconds become frames at the rates of the features."""
    entries = {video: store.info(video) for video in store.ids()}
    labels = read_frame_labels(path)
    assumed = [one for one in truth.split("test") if one in entries and "fps" in entries[one].assumed]
    if assumed and any(event.in_seconds for one in labels.values() for event in one.events):
        logger.warning(
            f"{path} is in seconds, and the frame rate of {len(assumed)} test videos is assumed ({names_of(assumed)}): "
            "set it with kgvad features import --fps"
        )
    rates = {video: entry.fps for video, entry in entries.items()}
    return with_frame_labels(truth, labels, rates, str(path))


def _warn_without_frame_labels(truth: Truth, store: FeatureStore) -> None:
    test = set(truth.split("test")).intersection(store.ids())
    without = unlabelled(truth, sorted(test))
    if without:
        logger.warning(
            f"{len(without)} abnormal test videos have no frame labels ({names_of(without)}): frame metrics and mAP "
            "leave them out (name the labels with --annotations)"
        )


def _warn_left_out(name: str, videos: Sequence[EvaluatedVideo], truth: Truth) -> None:
    test = truth.split("test")
    without = sorted(set(test).difference(video.video for video in videos))
    if without:
        logger.warning(
            f"{name}: {len(without)} of {len(test)} test videos have no features, or no captions where the run reads "
            f"some, and are left out ({names_of(without)})"
        )


def _warn_trained_on(name: str, runs: Sequence[Run], videos: Sequence[EvaluatedVideo]) -> None:
    """A split by hash moves as videos are added, and lists of others overlap."""
    trained = {video for run in runs for video in run.training_videos()}
    both = sorted(trained.intersection(video.video for video in videos))
    if both:
        logger.warning(
            f"{name} was trained on {len(both)} of the {len(videos)} test videos ({names_of(both)}), so its "
            "figures are too good; train it again on the current training videos"
        )


def _evaluate_method(
    name: str, runs: Sequence[Run], root: Path, truth: Truth, options: EvaluationOptions
) -> tuple[Method, BootstrapResult]:
    """Score and measure the runs of one method, which differ in the seed."""
    config = runs[0].config
    videos = [_score_run(run, root, truth, options) for run in runs]
    _warn_left_out(name, videos[0], truth)
    _warn_trained_on(name, runs, videos[0])
    tables = [BootstrapTable(one, config.categories, config.normal) for one in videos]
    result = bootstrap(tables, resamples=options.resamples)
    method = Method(
        name=name,
        detector=config.detector,
        encoder=config.encoder,
        text=None if options.text is None or config.caption_dim is None else options.text.name,
        folders=tuple(str(run.folder) for run in runs),
        seeds=tuple(run.config.seed for run in runs),
        categories=config.categories,
        normal=config.normal,
        metrics=tuple(table.observed for table in tables),
        details=tuple(
            detailed_metrics(one, config, options.rule, None if run.thresholds is None else run.thresholds.temperature)
            for run, one in zip(runs, videos, strict=True)
        ),
        videos=tuple(videos),
        intervals=result.intervals() if options.resamples else {},
    )
    return method, result


def _score_run(run: Run, root: Path, truth: Truth, options: EvaluationOptions) -> list[EvaluatedVideo]:
    store = open_store(root, run.config.encoder)
    captions = None
    if options.text is not None and run.config.caption_dim is not None:
        captions = resample_captions(FeatureStore.open(options.text), store, truth.split("test"))
    scores = score_split(run, store, truth, captions)
    return match_all([smoothed(one, options.smooth) for one in scores], truth)


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
