"""Signals that ask a command to end: they raise an exception, so that nothing half-written stays behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Ctrl-C; a service manager, a container or `kill`; a terminal that was closed
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(BaseException):
    """One of :data:`ENDING` arrived. Not a ``KeyboardInterrupt``, which typer turns into a silent exit code.

    Attributes
    ----------
    exit_code
        As a shell reports the signal: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def ending_signals_raise() -> Iterator[None]:
    """Let each of :data:`ENDING` raise :class:`Interrupted` in the block; one that is ignored stays ignored."""
    before = {}
    for number in (getattr(signal, name) for name in ENDING if hasattr(signal, name)):
        with suppress(ValueError):  # not the main thread
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
