"""Evidence from features that share a space with the texts of an anchor bank, such as those of BLIP and CLIP.

Images and texts lie in two separate cones: all their cosines are alike (.18 to .27 for CLIP), and only the differences
say something. So the unit of similarity is taken from the video: the standard deviation of the cosines over the
concepts, mean over the snippets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import logsumexp

from kgvad.anchors.bank import AnchorBank


@dataclass(frozen=True)
class JointEvidence:
    """Evidence of the T snippets of one video.

    Attributes
    ----------
    log_odds
        Of an anomaly, float64 [T]; the median is 0.
    alignment
        Similarity to each category, float32 [T, C].
    """

    log_odds: NDArray[np.float64]
    alignment: NDArray[np.float32]


def joint_evidence(concepts: NDArray[np.float32], bank: AnchorBank, window: int, spread: float) -> JointEvidence:
    """Evidence from the cosines of a video's snippets with the concepts of ``bank``.

    Parameters
    ----------
    concepts
        Cosine similarity to each concept, [T, P].
    window
        Snippets that the margin between the abnormal categories and Normal is averaged over.
    spread
        Units over which the log-odds rise by one. The unit is the robust standard deviation of the margin over the
        video plus :func:`unit_of_similarity`, below which a rise says nothing.
    """
    unit = unit_of_similarity(concepts)
    alignment = category_similarity(concepts, bank, unit)
    abnormal = np.delete(alignment, bank.normal, axis=1).astype(np.float64)
    margin = unit * logsumexp(abnormal / unit, axis=1) - alignment[:, bank.normal]
    margin = uniform_filter1d(margin, min(window, len(margin)), mode="nearest")
    rise = margin - np.median(margin)
    return JointEvidence(rise / (spread * (1.4826 * np.median(np.abs(rise)) + unit)), alignment)


def unit_of_similarity(concepts: NDArray[np.floating]) -> float:
    """Standard deviation of cosines [T, P] over the concepts, mean over the snippets."""
    return max(float(concepts.std(axis=1, dtype=np.float64).mean()), 1e-6)


def category_similarity(concepts: NDArray[np.float32], bank: AnchorBank, temperature: float) -> NDArray[np.float32]:
    """Soft maximum over the concepts of each category, float32 [T, C]: ``t log mean exp(K / t)``."""
    columns = []
    for index in range(len(bank.categories)):
        own = concepts[:, bank.concept_category == index] / temperature
        columns.append(temperature * (logsumexp(own, axis=1) - np.log(own.shape[1])))
    return np.stack(columns, axis=1).astype(np.float32)
