"""TensorBoard: the metrics of every epoch as curves."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.detector.training.callbacks import Callback, TrainingState
from kgvad.errors import KgvadError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in the folder of a run


class TensorBoardLogger(Callback):
    """Writes event files into the folder of a run.

    They are rewritten from the history when training starts, so a resumed run has every epoch once.

    Raises
    ------
    KgvadError
        TensorBoard is not installed.
    """

    def __init__(self, run: Path) -> None:
        if find_spec("tensorboard") is None:
            raise KgvadError("--tensorboard needs the package tensorboard", 'pip install "kgvad[tensorboard]"')
        self._folder = run / FOLDER
        self._writer: SummaryWriter | None = None
        self._written = 0  # epochs

    def on_start(self, state: TrainingState) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(self._folder, purge_step=1)  # an open TensorBoard forgets the old steps
        self.on_epoch_end(state)

    def on_epoch_end(self, state: TrainingState) -> None:
        assert self._writer is not None
        for epoch, record in enumerate(state.history[self._written :], self._written + 1):
            for name, value in record.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, epoch)
        self._written = len(state.history)
        self._writer.flush()

    def on_end(self, state: TrainingState) -> None:
        if self._writer is not None:
            self._writer.close()
