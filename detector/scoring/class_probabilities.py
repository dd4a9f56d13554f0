"""Class probabilities of snippets, from anomaly scores and category logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError

RULES = ("softmax", "dsanet")


@dataclass(frozen=True)
class ClassRule:
    """How class probabilities are computed.

    Attributes
    ----------
    name
        ``softmax``: softmax(alignment / temperature) with Normal among the classes; the anomaly score is not used.
        ``dsanet`` (DSANet 2026, inference): p = sigmoid(logit(score) / temperature) is divided among the abnormal
        categories by softmax(alignment / temperature) without Normal; Normal has 1 - p.
    temperature
        Larger values give flatter probabilities. The authors of DSANet use 5 on UCF-Crime and 1 on XD-Violence.

    Raises
    ------
    UsageError
        The rule is unknown, or the temperature is not a positive number.
    """

    name: str = "softmax"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise UsageError(f"unknown rule of class probabilities {self.name!r}", f"use {' or '.join(RULES)}")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"--temperature {self.temperature:g} is not a positive number", "use a number above 0")

    def probabilities(
        self, scores: NDArray[np.floating], alignment: NDArray[np.floating], normal: int
    ) -> NDArray[np.float64]:
        """Probability of each class in each snippet, float64 [T, C]; every row sums to 1.

        Parameters
        ----------
        scores
            Anomaly scores [T], 0..1.
        alignment
            Category logits [T, C].
        normal
            Index of Normal.
        """
        from scipy.special import expit, logit, softmax

        logits = alignment.astype(np.float64) / self.temperature
        if self.name == "softmax":
            return np.asarray(softmax(logits, axis=1))
        abnormal = expit(logit(scores.astype(np.float64)) / self.temperature)
        logits[:, normal] = -np.inf
        found = abnormal[:, None] * softmax(logits, axis=1)
        found[:, normal] = 1 - abnormal
        return np.asarray(found)
