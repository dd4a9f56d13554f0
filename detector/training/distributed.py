"""Processes that train one run together, as ``accelerate launch`` starts them; a single process is a team too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch import Tensor, nn


class Team:
    """The processes of a launch; each holds the whole detector and a share of the videos of every step.

    Attributes
    ----------
    size, number
        How many processes there are, and which this one is; number 0 writes the files.
    device
        Where this process computes: as asked for, or its own GPU where there are several processes.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.size, self.number, self.device = 1, 0, device
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            state = PartialState(cpu=device == "cpu")
            self.size, self.number, self.device = state.num_processes, state.process_index, str(state.device)

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.number == 0

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            from accelerate.utils import wait_for_everyone

            wait_for_everyone()

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Run the block in all processes; only the first prints."""
        if self.first:
            yield
            return
        with open(os.devnull, "w") as nothing, redirect_stderr(nothing), redirect_stdout(nothing):
            yield

    @contextmanager
    def after_first(self) -> Iterator[None]:
        """Run the block in the first process and then, silently, in the others, which find what it wrote."""
        if not self.first:
            self.wait()
        with self.speaking():
            yield
        if self.first:
            self.wait()

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        if self.size == 1:
            return tensor
        from accelerate.utils import reduce

        summed: Tensor = reduce(tensor.clone(), "sum")
        return summed

    def decided(self, answer: bool) -> bool:
        """The first process's answer, so that all go the same way."""
        return bool(self.total(torch.tensor(float(answer and self.first), device=self.device)))

    def total_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over the processes; one that no process has stays ``None``."""
        have = self.total(torch.tensor([float(p.grad is not None) for p in parameters], device=self.device))
        used = [p for p, count in zip(parameters, have.tolist(), strict=True) if count]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in used])
        parts = torch.split(self.total(flat), [p.numel() for p in used])
        for parameter, part in zip(used, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def share_buffers(self, module: nn.Module) -> None:
        """Give all processes the first one's buffers: what batch normalisation gathers differs with the videos."""
        if self.size > 1:
            from accelerate.utils import broadcast

            for buffer in module.buffers():
                buffer.copy_(broadcast(buffer))
