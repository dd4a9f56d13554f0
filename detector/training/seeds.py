"""Runs with several seeds, one after another or in parallel processes."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from kgvad.console import track
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.duplicates import warn_of_contradictions
from kgvad.detector.data.resample import resample_captions
from kgvad.detector.data.samples import Sampler, TrainingSample, data_fingerprint, load_samples
from kgvad.detector.registry import detector_class
from kgvad.detector.run import CONFIG, START, THRESHOLDS, Run, RunConfig, TrainConfig
from kgvad.detector.training.caption_words import words_of_captions
from kgvad.detector.training.distributed import ProcessGroup
from kgvad.detector.training.exemplars import write_exemplars
from kgvad.detector.training.inputs import TrainingData
from kgvad.detector.training.process_pool import run_in_parallel
from kgvad.detector.training.start import measure_gain, save_gain
from kgvad.detector.training.tensorboard import TensorBoardLogger
from kgvad.detector.training.thresholds import (
    FOLDS,
    SMALL_SET,
    assign_folds,
    held_out_videos,
    hold_out,
    save_thresholds,
)
from kgvad.detector.training.trainer import Trainer
from kgvad.errors import FeatureError, RunError, UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Training:
    """A training that may be repeated with several seeds.

    Attributes
    ----------
    config
        Configuration with the first seed.
    data
        Features, labels, anchors and captions.
    folder
        Folder of the run; with several seeds, of the runs ``seed-N``.
    device
        Torch device.
    overwrite
        Replace runs with other settings.
    tensorboard
        Log the metrics for TensorBoard.
    threshold_folds
        Folds of training videos that are held out in turn to measure thresholds and gains; 0: none. ``None``: a few
        where the training set is small.
    start
        Run whose weights the training starts from and is regularised towards.
    keep_epochs
        Train for the epochs of ``config`` also where few videos make fewer steps of them than ``start`` took.
    """

    config: TrainConfig
    data: TrainingData
    folder: Path
    device: str = "cpu"
    overwrite: bool = False
    tensorboard: bool = False
    threshold_folds: int | None = None
    start: Run | None = None
    keep_epochs: bool = False


def train_seeds(training: Training, count: int = 1, jobs: int = 1) -> Iterator[Path]:
    """Train runs with ``count`` successive seeds, ``jobs`` in parallel, and yield their folders in order.

    Raises
    ------
    UsageError, FeatureError
        An option is wrong, or the features cannot train this detector.
    RunError
        Several seeds are to be trained into a folder that is a run itself.
    """
    group = ProcessGroup(training.device)
    if group.world_size > 1 and jobs > 1:
        raise UsageError("--jobs trains seeds in parallel, but these processes train one run", "leave --jobs out")
    first = training.config.seed
    folders = {
        seed: training.folder if count == 1 else training.folder / f"seed-{seed}"
        for seed in range(first, first + count)
    }
    if count > 1 and (training.folder / CONFIG).is_file():
        raise RunError(f"{training.folder} holds one run", "name another place with --run for a folder of seeds")
    if training.tensorboard:
        TensorBoardLogger(training.folder)  # fails early where TensorBoard is not installed
    with group.main_process_output():
        samples, config = prepare(training)
    if jobs > 1 and count > 1:
        tasks = [(training, seed, folder) for seed, folder in folders.items()]
        for _, _, folder in track(run_in_parallel(_train_in_worker, tasks, min(jobs, count)), "seeds", count):
            yield folder
        return
    for seed, folder in folders.items():
        with group.main_process_output():
            _train_seed(training, samples, config, seed, folder)
        if group.is_main:
            yield folder


def prepare(training: Training) -> tuple[list[TrainingSample], RunConfig]:
    """Load the training videos and complete the configuration; the log reports what is missing.

    Raises
    ------
    UsageError, FeatureError
        Captions are missing or unused, or the features cannot train this detector.
    """
    config, data = training.config, training.data
    truth, captions = data.truth, data.captions
    _check_captions(config.detector, captions is not None)
    if data.caption_texts is not None and config.class_prompt_options is None:
        logger.warning(f"{config.detector} makes no class prompts of words here: --caption-texts changes nothing")
    train = truth.split("train")
    resampled = None if captions is None else resample_captions(captions, data.store, train, skip_mismatched=True)
    samples = load_samples(data.store, truth, data.categories, data.normal, captions=resampled)
    videos = {sample.video for sample in samples}
    abnormal = len({sample.video for sample in samples if not sample.target[data.normal]})
    if captions is not None and resampled is not None:
        missing = len(set(data.store.ids()).intersection(train).difference(resampled))
        logger.info(f"{missing} training videos have no captions of their length in {captions.root} and are left out")
    _check_balance(data, len(videos), abnormal)
    warn_of_contradictions(samples, data.categories)
    _check_start(training)
    _log_missing(samples_by_category(truth, videos))
    if not training.keep_epochs:
        config = _as_many_steps(config, training.start, len(videos), abnormal)
    return samples, run_config(replace(training, config=config), samples)


def run_config(training: Training, samples: Sequence[TrainingSample]) -> RunConfig:
    """The configuration of a run that is trained on ``samples``, all training videos or a fold of them."""
    config, data = training.config, training.data
    bank, captions = data.bank, data.captions
    found = RunConfig(
        **config.model_dump(),
        dataset=data.dataset,
        categories=data.categories,
        normal=data.normal,
        dim=data.store.manifest.dim,
        encoder=data.store.manifest.encoder,
        features_fingerprint=data.store.fingerprint,
        columns=tuple(data.store.manifest.columns or ()),
        caption_dim=None if captions is None else captions.manifest.dim,
        caption_encoder=None if captions is None else captions.manifest.encoder,
        captions_fingerprint=None if captions is None else captions.fingerprint,
        bank_fingerprint=None if bank is None else bank.fingerprint,
        start_fingerprint=None if training.start is None else training.start.fingerprint,
        videos=len({sample.video for sample in samples}),
        abnormal_videos=len({sample.video for sample in samples if not sample.target[data.normal]}),
        data_fingerprint=data_fingerprint(samples),
    )
    if bank is None:
        return found
    return found.model_copy(update={"class_prompts": words_of_captions(found, samples, data.caption_texts, bank)})


def train_part(training: Training, part: Sequence[TrainingSample], folder: Path) -> Run:
    """Train on some of the training videos, without exemplars and thresholds."""
    data, config = training.data, run_config(training, part)
    trainer = Trainer(part, config, folder, bank=data.bank, text_encoder=data.text_encoder, device=training.device)
    return trainer.fit(training.start)


def samples_by_category(truth: Truth, videos: set[str]) -> dict[str, int]:
    """Number of ``videos`` of each category, in the order of the dataset's categories."""
    count = dict.fromkeys(truth.categories, 0)
    for video in videos:
        for label in truth.videos[video].labels or (truth.normal,):
            count[label] += 1
    return count


def _train_seed(
    training: Training, samples: Sequence[TrainingSample], config: RunConfig, seed: int, folder: Path
) -> None:
    data = training.data
    trainer = Trainer(
        samples,
        config.model_copy(update={"seed": seed}),
        folder,
        bank=data.bank,
        text_encoder=data.text_encoder,
        device=training.device,
        overwrite=training.overwrite,
        callbacks=[TensorBoardLogger(folder)] if training.tensorboard else [],
    )
    run = trainer.fit(training.start)
    if ProcessGroup(training.device).is_main:
        write_exemplars(run, data.store, data.truth)
        _measure(training, samples, run)


def _measure(training: Training, samples: Sequence[TrainingSample], run: Run) -> None:
    """Thresholds of the run and the gain over its start, from held-out folds, where they are not measured yet."""
    folds, start, normal = training.threshold_folds, training.start, run.config.normal
    if folds is None:
        folds = FOLDS if run.config.videos <= SMALL_SET else 0
    gain_missing = start is not None and not (run.folder / START).is_file()
    if training.threshold_folds and run.thresholds is not None:
        logger.info(f"the thresholds of {run.folder} are kept; delete its {THRESHOLDS} to measure them anew")
    if ProcessGroup(training.device).world_size > 1 or (run.thresholds is not None and not gain_missing):
        return
    fold_of = assign_folds(samples, normal, folds, run.config.seed) if folds else None
    if fold_of is None:
        if gain_missing:
            logger.info("what starting from a run gains was not measured: give --threshold-folds 4")
        return

    config = training.config.model_copy(update={"seed": run.config.seed, "recipe": run.config.recipe})
    own = replace(training, config=config)
    trained = dict(held_out_videos(samples, fold_of, partial(train_part, own)))
    if run.thresholds is None:
        save_thresholds(run, list(trained.values()))
    if start is not None and gain_missing:
        prior = dict(held_out_videos(samples, fold_of, partial(train_part, replace(own, start=None))))
        started = {sample.video: hold_out(_with_categories(start, run), sample) for sample in samples}
        save_gain(run, measure_gain(start, normal, started, prior, trained))


def _with_categories(start: Run, run: Run) -> Run:
    """``start`` as a run with the categories of ``run``, untrained: what starting from it gives before training."""
    detector = copy.deepcopy(run.detector)
    detector.start_from(start.detector)
    return replace(run, detector=detector.eval())


def _train_in_worker(task: tuple[Training, int, Path]) -> None:
    """One seed in a worker process, without output: the parent logged the preparation."""
    training, seed, folder = task
    with open(os.devnull, "w") as nothing, redirect_stderr(nothing):
        _train_seed(training, *prepare(training), seed, folder)


def _check_captions(detector: str, given: bool) -> None:
    reads = detector_class(detector).reads_captions
    if reads and not given:
        raise UsageError(f"{detector} reads captions beside features", "name their store with --captions")
    if given and not reads:
        raise UsageError(f"{detector} does not read captions", "leave --captions out, or train anchor-fused")


def _as_many_steps(config: TrainConfig, start: Run | None, videos: int, abnormal: int) -> TrainConfig:
    """Enough epochs for the number of steps that the start took, where its number of epochs was not changed.

    A few clips make one step an epoch, and a dozen steps leave the weights where they are.
    """
    if start is None or config.recipe.epochs != start.config.recipe.epochs:
        return config
    recipe = config.recipe

    def steps(videos: int, abnormal: int) -> int:
        is_normal = np.arange(videos) >= abnormal
        targets = np.stack([is_normal, ~is_normal], axis=1).astype(np.float32)
        batches = recipe.normal_batch, recipe.abnormal_batch
        return Sampler(targets, 0, *batches, seed=0, mixed_batch=recipe.mixed_batch).steps

    wanted = recipe.epochs * steps(start.config.videos, start.config.abnormal_videos)
    epochs = max(recipe.epochs, -(-wanted // steps(videos, abnormal)))
    return config.model_copy(update={"recipe": recipe.model_copy(update={"epochs": epochs})})


def _check_start(training: Training) -> None:
    """The start reads the same features."""
    start, store = training.start, training.data.store
    if start is not None and start.config.features_fingerprint != store.fingerprint:
        raise FeatureError(
            f"{start.folder.name} reads {start.config.encoder} features made otherwise than {store.root}",
            f"extract the videos with: kgvad extract VIDEOS --encoder {start.config.encoder}",
        )


def _check_balance(data: TrainingData, videos: int, abnormal: int) -> None:
    encoder = data.store.manifest.encoder
    logger.info(f"{videos} training videos ({abnormal} abnormal) with features of {encoder}")
    if abnormal in (0, videos):
        kind, other = ("abnormal", "normal") if abnormal else ("normal", "abnormal")
        elsewhere = sum(bool(video.labels) != bool(abnormal) for video in data.truth.videos.values())
        if elsewhere:
            remedy = f"put some of the {elsewhere} {other} videos into the training split"
        else:
            remedy = f"add {other} videos, of the same cameras if possible"
        raise FeatureError(f"all {videos} training videos of {data.dataset} are {kind}", remedy)


def _log_missing(count: Mapping[str, int]) -> None:
    missing = [name for name, number in count.items() if number == 0]
    if missing:
        logger.info(f"no training video of {', '.join(missing)}: the detector will rarely predict these categories")
