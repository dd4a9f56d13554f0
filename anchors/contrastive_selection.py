"""Contrastive selection: of a category's concepts, those that separate it from what it is confused with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.pooling import unit

ALWAYS = ("label",)  # a category never loses its name


@dataclass(frozen=True)
class Decision:
    """Why one concept was kept or dropped."""

    index: int  # row of the concept
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
    alike: float = 0.9,
) -> list[Decision]:
    """Choose concepts greedily, the most telling first; the same input gives the same choice.

    A concept is kept if it is nearer to its own category's centre than to every rival's by ``margin``, and less than
    ``alike`` similar to one that was kept. Centres leave the concept itself out, so none votes for itself.

    Parameters
    ----------
    vectors
        Unit vectors of all concepts, float32 [P, d].
    category
        Index of each concept's category, int64 [P].
    relations
        Relation of each concept; labels are always kept.
    rivals
        For each category, the categories it is confused with; none means all others.
    margin
        Least difference of the two cosines.
    alike
        Cosine above which two concepts of a category say the same.

    Returns
    -------
    list of Decision
        One for each concept, in the order of the rows.
    """
    count = int(category.max()) + 1 if len(category) else 0
    sums = np.stack([vectors[category == c].sum(0) for c in range(count)])
    centres = unit(sums)
    decisions: dict[int, Decision] = {}
    for c in range(count):
        against = list(rivals[c]) or [other for other in range(count) if other != c]
        rows: list[int] = np.flatnonzero(category == c).tolist()
        measured = []
        for row in rows:
            rest = sums[c] - vectors[row]
            own = float(vectors[row] @ unit(rest)) if len(rows) > 1 else 1.0
            far = centres[against] @ vectors[row]
            measured.append((own - float(far.max()), own, float(far.max()), against[int(far.argmax())], row))
        kept: list[int] = []
        # labels first, then the most telling; ties by row
        for gain, own, rival, by, row in sorted(measured, key=lambda m: (relations[m[4]] not in ALWAYS, -m[0], m[4])):
            twin = max((float(vectors[row] @ vectors[other]) for other in kept), default=-1.0)
            if relations[row] in ALWAYS:
                keep, reason = True, "the category's name"
            elif gain < margin:
                keep, reason = False, f"nearer to another category by {-gain:.2f}"
            elif twin >= alike:
                keep, reason = False, f"says what another concept says (cosine {twin:.2f})"
            else:
                keep, reason = True, f"nearer to its own category by {gain:.2f}"
            if keep:
                kept.append(row)
            decisions[row] = Decision(row, keep, own, rival, by, reason)
    return [decisions[row] for row in range(len(vectors))]
