"""Contrastive selection: the concepts that separate a category from those it is confused with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgvad.vectors import unit

ALWAYS = ("label",)  # relations that are always kept


@dataclass(frozen=True)
class Decision:
    """Why one concept was kept or dropped."""

    index: int  # of the concept
    kept: bool
    own: float  # cosine with its own category's centre
    rival: float  # largest cosine with the centre of a category it is confused with
    rival_category: int | None
    reason: str


def select(
    vectors: NDArray[np.float32],
    category: NDArray[np.int64],
    relations: Sequence[str],
    rivals: Sequence[Sequence[int]],
    margin: float = 0.0,
    duplicate: float = 0.9,
) -> list[Decision]:
    """Choose concepts greedily by discrimination; deterministic.

    A concept is kept if it is nearer to its own category's centre than to every rival's by ``margin``, and less than
    ``duplicate`` similar to one that was kept. The centre of its own category is computed without the concept itself.

    Parameters
    ----------
    vectors
        Unit vectors of all concepts, float32 [P, d].
    category
        Index of each concept's category, int64 [P].
    relations
        Relation of each concept; labels are always kept.
    rivals
        For each category, the categories it is confused with; empty: all others.
    margin
        Smallest difference of the two cosines.
    duplicate
        Cosine from which two concepts of a category count as duplicates.

    Returns
    -------
    list of Decision
        One for each concept, in the order of ``vectors``.
    """
    count = int(category.max()) + 1 if len(category) else 0
    sums = np.stack([vectors[category == c].sum(0) for c in range(count)])
    centres = unit(sums)
    decisions: dict[int, Decision] = {}
    for c in range(count):
        against = list(rivals[c]) or [other for other in range(count) if other != c]
        own = np.flatnonzero(category == c).tolist()
        candidates = [_candidate(index, vectors, sums[c], centres, against, len(own)) for index in own]
        # labels first, then by discrimination; ties by index
        candidates.sort(key=lambda m: (relations[m.index] not in ALWAYS, m.rival - m.own, m.index))
        kept: list[int] = []
        for one in candidates:
            twin = max((float(vectors[one.index] @ vectors[other]) for other in kept), default=-1.0)
            gain = one.own - one.rival
            if relations[one.index] in ALWAYS:
                keep, reason = True, "label of the category"
            elif gain < margin:
                keep, reason = False, f"nearer to another category by {-gain:.2f}"
            elif twin >= duplicate:
                keep, reason = False, f"duplicate of another concept (cosine {twin:.2f})"
            else:
                keep, reason = True, f"nearer to its own category by {gain:.2f}"
            if keep:
                kept.append(one.index)
            decisions[one.index] = replace(one, kept=keep, reason=reason)
    return [decisions[index] for index in range(len(vectors))]


def _candidate(
    index: int,
    vectors: NDArray[np.float32],
    total: NDArray[np.float32],
    centres: NDArray[np.float32],
    against: Sequence[int],
    size: int,
) -> Decision:
    """Cosines of a concept with its own category's centre, without the concept itself, and with the nearest rival."""
    vector = vectors[index]
    own = float(vector @ unit(total - vector)) if size > 1 else 1.0
    rivals = centres[list(against)] @ vector
    return Decision(index, False, own, float(rivals.max()), against[int(rivals.argmax())], "")
