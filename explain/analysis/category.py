"""Whether the category of an event is named: the one place that decides, for every format and the index of a folder."""

from __future__ import annotations

from collections.abc import Sequence

from kgvad.detector.scoring.scores import Origin
from kgvad.explain.report import CategoryShare

CATEGORY_MARGIN = 0.1
"""Lead over the runner-up at which a category is named, where the run has not measured its own: without a lead of ten
points the first two change places with small changes of the video."""


def category_margin(origin: Origin) -> float:
    """Lead over the runner-up, in probability, at which scores of this origin name a category."""
    measured = None if origin.thresholds is None else origin.thresholds.category_margin
    return CATEGORY_MARGIN if measured is None else measured


def is_clear(categories: Sequence[CategoryShare], margin: float) -> bool | None:
    """Whether the first category leads by ``margin``; ``None`` where there is none. A single one has no rival."""
    if not categories:
        return None
    return len(categories) == 1 or categories[0].probability - categories[1].probability >= margin - 1e-9
