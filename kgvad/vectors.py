"""Vectors of unit length."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.floating)


def unit(vectors: NDArray[Number]) -> NDArray[Number]:
    """``vectors`` [..., d] divided by their Euclidean length along the last axis, in their own precision.

    A zero vector stays zero.
    """
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=vectors.dtype)
