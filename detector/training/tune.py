"""Choice of a configuration by cross-validation by video on the training list; the test list is never read."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from kgvad.console import track
from kgvad.detector.data.annotations import VideoTruth
from kgvad.detector.data.frame_labels import read_frame_labels, with_frame_labels
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.frame_metrics import measure
from kgvad.detector.evaluation.scored_method import match_all
from kgvad.detector.run import RunConfig
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.training.grid import Trial
from kgvad.detector.training.inputs import TrainingData
from kgvad.detector.training.process_pool import run_in_parallel
from kgvad.detector.training.seeds import Training, prepare, train_part
from kgvad.detector.training.thresholds import assign_folds
from kgvad.errors import FeatureError, RunError
from kgvad.files import read_json, write_json
from kgvad.locks import hold_run

logger = logging.getLogger(__name__)

MINIMUM = 6  # configurations that a search should try
Prepared = tuple[list[TrainingSample], dict[str, int]]  # training videos, and the fold of each
Times = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True, eq=False)
class Search:
    """A search for the configuration of one detector.

    Attributes
    ----------
    training
        Data; its configuration is that of the trial at work.
    trials
        What to try, in this order.
    folder
        Folder of the search; results of folds are kept in it, so that it resumes.
    folds
        Number of folds.
    seeds
        Trainings of a trial on every fold, with successive seeds; results of some detectors differ by more between
        seeds than between trials.
    budget_s
        CPU seconds after which no fold is started; ``None``: no limit.
    times
        Abnormal frames [start, end) of training videos, where they are known: for reading frame AUC, never for
        training.
    data_fingerprint
        Of the training videos, and of the captions that class prompts are made of; :func:`tune` completes it.
    """

    training: Training
    trials: tuple[Trial, ...]
    folder: Path
    folds: int = 5
    seeds: int = 1
    budget_s: float | None = None
    times: Times = field(default_factory=dict)
    data_fingerprint: str | None = None


class FoldResult(BaseModel):
    """Metrics on one held-out fold, 0..1, and what it cost. ``None`` where a metric cannot be computed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    video_auc: float | None
    frame_auc: float | None
    ano_auc: float | None
    category_top1: float | None
    cpu_s: float


@dataclass(frozen=True)
class TrialResult:
    """A trial with the results of its folds, the first seed first; incomplete where the budget ended before it."""

    trial: Trial
    folds: tuple[FoldResult, ...]
    complete: bool

    def mean(self, metric: str) -> float:
        """Mean over folds and seeds; NaN without any."""
        values = [getattr(one, metric) for one in self.folds if getattr(one, metric) is not None]
        return float(np.mean(values)) if values else math.nan

    @property
    def criterion(self) -> float:
        """Video AUC; its mean with frame AUC where times of training videos are known."""
        frame = self.mean("frame_auc")
        return self.mean("video_auc") if math.isnan(frame) else (self.mean("video_auc") + frame) / 2

    @property
    def cpu_s(self) -> float:
        return sum(one.cpu_s for one in self.folds)


def tune(search: Search, jobs: int = 1) -> list[TrialResult]:
    """Cross-validate the trials, ``jobs`` in parallel; folds that were measured before are read.

    Raises
    ------
    UsageError, FeatureError
        An option is wrong, the features cannot train the detector, or there are too few videos for folds.
    """
    count, name = len(search.trials), search.training.config.detector
    if count < MINIMUM:
        only = "1 configuration is" if count == 1 else f"{count} configurations are"
        logger.warning(f"only {only} tried; a search should have {MINIMUM} or more")
    taken = RunError(f"another process tunes {name} in {search.folder}", "wait for it, or choose another --output")
    with hold_run(search.folder / "trials" / name, taken):
        search = _search(search, jobs)
    results = [_read_trial(search, trial) for trial in search.trials]
    unfinished = sum(not result.complete for result in results)
    if unfinished == count:
        raise RunError(
            "the budget ended before the folds of any configuration were finished", "raise --budget, or lower --folds"
        )
    if unfinished:
        logger.warning(f"the budget ended before {unfinished} of {count} configurations were finished")
    return results


def _search(search: Search, jobs: int) -> Search:
    """Try what has no result, while the budget lasts; the search with the fingerprint of its data."""
    samples, config = prepare(search.training)
    search = replace(search, data_fingerprint=_data_fingerprint(search.training.data, config))
    numbers = range(len(search.trials))
    if jobs > 1:
        tasks = [(search, number) for number in numbers]
        for _ in track(run_in_parallel(_try_in_worker, tasks, min(jobs, len(tasks))), "configurations", len(tasks)):
            pass
    else:
        prepared = samples, fold_assignment(samples, search.training.data.normal, search.folds)
        for number, trial in enumerate(search.trials):
            if _spent(search):
                break
            words = ", ".join(trial.changes) or "as given"
            logger.info(f"configuration {number + 1} of {len(search.trials)}: {words}")
            _try(search, number, prepared)
    return search


def _data_fingerprint(data: TrainingData, config: RunConfig) -> str | None:
    """That of the training videos; where class prompts are made of the captions of each fold, of these texts too."""
    if not config.class_prompts:
        return config.data_fingerprint
    texts = json.dumps({video: list(own) for video, own in (data.caption_texts or {}).items()}, sort_keys=True)
    return f"{config.data_fingerprint} {hashlib.sha256(texts.encode()).hexdigest()}"


def choose(results: Sequence[TrialResult]) -> TrialResult:
    """The complete trial with the highest criterion; of several, the first."""
    return max((result for result in results if result.complete), key=lambda result: result.criterion)


def _try_in_worker(task: tuple[Search, int]) -> None:
    """One trial in a worker process, without output."""
    with open(os.devnull, "w") as nothing, redirect_stderr(nothing):
        _try(*task)


def _try(search: Search, number: int, prepared: Prepared | None = None) -> None:
    """Train and measure the folds of a trial that have no result, while the budget lasts."""
    trial = search.trials[number]
    wanted = [part for part in _parts(search) if not _result_file(search, trial, *part).is_file()]
    if not wanted or _spent(search):
        return
    training = replace(search.training, config=trial.config)
    if prepared is None:
        samples, _ = prepare(training)
        prepared = samples, fold_assignment(samples, training.data.normal, search.folds)
    samples, fold_of = prepared
    for fold, repeat in wanted:
        if _spent(search):
            break
        started = time.process_time()
        seeded = replace(training, config=trial.config.model_copy(update={"seed": trial.config.seed + repeat}))
        folder = _trial_folder(search, trial) / f"run-{fold}-{repeat}"
        scored = _train_fold(search, seeded, samples, {v for v, own in fold_of.items() if own == fold}, folder)
        result = _measure(scored, training.data, time.process_time() - started)
        write_json(_result_file(search, trial, fold, repeat), result.model_dump())


def fold_assignment(samples: Sequence[TrainingSample], normal: int, folds: int) -> dict[str, int]:
    """Fold of each video, the same for every trial and detector.

    Raises
    ------
    FeatureError
        There are fewer videos of a kind than folds.
    """
    fold_of = assign_folds(samples, normal, folds, seed=0)
    if fold_of is None or len(set(fold_of.values())) < folds:
        raise FeatureError(f"there are too few training videos for {folds} folds", "lower --folds")
    return fold_of


def _train_fold(
    search: Search,
    training: Training,
    samples: Sequence[TrainingSample],
    held_out: set[str],
    folder: Path,
) -> list[EvaluatedVideo]:
    """Train without the held-out videos and score these."""
    data = training.data
    part = [sample for sample in samples if sample.video not in held_out]
    run = train_part(training, part, folder)
    captions = {sample.video: sample.captions for sample in samples if sample.captions is not None}
    scores = [
        score_features(run, data.store.load(video), data.store.info(video), video=video, text=captions.get(video))
        for video in sorted(held_out)
    ]
    shutil.rmtree(folder)
    videos = {video: held_out_truth(data.truth.videos[video], search.times.get(video)) for video in held_out}
    return match_all(scores, data.truth.model_copy(update={"videos": videos}))


def held_out_truth(known: VideoTruth, times: Sequence[tuple[int, int]] | None) -> VideoTruth:
    """A training video with the frame labels that ``times`` give; without times an abnormal video has none."""
    return known.model_copy(update={"intervals": tuple(times) if times else None, "frame_count": None})


def _measure(videos: Sequence[EvaluatedVideo], data: TrainingData, cpu_s: float) -> FoldResult:
    """Metrics of held-out videos; those of frames leave out abnormal videos without frame labels."""
    metrics = asdict(measure(videos, data.categories, data.normal))
    wanted = {name: metrics[name] for name in FoldResult.model_fields if name in metrics}
    return FoldResult(**{name: None if math.isnan(value) else value for name, value in wanted.items()}, cpu_s=cpu_s)


def _trial_folder(search: Search, trial: Trial) -> Path:
    """Folder of a trial: of another, where videos, labels, features, anchors, captions or folds differ."""
    data = search.training.data
    facts = [
        trial.config.model_dump_json(),
        data.store.fingerprint,
        data.bank.fingerprint if data.bank is not None else "",
        data.captions.fingerprint if data.captions is not None else "",
        search.data_fingerprint or "",
        str(search.folds),
        json.dumps(sorted((video, list(map(list, spans))) for video, spans in search.times.items())),
    ]
    return search.folder / "trials" / hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _parts(search: Search) -> list[tuple[int, int]]:
    """Fold and number of the seed of every training of a trial; the first seed has all its folds first."""
    return [(fold, repeat) for repeat in range(search.seeds) for fold in range(search.folds)]


def _result_file(search: Search, trial: Trial, fold: int, repeat: int) -> Path:
    suffix = f"-{repeat}" if repeat else ""
    return _trial_folder(search, trial) / f"fold-{fold}{suffix}.json"


def _read_trial(search: Search, trial: Trial) -> TrialResult:
    folds = [
        FoldResult.model_validate(read_json(path, RunError, "delete the file and repeat the command"))
        for part in _parts(search)
        if (path := _result_file(search, trial, *part)).is_file()
    ]
    return TrialResult(trial, tuple(folds), len(folds) == len(_parts(search)))


def _spent(search: Search) -> bool:
    """Whether the CPU time of all folds of this search has used up the budget."""
    if search.budget_s is None:
        return False
    return sum(_read_trial(search, trial).cpu_s for trial in search.trials) >= search.budget_s


def read_times(path: Path, data: TrainingData) -> Times:
    """Abnormal frames of training videos from a file of frame labels (:func:`.read_frame_labels`).

    Raises
    ------
    FeatureError
        The file has another format, or names no training video.
    """
    rates = {video: entry.fps for video, entry in data.store.manifest.videos.items()}
    truth = with_frame_labels(data.truth, read_frame_labels(path), rates, str(path), split="train")
    train = {video: truth.videos[video] for video in truth.split("train")}
    return {video: one.intervals for video, one in train.items() if one.labels and one.intervals}
