"""Tasks in parallel worker processes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch

from kgvad.errors import KgvadError, RunError, unexpected
from kgvad.processes import serve_parent, worker_context

T = TypeVar("T")


def run_in_parallel(work: Callable[[T], None], tasks: Sequence[T], jobs: int) -> Iterator[T]:
    """Call ``work`` on every task in ``jobs`` parallel processes; yield the finished tasks in order.

    The threads of torch are divided among the processes. When one fails, or this generator is closed or interrupted,
    the others are terminated; all end when this process is killed. ``work`` and the tasks must be picklable.

    Raises
    ------
    KgvadError
        Raised by ``work``, with the traceback of the process as its cause.
    RunError
        ``work`` raised something else, or a process was killed.
    """
    context = worker_context()
    threads = max(1, torch.get_num_threads() // jobs)
    waiting = list(range(len(tasks)))
    running: dict[int, tuple[BaseProcess, Connection]] = {}
    done: set[int] = set()
    upcoming = 0
    try:
        while upcoming < len(tasks):
            while waiting and len(running) < jobs:
                number = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=_work, args=(work, tasks[number], threads, theirs), daemon=True
                )
                process.start()
                theirs.close()
                running[number] = process, ours
            wait([process.sentinel for process, _ in running.values()])
            for number, (child, ours) in list(running.items()):
                if child.exitcode is not None:
                    del running[number]
                    _check(child, ours)
                    done.add(number)
            while upcoming in done:
                yield tasks[upcoming]
                upcoming += 1
    finally:
        for child, _ in running.values():
            child.terminate()
        for child, _ in running.values():
            child.join()


def _check(process: BaseProcess, ours: Connection) -> None:
    """Raise the error that the process ended with, if any."""
    if process.exitcode == 0:
        return
    try:
        error, trace = ours.recv()
    except EOFError:
        raise RunError(
            f"a process ended with code {process.exitcode}",
            "repeat the command to resume; fewer --jobs need less memory",
        ) from None
    assert isinstance(error, KgvadError)
    raise error from RuntimeError(f"in a worker process:\n{trace}")


def _work(work: Callable[[T], None], task: T, threads: int, report: Connection) -> None:
    serve_parent()
    torch.set_num_threads(threads)
    try:
        work(task)
    except Exception as error:
        known = error if isinstance(error, KgvadError) else RunError(unexpected(error))
        report.send((known, traceback.format_exc()))
        raise SystemExit(1) from None
