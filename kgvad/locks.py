"""One process at a time: lock files, whose lock ends with the process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kgvad.errors import KgvadError

_TRAINING = ".kgvad-training.lock"  # named like a temporary file, so that a killed training leaves a folder of a run


def hold(path: Path, taken: KgvadError) -> FileLock:
    """Lock the file ``path`` for this process until the caller releases it; its folder is made.

    Raises
    ------
    KgvadError
        ``taken``: another process holds the lock.
    OSError
        The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise taken from None
    return lock


@contextmanager
def hold_run(folder: Path, taken: KgvadError) -> Iterator[None]:
    """Hold the folder of a run while it is trained; nothing of the lock stays.

    A folder that cannot be written or locked is not held: a finished run on a read-only disk can still be read.
    """
    path = folder / _TRAINING
    try:
        lock = hold(path, taken)
    except (OSError, NotImplementedError):  # the latter: a file system without locks
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # only where nothing was written
