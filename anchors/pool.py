"""From the vectors of a category's concepts to its anchor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError

Pooling = Callable[[NDArray[np.float32], NDArray[np.float32], list[str]], NDArray[np.float32]]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (or the one vector) divided by their length; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)


def mean(vectors: NDArray[np.float32], weights: NDArray[np.float32], relations: list[str]) -> NDArray[np.float32]:
    """Normalise, mean, normalise (the prompt ensemble of Radford et al. 2021)."""
    return unit(vectors.mean(0))


def weighted(vectors: NDArray[np.float32], weights: NDArray[np.float32], relations: list[str]) -> NDArray[np.float32]:
    """Mean weighted by what the graph says of each concept (:attr:`kgvad.kg.graph.Concept.weight`)."""
    return unit(weights @ vectors)


def label(vectors: NDArray[np.float32], weights: NDArray[np.float32], relations: list[str]) -> NDArray[np.float32]:
    """Labels only, where the category has one: the baseline that knows no graph."""
    own = [i for i, relation in enumerate(relations) if relation == "label"]
    return mean(vectors[own] if own else vectors, weights, relations)


POOLINGS: dict[str, Pooling] = {"weighted": weighted, "mean": mean, "label": label}
DEFAULT_POOLING = "weighted"


def pooling(name: str) -> Pooling:
    """The pooling called ``name``.

    Every pooling takes the unit vectors of a category's concepts, float32 [P, d], their weights, float32 [P], and their
    relations, and gives a unit vector, float32 [d].
    """
    if name not in POOLINGS:
        raise UsageError(f"no pooling is called {name!r}", f"known: {', '.join(POOLINGS)}")
    return POOLINGS[name]
