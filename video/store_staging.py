"""Many arrays and one manifest replaced together: a kill at any moment leaves the old store or the new one.

New arrays are written to a staging folder inside the store. The new manifest is written there last; from that moment on
the change is decided, and whoever opens the store next completes it. A staging folder without a manifest is what a
killed process left behind; it counts for nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kgvad.errors import FeatureError

MANIFEST, LOCK = "manifest.json", "manifest.lock"
LOCK_TIMEOUT_S = 60.0  # a manifest is written in far less
_PREFIX = ".staging-"


@contextmanager
def lock_store(root: Path) -> Iterator[None]:
    """Hold the lock of a store; another process that writes its manifest waits."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / LOCK, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout as error:
        raise FeatureError(f"{root / LOCK} is held by another process", "end it, or try again later") from error
    except OSError as error:
        raise not_writable(root, error) from error


def not_writable(root: Path, error: OSError) -> FeatureError:
    """What to raise where the store cannot be written."""
    return FeatureError(f"cannot write {root}: {error.strerror}", "choose another --output")


def new_staging(root: Path) -> Path:
    """An empty staging folder in the store ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))


def has_decided(root: Path) -> bool:
    """Whether a change of the store was decided and not completed."""
    return any(root.glob(f"{_PREFIX}*/{MANIFEST}"))


def complete_decided(root: Path) -> None:
    """Move the arrays of decided changes into place, then their manifest; the caller holds the lock of the store."""
    for manifest in sorted(root.glob(f"{_PREFIX}*/{MANIFEST}")):
        staging = manifest.parent
        for array in sorted(staging.rglob("*.npy")):
            target = root / array.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(array, target)
        os.replace(manifest, root / MANIFEST)
        shutil.rmtree(staging, ignore_errors=True)


def discard(staging: Path) -> None:
    """Remove a staging folder whose change was not decided."""
    if not (staging / MANIFEST).exists():
        shutil.rmtree(staging, ignore_errors=True)
