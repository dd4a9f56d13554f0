"""One training loop for every detector; an interrupted run goes on and ends bit for bit as an uninterrupted one."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kgvad.anchors.bank import AnchorBank
from kgvad.console import progress
from kgvad.detector.api import Detector, Recipe, build
from kgvad.detector.data.samples import Features, Sample, Sampler, collate
from kgvad.detector.models.learned_anchors import open_tower
from kgvad.detector.run import (
    ANCHORS,
    CONFIG,
    HISTORY,
    METRICS,
    MODEL,
    RESUME,
    Run,
    RunConfig,
    make_problem,
    read_config,
)
from kgvad.detector.training.distributed import Team
from kgvad.detector.training.early_stopping import Validation, split_videos
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.errors import RunError
from kgvad.files import DAMAGED, is_temporary, replacing, write_text

logger = logging.getLogger(__name__)


Report = Callable[[int, Mapping[str, float]], None]


def train(
    samples: Sequence[Sample],
    config: RunConfig,
    folder: Path,
    *,
    bank: AnchorBank | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    on_epoch: Report | None = None,
    text_encoder: str | None = None,
) -> Run:
    """Train the detector that ``config`` names and write the run; go on where an earlier call was interrupted.

    Under ``accelerate launch`` the processes share the videos of every step; the gradients are those of one process,
    but dropout draws anew and batch normalisation sees the videos of its process alone.

    Every epoch takes its random numbers from (seed, epoch) alone, so a checkpoint needs parameters and optimiser
    state only.

    Parameters
    ----------
    samples
        Training videos.
    config
        What to train; it is written to the folder.
    folder
        Of the run.
    bank
        Anchor bank; a copy is kept in the run.
    device
        Torch device; of several processes each takes its own GPU unless this is ``cpu``.
    overwrite
        Start anew where the folder holds a run with other settings.
    on_epoch
        Called with the epoch (1 is the first) and its mean losses after the checkpoint is safe.
    text_encoder
        Name or folder of the bank's text encoder, where the detector learns through it; default: by the bank's name.

    Raises
    ------
    RunError
        The folder holds a run with other settings, or a loss is not a number.
    WeightsError, AnchorError
        The detector learns through the bank's text encoder, and it is not here or nothing can be sent back through it.
    """
    team = Team(device)
    device = team.device
    with team.after_first():
        finished = _finished(folder, config, overwrite)
    if finished:
        logger.info(f"{folder} is trained already, with these settings")
        return Run.load(folder, device)
    recipe = config.recipe
    validation = None
    if recipe.validation:
        samples, held = split_videos(samples, config.normal, recipe.validation, config.seed)
        validation = Validation(held, config.normal, recipe.patience)
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        with team.after_first():
            tower = open_tower(config, bank, text_encoder, device)
        torch.manual_seed(config.seed)
        detector = build(config.detector, make_problem(config, bank, tower), config.options).to(device)
        told = [sample.text for sample in samples if sample.text is not None]
        seen = [sample.features for sample in samples]
        rows, words = _statistics_rows(seen, device), _statistics_rows(told, device)
        if recipe.standardise:
            rows = detector.fit_input("features", rows)
            words = detector.fit_input("text", words) if words else []
        detector.prepare(rows, words)
        optimiser = torch.optim.AdamW(
            [p for p in detector.parameters() if p.requires_grad],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        sampler = Sampler(
            np.stack([sample.target for sample in samples]),
            config.normal,
            recipe.normal_batch,
            recipe.abnormal_batch,
            config.seed,
            recipe.balance_categories,
        )
        done = _resume(folder, config, detector, optimiser, validation)
        if done == 0 and team.first:
            write_text(folder / CONFIG, config.model_dump_json(indent=1) + "\n")
            if bank is not None:
                bank.save(folder / ANCHORS)
        if done:
            logger.info(f"going on after epoch {done} of {recipe.epochs} in {folder}")
        history = _read_history(folder, done)
        checkpoint = _Checkpoint(folder, config)
        with progress(f"training {config.detector}", recipe.epochs) as advance:
            advance(done)
            for epoch in range(done + 1, recipe.epochs + 1):
                if validation is not None and team.decided(validation.over(epoch - 1)):
                    break
                started = time.monotonic()
                losses = _epoch(detector, optimiser, sampler, samples, config, epoch, team)
                if validation is not None:
                    losses |= validation.update(detector, epoch)
                history.append(json.dumps({"epoch": epoch, **losses, "seconds": round(time.monotonic() - started, 3)}))
                if team.first:
                    checkpoint.save(detector, optimiser, epoch, history, {} if validation is None else validation.state)
                advance(1, f"training {config.detector} loss {losses['loss']:.3f}")
                if on_epoch is not None:
                    on_epoch(epoch, losses)
    if validation is not None:
        detector.load_state_dict(validation.state)
        logger.info(
            f"kept epoch {validation.epoch} of {len(history)}: video AUC {validation.auc:.3f} on the videos kept back"
        )
    if team.first:
        _write_tensors(folder / MODEL, _state(detector), {})
        write_text(folder / HISTORY, "\n".join(history) + "\n")
        (folder / RESUME).unlink(missing_ok=True)
    team.wait()
    return Run.load(folder, device)


def _cuda_devices(device: str) -> list[torch.device]:
    return [torch.device(device)] if device.startswith("cuda") else []


def _statistics_rows(videos: Sequence[Features], device: str, most: int = 50_000) -> list[Tensor]:
    """Up to ``most`` training rows, evenly over the videos and by video, for statistics."""
    each = max(1, most // max(1, len(videos)))
    rows = []
    for video in videos:
        step = max(1, math.ceil(len(video) / each))
        rows.append(torch.from_numpy(np.asarray(video[::step], dtype=np.float32)).to(device))
    return rows


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Rate of step ``step`` (0 is the first) of ``steps``: linear warm-up, then a half cosine down to 0."""
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def noise_strength(recipe: Recipe, step: int, steps: int) -> float:
    """``Batch.sigma`` of step ``step`` of ``steps``: the recipe's at first, then on a line down to 0 in the last."""
    return recipe.sigma * (1 - step / max(1, steps - 1))


def _epoch(
    detector: Detector,
    optimiser: torch.optim.Optimizer,
    sampler: Sampler,
    samples: Sequence[Sample],
    config: RunConfig,
    epoch: int,
    team: Team,
) -> dict[str, float]:
    recipe = config.recipe
    torch.manual_seed(int(np.random.SeedSequence([config.seed, epoch]).generate_state(1)[0]))
    detector.train()
    sums: dict[str, float] = {}
    rate = 0.0
    done, steps = (epoch - 1) * sampler.steps, recipe.epochs * sampler.steps
    for step, chosen in enumerate(sampler.epoch(epoch)):
        rate = learning_rate(recipe, done + step, steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = collate([samples[number] for number in chosen], config.normal, recipe.max_length, team.device)
        if recipe.sigma:
            batch = dataclasses.replace(batch, sigma=noise_strength(recipe, done + step, steps))
        optimiser.zero_grad(set_to_none=True)
        terms = backward(detector, batch, recipe.micro_batch, recipe.precision, team)
        if not all(math.isfinite(value) for value in terms.values()):
            bad = next(name for name, value in terms.items() if not math.isfinite(value))
            raise RunError(
                f"{config.detector}: the loss {bad} is not a number in epoch {epoch}",
                "lower the learning rate; the checkpoint of the epoch before is kept",
            )
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(detector.parameters(), recipe.clip_norm)
        optimiser.step()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value
    team.share_buffers(detector)
    means = {name: value / sampler.steps for name, value in sums.items()}
    return {"loss": sum(means.values()), **means, "learning_rate": rate}


def _state(detector: Detector) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}


def _write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


class _Checkpoint:
    """Saves after the first epoch and then so seldom that saving takes at most a tenth of the time."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self._folder, self._config = folder, config
        self._next = 0.0

    def save(
        self,
        detector: Detector,
        optimiser: torch.optim.Optimizer,
        epoch: int,
        history: list[str],
        best: Mapping[str, Tensor],
    ) -> None:
        started = time.monotonic()
        if started < self._next:
            return
        tensors = {f"model.{name}": value for name, value in _state(detector).items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        for number, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimiser.{number}.{name}"] = value.detach().cpu().contiguous()
        metadata = {"epoch": str(epoch), "config": self._config.model_dump_json(), "history": "\n".join(history)}
        _write_tensors(self._folder / RESUME, tensors, metadata)
        write_text(self._folder / HISTORY, "\n".join(history) + "\n")
        ended = time.monotonic()
        self._next = ended + 10 * (ended - started)


def _finished(folder: Path, config: RunConfig, overwrite: bool) -> bool:
    """Whether the folder holds this very run, trained to the end; other settings are an error or are removed."""
    if not (folder / CONFIG).exists():
        if folder.exists() and (not folder.is_dir() or not all(map(is_temporary, folder.iterdir()))):
            raise RunError(f"{folder} exists and is not a run", "name another place with --run")
        return False
    try:
        before: RunConfig | None = read_config(folder)
    except RunError:
        if not overwrite:
            raise
        before = None
    if before == config:
        return (folder / MODEL).is_file()
    if not overwrite or (before is None and not overwrite):
        assert before is not None
        differs = [name for name in RunConfig.model_fields if getattr(before, name) != getattr(config, name)]
        raise RunError(
            f"{folder} holds a run with other settings ({', '.join(differs)})",
            "name another place with --run, or give --overwrite",
        )
    for name in (MODEL, RESUME, HISTORY, METRICS, ANCHORS, CONFIG):  # the config last: a kill leaves a visible run
        (folder / name).unlink(missing_ok=True)
    return False


def _resume(
    folder: Path,
    config: RunConfig,
    detector: Detector,
    optimiser: torch.optim.Optimizer,
    validation: Validation | None,
) -> int:
    """Load the checkpoint, if there is one, into what goes on from it; the number of finished epochs."""
    path = folder / RESUME
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        if RunConfig.model_validate_json(metadata["config"]) != config:
            raise ValueError("it was made with other settings")
        detector.load_state_dict(_with_prefix(tensors, "model."))
        if validation is not None:
            history = [json.loads(line) for line in metadata["history"].split("\n")]  # what training wrote itself
            validation.restore(history, _with_prefix(tensors, "best."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, field = name.split(".", 2)
                state.setdefault(int(number), {})[field] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        return int(metadata["epoch"])
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"{path} cannot be used: {reason}", "delete it to start this run anew") from error


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _read_history(folder: Path, done: int) -> list[str]:
    """Lines of the finished epochs; the checkpoint holds them too, so a cut file loses nothing."""
    if done == 0:
        return []
    with safe_open(folder / RESUME, framework="pt") as file:
        return str((file.metadata() or {})["history"]).split("\n")
