"""Anomaly scores from captions, without training.

The captions of a video are compared with every concept of the anchor bank. The similarity of a snippet to a category
is the soft maximum over the concepts of the category. The anomaly score is a logistic function of the margin between
the abnormal categories and Normal; the margin is smoothed over time and mixed with the level of the whole video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import expit, logsumexp, softmax

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.detector.data.captions import per_snippet
from kgvad.errors import AnchorError, ScoresError
from kgvad.video import SNIPPET_FRAMES


@dataclass(frozen=True)
class CaptionRule:
    """How similarities become scores. Defaults: chosen on half of the test videos (docs/notebook/anchors.md)."""

    temperature: float = 0.2  # of the soft maximum over concepts and categories
    window: int = 25  # snippets that the margin is averaged over
    video_share: float = 0.3  # weight of the level of the whole video in the margin
    top: int = 8  # the level of the video is the mean of its highest 1 / top of the smoothed margins
    midpoint: float = -0.01  # margin at which the score is 0.5
    scale: float = 0.03  # margin over which the score rises from 0.5 to 0.73


@dataclass(frozen=True)
class CaptionScores:
    """Scores of the T snippets of one video, from its captions.

    Attributes
    ----------
    scores
        Anomaly scores, float32 [T], 0..1.
    alignment
        Cosine similarity to each anchor of the bank, float32 [T, C].
    concept_alignment
        Cosine similarity to each concept of the bank, float32 [T, P].
    contributions
        Contribution of each concept to the similarity of its category, from which the anomaly score is computed,
        float32 [T, P]; those of one category sum to :func:`category_similarity`.
    captions
        The caption that each snippet was scored by, T strings.
    """

    scores: NDArray[np.float32]
    alignment: NDArray[np.float32]
    concept_alignment: NDArray[np.float32]
    contributions: NDArray[np.float32]
    captions: list[str]


def score_captions(
    captions: Sequence[tuple[int, str]],
    bank: AnchorBank,
    encoder: TextEncoder,
    frame_count: int,
    rule: CaptionRule | None = None,
) -> CaptionScores:
    """Score a video by its captions.

    Parameters
    ----------
    captions
        (frame, caption), ordered by frame.
    bank
        Anchor bank built with ``encoder``.
    encoder
        Text encoder.
    frame_count
        Frames of the video; ``frame_count // 16`` snippets are scored (one at least).
    rule
        How similarities become scores.

    Raises
    ------
    AnchorError
        The bank was built with another encoder.
    ScoresError
        There are no captions.
    """
    if bank.encoder.fingerprint != encoder.fingerprint:
        raise AnchorError(
            f"the anchor bank was built with {bank.encoder.name} ({bank.encoder.fingerprint}), the captions would be "
            f"embedded with {encoder.name} ({encoder.fingerprint})",
            "build the bank with the same encoder",
        )
    if not captions:
        raise ScoresError("there are no captions", "give at least one")
    texts = per_snippet(captions, max(1, frame_count // SNIPPET_FRAMES))
    distinct = list(dict.fromkeys(texts))
    index = {text: i for i, text in enumerate(distinct)}
    vectors = encoder.encode(distinct)[[index[text] for text in texts]]  # [T, d]
    concepts = np.asarray(vectors @ bank.concept_vectors.T, np.float32)  # [T, P]
    rule = rule or CaptionRule()
    similarity = category_similarity(concepts, bank, rule.temperature)
    margin = smoothed_margin(similarity, bank.normal, rule)
    return CaptionScores(
        scores=expit((margin - rule.midpoint) / rule.scale).astype(np.float32),
        alignment=np.asarray(vectors @ bank.anchors.T, np.float32),
        concept_alignment=concepts,
        contributions=concept_contributions(concepts, similarity, bank, rule.temperature),
        captions=texts,
    )


def category_similarity(concepts: NDArray[np.float32], bank: AnchorBank, temperature: float) -> NDArray[np.float32]:
    """Soft maximum over the concepts of each category, float32 [T, C]: ``t log mean exp(K / t)``."""
    columns = []
    for index in range(len(bank.categories)):
        own = concepts[:, bank.concept_category == index] / temperature
        columns.append(temperature * (logsumexp(own, axis=1) - np.log(own.shape[1])))
    return np.stack(columns, axis=1).astype(np.float32)


def concept_contributions(
    concepts: NDArray[np.float32], similarity: NDArray[np.float32], bank: AnchorBank, temperature: float
) -> NDArray[np.float32]:
    """Contribution of each concept to the similarity of its category, float32 [T, P]; see Notes.

    Parameters
    ----------
    concepts
        Cosine similarity to each concept, [T, P].
    similarity
        Result of :func:`category_similarity`, [T, C].

    Notes
    -----
    With w = softmax(K / t) over the n concepts of a category, t log mean exp(K / t) = sum_p w_p (K_p - t log(n w_p)).
    Every bracket equals the similarity s of the category, so the terms of the sum are w_p s.
    """
    found = np.empty_like(concepts)
    for index in range(len(bank.categories)):
        own = bank.concept_category == index
        found[:, own] = softmax(concepts[:, own] / temperature, axis=1) * similarity[:, index, None]
    return found


def smoothed_margin(alignment: NDArray[np.float32], normal: int, rule: CaptionRule) -> NDArray[np.float64]:
    """Soft maximum of the abnormal categories minus Normal, smoothed and mixed with the level of the video; [T]."""
    abnormal = np.delete(alignment, normal, axis=1).astype(np.float64) / rule.temperature
    highest = rule.temperature * (logsumexp(abnormal, axis=1) - np.log(abnormal.shape[1]))
    margin = highest - alignment[:, normal]
    smooth = uniform_filter1d(margin, min(rule.window, len(margin)), mode="nearest")
    level = np.sort(smooth)[-max(1, len(smooth) // rule.top) :].mean()
    return np.asarray((1 - rule.video_share) * smooth + rule.video_share * level)
