"""Progress, notes and warnings. All of it goes to stderr; stdout belongs to results."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def note(message: str) -> None:
    """One line of information on stderr."""
    print(f"kgvad: {message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """One line of warning on stderr."""
    note(f"warning: {message}")


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


@contextmanager
def transfer_progress(description: str) -> Iterator[Transferred]:
    """A progress bar in bytes on stderr while the block runs; silent where stderr is not a terminal."""
    with _progress(transfer=True) as bar:
        task = bar.add_task(description, total=None)

        def transferred(completed: int, total: int | None) -> None:
            bar.update(task, completed=completed, total=total)

        yield transferred


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Advance]:
    """A progress bar on stderr while the block runs; silent where stderr is not a terminal."""
    with _progress() as bar:
        task = bar.add_task(description, total=total)

        def advance(units: float = 1, description: str | None = None) -> None:
            if description is None:
                bar.update(task, advance=units)
            else:
                bar.update(task, advance=units, description=description)

        yield advance


def track(items: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Iterate with a progress bar; ``total`` defaults to ``len(items)`` where it has one."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()
