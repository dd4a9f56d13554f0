"""TensorBoard: what runs write to ``history.jsonl`` as curves, while they are trained."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.detector.run import HISTORY
from kgvad.errors import KgvadError
from kgvad.files import DAMAGED

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in the folder of a run


class Mirror:
    """Event files of one run, made from its history.

    The history is the truth: the first look writes all of it anew, so a run that goes on after an interrupt has every
    epoch once, and a history that begins anew replaces the curves.
    """

    def __init__(self, run: Path) -> None:
        self._history, self._folder = run / HISTORY, run / FOLDER
        self._written: list[str] = []
        self._writer: SummaryWriter | None = None

    def update(self) -> None:
        """Write the epochs that are new in the history; nothing where there is none yet, or a damaged one."""
        try:
            lines = self._history.read_text("utf-8").splitlines()
            epochs = [json.loads(line) for line in lines]
        except DAMAGED:  # training writes it whole with its next checkpoint
            return
        if self._writer is None or lines[: len(self._written)] != self._written:
            self._writer = self._begin()
            self._written = []
        for values in epochs[len(self._written) :]:
            epoch = values.pop("epoch")
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
        self._written = lines
        self._writer.flush()

    def close(self) -> None:
        """The last epochs, and the end of the file."""
        self.update()
        if self._writer is not None:
            self._writer.close()

    def _begin(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is not None:
            self._writer.close()
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        return SummaryWriter(self._folder, purge_step=1)  # a TensorBoard that shows the old file forgets its steps


@contextmanager
def mirrored(runs: Sequence[Path], every_s: float = 2.0) -> Iterator[None]:
    """Keep the event files of ``runs`` up to date for as long as the block lasts, and a last time after it.

    Raises
    ------
    KgvadError
        TensorBoard is not installed; before the block.
    """
    if find_spec("tensorboard") is None:
        raise KgvadError("--tensorboard needs the package tensorboard", 'pip install "kgvad[tensorboard]"')
    mirrors = [Mirror(run) for run in runs]
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(every_s):
            for mirror in mirrors:
                mirror.update()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for mirror in mirrors:
            mirror.close()
