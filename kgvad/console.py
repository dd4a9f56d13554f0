"""Progress bars and the log, both on stderr; stdout belongs to results."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, Task

T = TypeVar("T")

LINE_EVERY_S = 60.0  # between lines of progress, where stderr is not a terminal

logger = logging.getLogger(__name__)

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")  # names of files may hold them; a message is one line


class _Handler(logging.Handler):
    """Log records as lines on the current ``sys.stderr``: ``kgvad: message``, ``kgvad: warning: message``."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        try:
            line = _CONTROLS.sub(lambda found: repr(found[0])[1:-1], record.getMessage())
            print(f"kgvad: {kind}{line}", file=sys.stderr, flush=True)
        except Exception:  # as every logging handler does
            self.handleError(record)


def configure_logging(verbosity: int = 0) -> None:
    """Send the log of kgvad to stderr.

    Parameters
    ----------
    verbosity
        -1: warnings only; 0: information too; 1: debugging too.
    """
    root = logging.getLogger("kgvad")
    root.setLevel({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    if not any(isinstance(handler, _Handler) for handler in root.handlers):
        root.addHandler(_Handler())
        root.propagate = False


def count_of(number: int, noun: str) -> str:
    """``1 video``, ``2 videos``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells on stdout: aligned on a terminal, tab-separated otherwise."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Transferred(Protocol):
    """Called with the bytes transferred so far and, where it is known, their total number."""

    def __call__(self, completed: int, total: int | None) -> None: ...


class Advance(Protocol):
    """Called with a number of finished units, and optionally a new description."""

    def __call__(self, units: float = 1, description: str | None = None) -> None: ...


def _progress(*, transfer: bool = False) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if transfer else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class _Lines:
    """Progress as lines of the log, for a file or a pipe: nothing in the first minute, then a line a minute."""

    def __init__(self, *, transfer: bool = False) -> None:
        self._scale, self._unit = (1e6, " MB") if transfer else (1.0, "")
        self._last = time.monotonic()
        self._first: tuple[float, float] | None = None  # time and units of the first call: what a resumed work has

    def show(self, task: Task) -> None:
        """Log where the task is, if the last line is a minute old."""
        now, done, total = time.monotonic(), task.completed, task.total
        self._first = self._first or (now, done)
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        line = f"{task.description}: {done / self._scale:.0f}"
        if total:
            line += f" of {total / self._scale:.0f}{self._unit} ({done / total:.0%})"
            since, before = self._first
            if done > before:
                left_s = (now - since) * max(0.0, total - done) / (done - before)
                line += f", about {max(1, round(left_s / 60))} min left"
        else:
            line += self._unit
        logger.info(line)


@contextmanager
def transfer_progress(description: str) -> Iterator[Transferred]:
    """A progress bar in bytes on stderr while the block runs; a line a minute where stderr is not a terminal."""
    with _progress(transfer=True) as bar:
        task = bar.add_task(description, total=None)
        lines = _Lines(transfer=True) if bar.disable else None

        def transferred(completed: int, total: int | None) -> None:
            bar.update(task, completed=completed, total=total)
            if lines is not None:
                lines.show(bar.tasks[task])

        yield transferred


# Called with what is being done, the finished units and, where it is known, their total number.
Observer = Callable[[str, float, float | None], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Tell ``observer`` of every step of the progress bars that this thread opens in the block."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Advance]:
    """A progress bar on stderr while the block runs; a line a minute where stderr is not a terminal."""
    observer = _observer.get()
    with _progress() as bar:
        task = bar.add_task(description, total=total)
        lines = _Lines() if bar.disable else None

        def advance(units: float = 1, description: str | None = None) -> None:
            if description is None:
                bar.update(task, advance=units)
            else:
                bar.update(task, advance=units, description=description)
            state = bar.tasks[task]
            if lines is not None:
                lines.show(state)
            if observer is not None:
                observer(state.description, state.completed, state.total)

        yield advance


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Iterate with a progress bar; ``total`` defaults to ``len(items)`` where it has one."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()
