"""One training loop for every detector; an interrupted training resumes bit for bit."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kgvad.anchors.bank import AnchorBank
from kgvad.console import progress
from kgvad.detector.api import Detector, Recipe
from kgvad.detector.data.samples import Features, Sampler, TrainingSample, collate
from kgvad.detector.models.learned_anchors import load_prompt_encoder
from kgvad.detector.registry import build, detector_class
from kgvad.detector.run import (
    ANCHORS,
    CAUSAL_THRESHOLDS,
    CONFIG,
    EXEMPLARS,
    HISTORY,
    METRICS,
    MODEL,
    RESUME,
    START,
    THRESHOLDS,
    TRAINING_VIDEOS,
    VIDEOS_VERSION,
    Run,
    RunConfig,
    make_problem,
    read_config,
)
from kgvad.detector.training.callbacks import Callback, HistoryWriter, Record, TrainingState, from_lines
from kgvad.detector.training.caption_words import prompt_vectors
from kgvad.detector.training.checkpoint import Checkpoint, parameters_of, resume, write_tensors
from kgvad.detector.training.distributed import ProcessGroup
from kgvad.detector.training.early_stopping import EarlyStopping, split_videos
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.errors import RunError
from kgvad.files import is_temporary, write_json, write_text
from kgvad.locks import hold_run

if TYPE_CHECKING:
    from kgvad.anchors.transformers_encoder import TransformersEncoder

logger = logging.getLogger(__name__)

SIGMA_GREEDY = 2  # stream of random numbers; the sampler has 0 and 1
OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
STATISTICS_SNIPPETS = 50_000  # on which input statistics are computed


class Trainer:
    """Trains the detector of ``config`` and writes the run.

    Under ``accelerate launch`` the processes share the videos of every step. The gradients are those of one process,
    but each process draws its own dropout, and batch normalisation sees the videos of its process only.

    Parameters
    ----------
    samples
        Training videos.
    config
        Configuration; it is written to the folder.
    folder
        Folder of the run.
    bank
        Anchor bank; a copy is kept in the run.
    text_encoder
        Loads the bank's text encoder on a device, for a detector whose training backpropagates through it; default:
        the encoder that the bank records.
    device
        Torch device; several processes take one GPU each unless this is ``cpu``.
    overwrite
        Replace a run with other settings.
    callbacks
        Notified in the main process, after the checkpoint is written.
    """

    def __init__(
        self,
        samples: Sequence[TrainingSample],
        config: RunConfig,
        folder: Path,
        *,
        bank: AnchorBank | None = None,
        text_encoder: Callable[[str], TransformersEncoder] | None = None,
        device: str = "cpu",
        overwrite: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config, self.folder = config, folder
        self._bank, self._text_encoder, self._overwrite = bank, text_encoder, overwrite
        self._group = ProcessGroup(device)
        self._callbacks = list(callbacks) if self._group.is_main else []
        self._samples = list(samples)

    def fit(self, start: Run | None = None) -> Run:
        """Train to the end, from the last checkpoint if there is one; a finished run is returned as it is.

        Parameters
        ----------
        start
            Run whose weights the training starts from and is regularised towards; the configuration names it.

        Raises
        ------
        RunError
            The folder holds a run with other settings, another process trains it, or a loss is not finite.
        FeatureError
            Too few videos to hold some out.
        WeightsError, AnchorError
            The text encoder cannot be loaded or is not differentiable.
        """
        if not self._group.is_main:
            return self._fit(start)
        taken = RunError(f"another process trains {self.folder}", "wait for it, or name another place with --run")
        with hold_run(self.folder, taken):
            return self._fit(start)

    def _fit(self, start: Run | None) -> Run:
        group = self._group
        with group.main_process_first():
            finished = is_finished(self.folder, self.config, self._overwrite)
        if finished:
            logger.info(f"{self.folder} is trained already, with these settings")
            run = Run.load(self.folder, group.device)
            self._replay(run)
            return run
        cuda = [torch.device(group.device)] if group.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=cuda):
            self._train(start)
        group.barrier()
        return Run.load(self.folder, group.device)

    def _train(self, start: Run | None) -> None:
        config, recipe, group = self.config, self.config.recipe, self._group
        samples, early_stopping = self._samples, list[Callback]()
        if recipe.validation_share:
            samples, held_out = split_videos(samples, config.normal, recipe.validation_share, config.seed)
            early_stopping = [EarlyStopping(held_out, config.normal, recipe.patience)]
        detector = self._build(samples)
        if start is not None:
            detector.start_from(start.detector)
        optimiser = OPTIMISERS[recipe.optimiser](
            [p for p in detector.parameters() if p.requires_grad],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        state = TrainingState(detector)
        resume(self.folder, config, state, optimiser)
        writers: list[Callback] = []
        if group.is_main:
            writers = [Checkpoint(self.folder, config, optimiser), HistoryWriter(self.folder)]
            if not state.history:
                write_text(self.folder / CONFIG, config.model_dump_json(indent=1) + "\n")
                names = sorted({sample.video for sample in self._samples})
                write_json(self.folder / TRAINING_VIDEOS, {"version": VIDEOS_VERSION, "videos": names})
                if self._bank is not None:
                    self._bank.save(self.folder / ANCHORS)
        self._run_epochs(state, optimiser, samples, [*early_stopping, *writers, *self._callbacks])
        if group.is_main:
            write_tensors(self.folder / MODEL, parameters_of(detector), {})
            (self.folder / RESUME).unlink(missing_ok=True)

    def _build(self, samples: Sequence[TrainingSample]) -> Detector:
        """The detector with its initial parameters and its statistics of the training videos."""
        config, device = self.config, self._group.device
        encoder = None
        if config.needs_text_encoder and self._bank is not None:
            load = self._text_encoder or partial(load_prompt_encoder, config.detector, self._bank, None)
            with self._group.main_process_first():
                encoder = load(device)
        torch.manual_seed(config.seed)
        vectors = self._column_vectors(device)
        with self._group.main_process_first():
            prompts = prompt_vectors(config, self._bank, device)
        problem = make_problem(config, self._bank, encoder, vectors, prompts)
        detector = build(config.detector, problem, config.options).to(device)
        detector.observe_labels(torch.from_numpy(np.stack([sample.target for sample in samples])).to(device))
        videos = _subsampled((sample.features for sample in samples), len(samples), device)
        texts = [sample.captions for sample in samples if sample.captions is not None]
        captions = _subsampled(texts, len(texts), device)
        if config.recipe.standardise:
            videos = detector.fit_input("features", videos)
            captions = detector.fit_input("captions", captions) if captions else []
        detector.prepare(videos, captions)
        return detector

    def _column_vectors(self, device: str) -> Tensor | None:
        """Names of the feature columns by the bank's text encoder, where the detector relates them to the anchors."""
        config = self.config
        if self._bank is None or not config.columns or not detector_class(config.detector).reads_columns:
            return None
        from kgvad.anchors.text_encoders import load_text_encoder

        with self._group.main_process_first():
            encoder = load_text_encoder(self._bank.encoder.source, device)
        return torch.from_numpy(encoder.encode(list(config.columns)))

    def _run_epochs(
        self,
        state: TrainingState,
        optimiser: torch.optim.Optimizer,
        samples: Sequence[TrainingSample],
        callbacks: Sequence[Callback],
    ) -> None:
        config, recipe = self.config, self.config.recipe
        targets = np.stack([sample.target for sample in samples])
        sampler = Sampler(
            targets,
            config.normal,
            recipe.normal_batch,
            recipe.abnormal_batch,
            config.order_seed,
            recipe.balance_categories,
            recipe.mixed_batch,
        )
        done = len(state.history)
        if done:
            logger.info(f"resuming {self.folder} after epoch {done} of {recipe.epochs}")
        for callback in callbacks:
            callback.on_start(state)
        with progress(f"training {config.detector}", recipe.epochs) as advance:
            advance(done)
            for epoch in range(done + 1, recipe.epochs + 1):
                if self._group.broadcast_decision(state.stop):
                    break
                started = time.monotonic()
                metrics = self._run_epoch(epoch, state.detector, optimiser, sampler, samples)
                state.history.append({"epoch": epoch, **metrics, "seconds": round(time.monotonic() - started, 3)})
                for callback in callbacks:
                    callback.on_epoch_end(state)
                advance(1, f"training {config.detector} loss {metrics['loss']:.3f}")
        for callback in callbacks:
            callback.on_end(state)
        self._log_best(state)

    def _run_epoch(
        self,
        epoch: int,
        detector: Detector,
        optimiser: torch.optim.Optimizer,
        sampler: Sampler,
        samples: Sequence[TrainingSample],
    ) -> Record:
        """One epoch; the mean of every loss and the last learning rate."""
        config, recipe, group = self.config, self.config.recipe, self._group
        torch.manual_seed(int(np.random.SeedSequence([config.seed, epoch]).generate_state(1)[0]))
        random = np.random.default_rng([config.order_seed, epoch, SIGMA_GREEDY])
        detector.train()
        sums: Record = {}
        rate = 0.0
        done, steps = (epoch - 1) * sampler.steps, recipe.epochs * sampler.steps
        for step, indices in enumerate(sampler.epoch(epoch), done):
            rate = learning_rate(recipe, step, steps)
            for parameters in optimiser.param_groups:
                parameters["lr"] = rate
            batch = collate([samples[index] for index in indices], config.normal, recipe.max_length, group.device)
            if recipe.sigma_decay:
                by_distance = bool(random.uniform() < sigma(recipe, step))
                batch = dataclasses.replace(batch, select_by_distance=by_distance)
            optimiser.zero_grad(set_to_none=True)
            losses = backward(detector, batch, recipe.micro_batch, recipe.precision, group)
            self._check_finite(losses, epoch)
            if recipe.clip_norm:
                torch.nn.utils.clip_grad_norm_(detector.parameters(), recipe.clip_norm)
            optimiser.step()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
        group.broadcast_buffers(detector)
        means = {name: value / sampler.steps for name, value in sums.items()}
        return {"loss": sum(means.values()), **means, "learning_rate": rate}

    def _check_finite(self, losses: Record, epoch: int) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise RunError(
                    f"{self.config.detector}: the loss {name} is not finite in epoch {epoch}",
                    "lower the learning rate; the last checkpoint is kept",
                )

    def _log_best(self, state: TrainingState) -> None:
        if state.best:
            best = int(state.history[-1]["best_epoch"])
            auc = state.history[best - 1]["validation_auc"]
            logger.info(f"kept epoch {best} of {len(state.history)}: video AUC {auc:.3f} on the held-out videos")

    def _replay(self, run: Run) -> None:
        """Show a finished run to the callbacks."""
        path = self.folder / HISTORY
        history = from_lines(path.read_text("utf-8")) if self._callbacks and path.is_file() else []
        for callback in self._callbacks:
            state = TrainingState(run.detector, history)
            callback.on_start(state)
            callback.on_end(state)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Rate of step ``step`` (0 is the first) of ``steps``: linear warm-up, then by ``recipe.schedule``.

    ``cosine`` falls to 0 by half a cosine; ``steps`` falls to a tenth after each milestone.
    """
    warmup_steps = round(recipe.warmup * steps)
    if step < warmup_steps:
        return recipe.learning_rate * (step + 1) / warmup_steps
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if recipe.schedule == "steps":
        epochs_done = step * recipe.epochs // steps
        return float(recipe.learning_rate * 0.1 ** sum(epochs_done >= milestone for milestone in recipe.milestones))
    share = (step - warmup_steps) / max(1, steps - warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def sigma(recipe: Recipe, step: int) -> float:
    """Probability of selection by distance in step ``step`` (0 is the first): 1 decayed once before each step."""
    return float(recipe.sigma_decay ** (step + 1))


def is_finished(folder: Path, config: RunConfig, overwrite: bool) -> bool:
    """Whether the folder holds this run, trained to the end.

    With ``overwrite`` a run with other settings is removed.

    Raises
    ------
    RunError
        The folder holds something else, or a run with other settings and not ``overwrite``.
    """
    if not (folder / CONFIG).exists():
        if folder.exists() and (not folder.is_dir() or not all(map(is_temporary, folder.iterdir()))):
            raise RunError(f"{folder} exists and is not a run", "name another place with --run")
        return False
    try:
        existing: RunConfig | None = read_config(folder)
    except RunError:
        if not overwrite:
            raise
        existing = None
    differences = [] if existing is None else existing.differences(config)
    if existing is not None and not differences:
        return (folder / MODEL).is_file()
    if differences and not overwrite:
        remedy = "name another place with --run, or give --overwrite"
        if differences == ["data_fingerprint"]:
            raise RunError(f"{folder} holds a run of training videos with other names, labels or features", remedy)
        raise RunError(f"{folder} holds a run with other settings ({', '.join(differences)})", remedy)
    others = (MODEL, RESUME, HISTORY, METRICS, THRESHOLDS, CAUSAL_THRESHOLDS, START, ANCHORS)
    for name in (*others, TRAINING_VIDEOS, EXEMPLARS, CONFIG):  # the config last: a kill leaves a visible run
        (folder / name).unlink(missing_ok=True)
    return False


def _subsampled(videos: Iterable[Features], count: int, device: str) -> list[torch.Tensor]:
    """Up to ``STATISTICS_SNIPPETS`` evenly spaced snippets of ``count`` videos in all, by video."""
    each = max(1, STATISTICS_SNIPPETS // max(1, count))
    tensors = []
    for video in videos:
        step = max(1, math.ceil(len(video) / each))
        tensors.append(torch.from_numpy(np.asarray(video[::step], dtype=np.float32)).to(device))
    return tensors
