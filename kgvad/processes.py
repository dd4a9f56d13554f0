"""Worker processes that import nothing from the working folder and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import util
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_lock = threading.Lock()
# Python puts the working folder first on the path of `python -c`, which is how multiprocessing starts a process.
# The child then takes over its parent's path, so nothing is lost by starting it without.
_ISOLATED = "-P" if sys.version_info >= (3, 11) else "-I"


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  multiprocessing's name
        with _isolated():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process


def worker_context() -> SpawnContext:
    """Context of fresh processes (torch's threads do not outlive a fork) that start without the working folder.

    What runs in them calls :func:`serve_parent` first.
    """
    if os.name == "posix":  # locks start the resource tracker, before any process of the context is started
        from multiprocessing import resource_tracker

        with _isolated():
            resource_tracker.ensure_running()
    return _Context()


@contextmanager
def _isolated() -> Iterator[None]:
    """Start the processes of the block, and the tracker that Python starts beside them, with the isolating option."""
    module: Any = util
    with _lock:
        before = module._args_from_interpreter_flags
        module._args_from_interpreter_flags = lambda: [*before(), _ISOLATED]
        try:
            yield
        finally:
            module._args_from_interpreter_flags = before


@contextmanager
def workers_end_with_errors() -> Iterator[None]:
    """Terminate the processes of :func:`worker_context` that the block starts when it raises or is interrupted.

    A pool alone finishes first what it runs, which takes minutes where that is a long video.
    """
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            if isinstance(child, _Process) and child not in before:
                child.terminate()
        raise


def serve_parent() -> None:
    """Make this worker end when its parent is gone, however that ended, and leave Ctrl-C to the parent.

    Where the parent terminates it, it raises ``SystemExit``, so that its temporary files go.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)  # every file is written to a temporary name, so nothing can be left half

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
