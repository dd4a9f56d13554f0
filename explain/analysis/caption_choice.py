"""The caption that stands for an event: the one that says most of what the others say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_COMPARED = 40  # captions of one event, evenly spaced
RECALL = 2.5  # weight of recall against precision: a caption that covers the others beats a short one


def typical_caption(captions: Sequence[str]) -> int:
    """Index of the caption that shares most words with the others; the first of equals.

    The measure is the mean F-measure ``(1 + b) P R / (b P + R)`` with ``b`` = :data:`RECALL` over the other captions,
    of which P counts the words of the caption that the other has too, and R those of the other.

    Parameters
    ----------
    captions
        Of one event, in the order of time, at least one.
    """
    chosen = np.unique(np.linspace(0, len(captions) - 1, min(len(captions), MAX_COMPARED)).astype(int))
    bags = [Counter(re.findall(r"\w+", captions[index].lower())) for index in chosen]
    sizes = [max(1, bag.total()) for bag in bags]
    worth = [
        sum(_overlap((bag & other).total(), size, length) for other, length in zip(bags, sizes, strict=True))
        for bag, size in zip(bags, sizes, strict=True)
    ]
    return int(chosen[int(np.argmax(worth))])


def _overlap(common: int, size: int, other: int) -> float:
    precision, recall = common / size, common / other
    return (1 + RECALL) * precision * recall / (RECALL * precision + recall) if common else 0.0
