"""Data-parallel training of one run in several processes, as ``accelerate launch`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import torch
from torch import Tensor, nn


class ProcessGroup:
    """The processes of a launch; each holds the whole detector and a share of the videos of every step.

    A single process is a group of its own.

    Attributes
    ----------
    world_size, rank
        Number of processes, and index of this one.
    device
        Device of this process: as requested, or its own GPU where there are several processes.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.world_size, self.rank, self.device = 1, 0, device
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            state = PartialState(cpu=device == "cpu")
            self.world_size, self.rank, self.device = state.num_processes, state.process_index, str(state.device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, prints and logs."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            from accelerate.utils import wait_for_everyone

            wait_for_everyone()

    @contextmanager
    def main_process_output(self) -> Iterator[None]:
        """Run the block in all processes; only the main one prints."""
        if self.is_main:
            yield
            return
        with open(os.devnull, "w") as nothing, redirect_stderr(nothing), redirect_stdout(nothing):
            yield

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block in the main process, then silently in the others, which read what it wrote."""
        if not self.is_main:
            self.barrier()
        with self.main_process_output():
            yield
        if self.is_main:
            self.barrier()

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of a tensor over the processes (all-reduce)."""
        if self.world_size == 1:
            return tensor
        from accelerate.utils import reduce

        summed: Tensor = reduce(tensor.clone(), "sum")
        return summed

    def broadcast_decision(self, decision: bool) -> bool:
        """The main process's decision, so that all processes take the same branch."""
        return bool(self.sum(torch.tensor(float(decision and self.is_main), device=self.device)))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over the processes; a gradient that no process has stays ``None``."""
        counts = self.sum(torch.tensor([float(p.grad is not None) for p in parameters], device=self.device))
        used = [p for p, count in zip(parameters, counts.tolist(), strict=True) if count]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in used])
        parts = torch.split(self.sum(flat), [p.numel() for p in used])
        for parameter, part in zip(used, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Copy the main process's buffers to all; the statistics of batch normalisation differ between processes."""
        if self.world_size > 1:
            from accelerate.utils import broadcast

            for buffer in module.buffers():
                buffer.copy_(broadcast(buffer))
