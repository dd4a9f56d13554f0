"""Work done side by side in processes of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch

from kgvad.errors import KgvadError, RunError
from kgvad.processes import serve_parent, worker_context

T = TypeVar("T")


def side_by_side(work: Callable[[T], None], tasks: Sequence[T], jobs: int) -> Iterator[T]:
    """Call ``work`` on every task, ``jobs`` at once, and yield the tasks in their order as they are done.

    The processors are shared out among the processes. When one fails, or this generator is closed or interrupted,
    the others are ended; so are all when this process is killed. ``work`` and the tasks must pickle.

    Raises
    ------
    KgvadError
        What ``work`` raised.
    RunError
        A process was killed, or failed in another way, which it has told on stderr.
    """
    context = worker_context()
    threads = max(1, torch.get_num_threads() // jobs)
    waiting = list(range(len(tasks)))
    running: dict[int, tuple[BaseProcess, Connection]] = {}
    done: set[int] = set()
    following = 0
    try:
        while following < len(tasks):
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
            while following in done:
                yield tasks[following]
                following += 1
    finally:
        for child, _ in running.values():
            child.terminate()
        for child, _ in running.values():
            child.join()


def _check(process: BaseProcess, ours: Connection) -> None:
    """Raise what the process ended with, if it did not end well."""
    if process.exitcode == 0:
        return
    try:
        error = ours.recv()
    except EOFError:
        raise RunError(
            f"a process ended with code {process.exitcode}",
            "give the same command again to go on; fewer --jobs need less memory",
        ) from None
    assert isinstance(error, KgvadError)
    raise error


def _work(work: Callable[[T], None], task: T, threads: int, report: Connection) -> None:
    serve_parent()
    torch.set_num_threads(threads)
    try:
        work(task)
    except KgvadError as error:
        report.send(error)
        raise SystemExit(1) from None
