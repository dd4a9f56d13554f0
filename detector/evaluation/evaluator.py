"""Evaluation of runs on the test videos of their dataset."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.duplicates import copies_of_training_videos
from kgvad.detector.data.folder_dataset import with_present_events
from kgvad.detector.data.frame_labels import read_frame_labels, unlabelled, with_frame_labels
from kgvad.detector.data.inputs import load_truth, open_store
from kgvad.detector.data.video_names import match_videos
from kgvad.detector.evaluation.alarms import alarm_metrics
from kgvad.detector.evaluation.bootstrap import RESAMPLES, BootstrapResult, BootstrapTable, bootstrap
from kgvad.detector.evaluation.category_metrics import category_auc, category_calibration, confusion
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.given_scores import GivenScores, are_scores
from kgvad.detector.evaluation.report import Evaluation, Method, json_safe
from kgvad.detector.evaluation.scored_method import ScoredMethod, scored_by_program, scored_by_runs
from kgvad.detector.evaluation.temporal_map import THRESHOLDS, temporal_map
from kgvad.detector.run import CONFIG, METRICS, Run
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.detector.scoring.formats import CODECS
from kgvad.errors import RunError, UsageError
from kgvad.files import write_json
from kgvad.settings import load_settings
from kgvad.types import Fields
from kgvad.video.feature_sources import names_of
from kgvad.video.feature_store import FeatureStore, VideoEntry
from kgvad.video.store_staging import MANIFEST

logger = logging.getLogger(__name__)


def detailed_metrics(
    videos: Sequence[EvaluatedVideo], scored: ScoredMethod, rule: ClassRule, temperature: float | None = None
) -> Fields:
    """Detection mAP (corrected and legacy), alarm metrics, and AUC, confusion and calibration of categories.

    ``temperature`` is that of the run's category probabilities, where it was measured.
    """
    categories, normal = scored.categories, scored.normal
    details: Fields = {}
    framed = all(one.has_frame_labels for one in videos)
    if all(one.category_scores is not None for one in videos):
        for mode in ("corrected", "legacy") if framed else ():
            found = temporal_map(videos, categories, normal, mode, normal_has_events=scored.dataset == "xd", rule=rule)
            details[f"map_{mode}"] = {"iou": THRESHOLDS, "map": found.maps, "mean": found.average}
        details["calibration"] = {
            "error": category_calibration(videos, categories, normal),
            "temperature": temperature,
            "error_with_temperature": math.nan
            if temperature is None
            else category_calibration(videos, categories, normal, temperature),
        }
        details["confusion"] = confusion(videos, categories, normal)
        details["confusion_with_normal"] = confusion(videos, categories, normal, with_normal=True)
    details["alarms"] = asdict(alarm_metrics(videos))
    details["category_auc"] = category_auc(videos, categories)
    return details


def find_methods(path: Path, device: str = "cpu") -> list[tuple[Path, list[Run]]]:
    """Runs by method: one run, or the runs of a folder that differ in the seed only.

    Every run of a folder with other differences is a method of its own.
    """
    if (path / CONFIG).is_file():
        return [(path, [Run.load(path, device)])]
    inside = [config.parent for config in path.glob(f"*/{CONFIG}")]
    if not inside:
        raise RunError(
            f"{path} holds neither a run nor scores",
            f"name a folder of kgvad train, or of scores as {', '.join(CODECS)}",
        )
    folders = sorted(inside, key=lambda run: (len(run.name), run.name))
    runs = [Run.load(folder, device) for folder in folders]
    if all(set(run.config.differences(runs[0].config)) <= {"seed"} for run in runs):
        return [(path, runs)]
    return [(folder, [run]) for folder, run in zip(folders, runs, strict=True)]


@dataclass(frozen=True)
class EvaluationOptions:
    """How runs are evaluated.

    Attributes
    ----------
    dataset
        Of scores without a run; ``None``: that of the runs.
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

    dataset: str | None = None
    features: Path | None = None
    lists: Path | None = None
    text: Path | None = None
    annotations: Path | None = None
    device: str = "cpu"
    resamples: int = RESAMPLES
    smooth: int = 1
    rule: ClassRule = field(default_factory=ClassRule)


def evaluate_runs(paths: Sequence[Path], options: EvaluationOptions | None = None) -> Evaluation:
    """Measure each method on the test videos, and write the ``metrics.json`` of each run.

    Parameters
    ----------
    paths
        Runs, folders of runs (:func:`find_methods`), or scores of any program (:class:`.GivenScores`). The other
        methods are compared with the first.
    options
        How they are evaluated.

    Raises
    ------
    RunError
        The runs are of different datasets.
    UsageError
        There are only scores, and no dataset was named.
    """
    options = options or EvaluationOptions()
    folders, sources = zip(*_sources(paths, options.device), strict=True)
    runs = [run for source in sources if not isinstance(source, GivenScores) for run in source]
    dataset = _dataset_of(runs, options.dataset)
    root = options.features or load_settings().features_root(dataset)
    entries = _entries(root, runs)
    truth = match_videos(with_present_events(load_truth(dataset, root, options.lists)), entries)
    if options.annotations is not None:
        truth = _with_annotations(truth, entries, options.annotations)
    methods, results, measured = [], [], set()
    for name, source in zip(short_names(folders), sources, strict=True):
        if isinstance(source, GivenScores):
            scored = scored_by_program(source, truth, entries, beside_runs=bool(runs), smooth=options.smooth)
        else:
            scored = scored_by_runs(source, root, truth, text=options.text, smooth=options.smooth)
        measured |= {video.video for video in scored.videos[0]}
        method, result = _measured(name, scored, truth, options)
        if not isinstance(source, GivenScores):
            _write_metrics(source, method, options)
        methods.append(method)
        results.append(result)
    _warn_without_frame_labels(truth, measured)
    if runs:
        _warn_of_copies(copies_of_training_videos(open_store(root, runs[0].config.encoder), truth))
    differences = tuple(one.difference_from(results[0]) for one in results[1:]) if options.resamples else ()
    return Evaluation(dataset, options.smooth, options.rule, options.resamples, tuple(methods), differences)


def _sources(paths: Sequence[Path], device: str) -> Iterator[tuple[Path, Sequence[Run] | GivenScores]]:
    """What each path holds: scores, or runs by method."""
    for path in paths:
        if are_scores(path):
            yield path, GivenScores(path)
        else:
            yield from find_methods(path, device)


def _dataset_of(runs: Sequence[Run], named: str | None) -> str:
    datasets = sorted({run.config.dataset for run in runs})
    if len(datasets) > 1:
        raise RunError(f"the runs are of different datasets ({', '.join(datasets)})", "evaluate them one by one")
    if not datasets and named is None:
        raise UsageError("scores do not say of which dataset they are", "name it with --dataset")
    if datasets and named not in (None, datasets[0]):
        raise UsageError(f"--dataset {named} is not the dataset of the runs, {datasets[0]}", "leave it out")
    return datasets[0] if datasets else str(named)


def _entries(root: Path, runs: Sequence[Run]) -> dict[str, VideoEntry]:
    """What the features say of the videos; nothing where there are none, and none are needed."""
    if runs:
        store = open_store(root, runs[0].config.encoder)
    else:
        found = sorted(root.glob(f"*/{MANIFEST}")) or sorted(root.glob(MANIFEST))
        if not found:
            return {}
        store = FeatureStore.open(found[0].parent)
    return {video: store.info(video) for video in store.ids()}


def _write_metrics(runs: Sequence[Run], method: Method, options: EvaluationOptions) -> None:
    rule = {"class_rule": options.rule.name, "temperature": options.rule.temperature}
    for run, metrics, details in zip(runs, method.metrics, method.details, strict=True):
        write_json(run.folder / METRICS, json_safe({"smooth": options.smooth, **rule, **asdict(metrics), **details}))


def _with_annotations(truth: Truth, entries: Mapping[str, VideoEntry], path: Path) -> Truth:
    """``truth`` with the frame labels of a file, whose seconds become frames at the rates of the features."""
    labels = read_frame_labels(path)
    assumed = [one for one in truth.split("test") if one in entries and "fps" in entries[one].assumed]
    if assumed and any(event.in_seconds for one in labels.values() for event in one.events):
        logger.warning(
            f"{path} is in seconds, and the frame rate of {len(assumed)} test videos is assumed ({names_of(assumed)}): "
            "set it with kgvad features import --fps"
        )
    rates = {video: entry.fps for video, entry in entries.items()}
    return with_frame_labels(truth, labels, rates, str(path))


def _warn_without_frame_labels(truth: Truth, videos: Collection[str]) -> None:
    without = unlabelled(truth, sorted(videos))
    if without:
        logger.warning(
            f"{len(without)} abnormal test videos have no frame labels ({names_of(without)}): frame metrics leave "
            "them out, and mAP is not measured (name the labels with --annotations)"
        )


def _warn_of_copies(copies: Sequence[tuple[str, str]]) -> None:
    if copies:
        pairs = names_of([f"{test} = {train}" for test, train in copies])
        logger.warning(f"test videos with the features of a training video: {pairs}; the figures may be too good")


def _warn_left_out(name: str, scored: ScoredMethod, truth: Truth) -> None:
    test = truth.split("test")
    without = sorted(set(test).difference(video.video for video in scored.videos[0]))
    if without:
        lacking = (
            "features, or no captions where the run reads some"
            if scored.encoder
            else "scores, or no features for the runs"
        )
        logger.warning(
            f"{name}: {len(without)} of {len(test)} test videos have no {lacking}, and are left out "
            f"({names_of(without)})"
        )


def _warn_trained_on(name: str, scored: ScoredMethod, truth: Truth) -> None:
    """A split by hash moves as videos are added, lists of others overlap, and two datasets may have one name."""
    videos, train = scored.videos[0], truth.split("train")
    both = sorted(scored.trained_on.intersection(video.video for video in videos))
    if both:
        logger.warning(
            f"{name} was trained on {len(both)} of the {len(videos)} test videos ({names_of(both)}), so its "
            "figures are too good; train it again on the current training videos"
        )
    elif scored.trained_on and train and scored.trained_on.isdisjoint(train):
        logger.warning(
            f"{name} was trained on none of the {len(train)} training videos of {truth.dataset}: these may be the "
            "features of another dataset (--features names those of the run)"
        )


def _measured(
    name: str, scored: ScoredMethod, truth: Truth, options: EvaluationOptions
) -> tuple[Method, BootstrapResult]:
    """Measure what one method scored."""
    _warn_left_out(name, scored, truth)
    _warn_trained_on(name, scored, truth)
    tables = [BootstrapTable(one, scored.categories, scored.normal) for one in scored.videos]
    result = bootstrap(tables, resamples=options.resamples)
    method = Method(
        name=name,
        detector=scored.detector,
        encoder=scored.encoder,
        text=scored.text,
        folders=scored.folders,
        seeds=scored.seeds,
        categories=scored.categories,
        normal=scored.normal,
        metrics=tuple(table.observed for table in tables),
        details=tuple(
            detailed_metrics(one, scored, options.rule, temperature)
            for one, temperature in zip(scored.videos, scored.temperatures, strict=True)
        ),
        videos=scored.videos,
        intervals=result.intervals() if options.resamples else {},
    )
    return method, result


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
