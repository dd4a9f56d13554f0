"""Checkpoints: enough state to resume a training bit for bit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from kgvad.detector.api import Detector
from kgvad.detector.run import RESUME, RunConfig
from kgvad.detector.training.callbacks import Callback, TrainingState, from_lines, to_lines
from kgvad.errors import RunError, one_line
from kgvad.files import DAMAGED, replacing


class Checkpoint(Callback):
    """Saves after the first epoch, and then so rarely that saving takes at most a tenth of the time.

    Random numbers of an epoch depend on (seed, epoch) alone, so parameters, optimiser state and history suffice.
    """

    def __init__(self, folder: Path, config: RunConfig, optimiser: torch.optim.Optimizer) -> None:
        self._path, self._config, self._optimiser = folder / RESUME, config, optimiser
        self._next_s = 0.0

    def on_epoch_end(self, state: TrainingState) -> None:
        started = time.monotonic()
        if started < self._next_s:
            return
        tensors = {f"model.{name}": value for name, value in parameters_of(state.detector).items()}
        tensors |= {f"best.{name}": value for name, value in state.best.items()}
        for number, moments in self._optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimiser.{number}.{name}"] = value.detach().cpu().contiguous()
        metadata = {"config": self._config.model_dump_json(), "history": to_lines(state.history)}
        write_tensors(self._path, tensors, metadata)
        ended = time.monotonic()
        self._next_s = ended + 10 * (ended - started)


def resume(folder: Path, config: RunConfig, state: TrainingState, optimiser: torch.optim.Optimizer) -> None:
    """Load the checkpoint of ``folder`` into ``state`` and ``optimiser``; nothing happens where there is none.

    Raises
    ------
    RunError
        The checkpoint is damaged or of other settings.
    """
    path = folder / RESUME
    if not path.is_file():
        return
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        if RunConfig.model_validate_json(metadata["config"]).differences(config):
            raise ValueError("it was made with other settings")
        state.detector.load_state_dict(_with_prefix(tensors, "model."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, "optimiser.").items():
            number, _, field = name.partition(".")
            moments.setdefault(int(number), {})[field] = value
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        state.best = _with_prefix(tensors, "best.")
        state.history = from_lines(metadata["history"])
    except DAMAGED as error:
        raise RunError(f"{path} cannot be used: {one_line(error)[:160]}", "delete it to train this run anew") from error


def parameters_of(detector: Detector) -> dict[str, Tensor]:
    """State dict on the CPU, contiguous and independent of later steps where they move it."""
    return {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically."""
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary, dict(metadata))


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
