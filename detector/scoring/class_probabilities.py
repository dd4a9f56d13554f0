"""Class probabilities of rows: how an anomaly score and category logits become shares that sum to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError

Floats = NDArray[np.float64]
RULES = ("softmax", "dsanet")


def softmax(logits: Floats) -> Floats:
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class ClassRule:
    """How class probabilities are made.

    Attributes
    ----------
    name
        ``softmax``: softmax(alignment / temperature), Normal among the classes; the anomaly score has no say.
        ``dsanet`` (DSANet 2026, inference): p = sigmoid(logit(score) / temperature) is shared out among the abnormal
        categories by softmax(alignment / temperature) without Normal, and Normal has the rest, 1 - p.
    temperature
        Larger is flatter. DSANet's authors: 5 on UCF-Crime, 1 on XD-Violence.

    Raises
    ------
    UsageError
        The rule is unknown, or the temperature is not a positive number.
    """

    name: str = "softmax"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise UsageError(f"--classes {self.name!r} is not a rule", f"use {' or '.join(RULES)}")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"--temperature {self.temperature:g} makes no probabilities", "give a number above 0")

    def probabilities(self, scores: NDArray[np.floating], alignment: NDArray[np.floating], normal: int) -> Floats:
        """Probability of each class in each row, float64 [T, C]; every row sums to one.

        Parameters
        ----------
        scores
            [T], anomaly scores, 0..1.
        alignment
            [T, C], category logits.
        normal
            Index of Normal.
        """
        logits = alignment.astype(np.float64) / self.temperature
        if self.name == "softmax":
            return softmax(logits)
        with np.errstate(divide="ignore", over="ignore"):  # a score of 0 or 1 has an infinite logit, and stays
            odds = np.log(scores.astype(np.float64)) - np.log1p(-scores.astype(np.float64))
            abnormal = 1 / (1 + np.exp(-odds / self.temperature))
        logits[:, normal] = -np.inf
        found = abnormal[:, None] * softmax(logits)
        found[:, normal] = 1 - abnormal
        return found
