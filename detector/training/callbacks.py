"""What is notified while a detector trains: the small protocol of callbacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from kgvad.detector.api import Detector
from kgvad.detector.run import HISTORY
from kgvad.files import write_text

Record = dict[str, float]  # metrics of an epoch by name, with the number of the epoch


@dataclass(eq=False)
class TrainingState:
    """State of a training, shared by the trainer and its callbacks.

    Attributes
    ----------
    detector
        In training.
    history
        One record for each finished epoch; a callback may add metrics to the last one.
    best
        Parameters of the best epoch, with early stopping; they are part of a checkpoint.
    stop
        Set by a callback to end training.
    """

    detector: Detector
    history: list[Record] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    stop: bool = False


class Callback:
    """Base of callbacks; each method does nothing unless overridden."""

    def on_start(self, state: TrainingState) -> None:
        """Before the first epoch; ``state.history`` has the finished epochs of a resumed training."""

    def on_epoch_end(self, state: TrainingState) -> None:
        """After each epoch."""

    def on_end(self, state: TrainingState) -> None:
        """After the last epoch; also for a run that was trained before."""


class HistoryWriter(Callback):
    """Writes ``history.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY

    def on_epoch_end(self, state: TrainingState) -> None:
        write_text(self._path, to_lines(state.history) + "\n")


def to_lines(history: Sequence[Record]) -> str:
    """History as JSON lines."""
    return "\n".join(json.dumps(record) for record in history)


def from_lines(text: str) -> list[Record]:
    """History from JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
