"""Many arrays and one manifest replaced together: a kill at any moment leaves the old store or the new one.

New arrays are written to a staging folder inside the store. The new manifest is written there last; from that moment on
the change is decided, and whoever opens the store next completes it. A staging folder without a manifest is what a
killed process left behind; it counts for nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MANIFEST = "manifest.json"
_PREFIX = ".staging-"


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
