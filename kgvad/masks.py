"""Masks: arrays of truth values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def true_runs(mask: ArrayLike) -> tuple[tuple[int, int], ...]:
    """Maximal runs of true (non-zero) entries of a mask [T] as [start, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(mask, bool), [False]]).astype(np.int8)))
    return tuple((int(start), int(end)) for start, end in edges.reshape(-1, 2))
