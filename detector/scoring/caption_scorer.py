"""Anomaly scores from captions, without training, as sums over the named concepts of an anchor bank.

Captions are cut into clauses. With the cosine K_kp of clause k and concept p, the share of a concept in a clause is

    s_kp = softmax_p(K_kp / temperature - log n_p),    n_p = number of concepts of Normal, or of all other categories

so that Normal and the abnormal categories together have the same prior. The evidence e_p for a concept in a caption is
the power mean of its shares over the clauses: between the mean, in which a long caption hides the one clause that
reports an event, and the maximum, in which one invented clause decides. The evidence of a snippet is the mean over its
captions, divided by the mean evidence for all concepts, Normal's included, over the video. So it is relative to the
author: captions of many varied clauses have more evidence for everything.

Over time the evidence is averaged, then drawn towards the level of the video, the more the noisier the captions are.
Every step is linear in the concepts, so the evidence for an anomaly is a sum of contributions of concepts. The
categories are sums over concepts, too: see :func:`anchor_coefficients`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls
from scipy.sparse import csr_array
from scipy.special import expit, softmax

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.detector.scoring.clauses import clauses, snippet_captions
from kgvad.errors import AnchorError, ScoresError
from kgvad.video import SNIPPET_FRAMES

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CaptionRule:
    """How similarities become scores. How the defaults were chosen: docs/notebook/captions.md."""

    temperature: float = 0.1  # of the softmax over concepts, in cosines
    power: float = 3.0  # of the power mean over the clauses of a caption: 1 is the mean, infinity the maximum
    windows: int = 10  # the moving average covers one in so many snippets of the video
    shortest: int = 3  # snippets that it covers at least
    longest: int = 25  # snippets that it covers at most
    top: int = 8  # the level of the video is the mean of its highest 1 / top of the moving average
    midpoint: float = 0.46  # evidence at which the score is 0.5
    spread: float = 0.15  # natural logarithm of the evidence over which the score rises from 0.5 to 0.73

    def window(self, snippets: int) -> int:
        """Number of snippets that the moving average covers in a video of this length."""
        return min(snippets, self.longest, max(self.shortest, snippets // self.windows))


@dataclass(frozen=True)
class CaptionScores:
    """Scores of the T snippets of one video, from its captions.

    Attributes
    ----------
    scores
        Anomaly scores, float32 [T], 0..1; they rise with the sum of the contributions.
    alignment
        Cosine similarity to each anchor of the bank, mean over the clauses, float32 [T, C].
    concept_alignment
        Cosine similarity to each concept of the bank, mean over the clauses, float32 [T, P].
    contributions
        Contribution of each concept to the evidence for an anomaly, float32 [T, P]; 0 for the concepts of Normal.
    """

    scores: Floats
    alignment: Floats
    concept_alignment: Floats
    contributions: Floats


def score_captions(
    captions: Sequence[tuple[int, str]],
    bank: AnchorBank,
    encoder: TextEncoder,
    frame_count: int,
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
    of_snippet = snippet_captions(captions, max(1, frame_count // SNIPPET_FRAMES))
    pieces = {caption: clauses(caption) for own in of_snippet for caption in own}
    texts = list(dict.fromkeys(text for own in pieces.values() for text in own))
    caption_mean, snippet_mean = _means(list(pieces.values()), texts), _means(of_snippet, list(pieces))
    vectors = encoder.encode(texts)
    return score_clauses(vectors, caption_mean, snippet_mean, bank, CaptionRule())


def score_clauses(
    vectors: Floats, caption_mean: csr_array, snippet_mean: csr_array, bank: AnchorBank, rule: CaptionRule
) -> CaptionScores:
    """Score a video by the vectors of its clauses.

    Parameters
    ----------
    vectors
        Unit vectors of the K distinct clauses, [K, d].
    caption_mean
        Mean over the clauses of each of the N distinct captions, [N, K].
    snippet_mean
        Mean over the captions of each snippet, [T, N].
    """
    cosine = np.asarray(vectors @ bank.concept_vectors.T, np.float32)  # [K, P]
    share = concept_shares(cosine, bank.concept_category == bank.normal, rule.temperature)
    evidence = snippet_mean @ (caption_mean @ share**rule.power) ** (1 / rule.power)  # [T, P]
    contributions = contributions_over_time(evidence, bank.concept_category != bank.normal, rule)
    total = np.log(np.maximum(contributions.sum(axis=1, dtype=np.float64), 1e-9))
    return CaptionScores(
        scores=expit((total - np.log(rule.midpoint)) / rule.spread).astype(np.float32),
        alignment=(snippet_mean @ (caption_mean @ (vectors @ bank.anchors.T))).astype(np.float32),
        concept_alignment=(snippet_mean @ (caption_mean @ cosine)).astype(np.float32),
        contributions=contributions,
    )


def concept_shares(cosine: Floats, normal: NDArray[np.bool_], temperature: float) -> Floats:
    """Share of each concept in each clause, [K, P]; the shares of a clause sum to 1.

    Parameters
    ----------
    cosine
        Cosine similarity of clauses and concepts, [K, P].
    normal
        Which concepts are Normal's, [P].
    """
    sizes = np.where(normal, max(1, normal.sum()), max(1, (~normal).sum()))
    return np.asarray(softmax(cosine / temperature - np.log(sizes).astype(np.float32), axis=1), np.float32)


def contributions_over_time(evidence: NDArray[np.floating], abnormal: NDArray[np.bool_], rule: CaptionRule) -> Floats:
    """Contribution of each concept to the evidence for an anomaly at each snippet, float32 [T, P].

    Parameters
    ----------
    evidence
        Evidence for each concept, [T, P].
    abnormal
        Which concepts are not Normal's, [P].

    Notes
    -----
    With the moving average m and the level l of the video, the contribution is ``w m + (1 - w) l``. The weight
    ``w = signal / (signal + noise)`` is that of a Wiener filter for the sum over the concepts: the noise is the
    variance of one snippet, from the differences of neighbours, over the snippets of the window.
    """
    relative = evidence * abnormal / max(float(evidence.sum(axis=1).mean()), 1e-9)
    window = rule.window(len(relative))
    average = uniform_filter1d(relative, window, axis=0, mode="nearest")
    sums = average.sum(axis=1)
    highest = np.argsort(-sums, kind="stable")[: max(1, len(sums) // rule.top)]
    weight = signal_share(relative.sum(axis=1), window)
    return np.asarray(weight * average + (1 - weight) * average[highest].mean(axis=0), np.float32)


def signal_share(series: NDArray[np.floating], window: int) -> float:
    """Share of the variance of a moving average of ``series`` [T] that is not noise, 0..1."""
    if len(series) < 2:
        return 1.0
    noise = 0.5 * float(np.square(np.diff(series.astype(np.float64))).mean())
    signal = max(float(series.var()) - noise, 0.0)
    return signal / (signal + noise / window) if noise else 1.0


def anchor_coefficients(bank: AnchorBank) -> Floats:
    """Weights a of the concepts in their anchors, float32 [P]: anchor = sum of a_p v_p over the concepts of a category.

    So the alignment with a category is a sum of the contributions a_p K_p of its concepts. All poolings are weighted
    means, so the weights are found from the anchors by least squares without negative weights.
    """
    found = np.zeros(len(bank.concepts), np.float32)
    for index, anchor in enumerate(bank.anchors):
        own = np.flatnonzero(bank.concept_category == index)
        found[own] = nnls(bank.concept_vectors[own].T.astype(np.float64), anchor.astype(np.float64))[0]
    return found


def _means(parts: Sequence[Sequence[str]], texts: Sequence[str]) -> csr_array:
    """Matrix [len(parts), len(texts)] whose product with values of the texts is their mean over each part."""
    place = {text: i for i, text in enumerate(texts)}
    sizes = np.array([len(own) for own in parts])
    rows = np.repeat(np.arange(len(parts)), sizes)
    columns = [place[text] for own in parts for text in own]
    return csr_array((np.repeat(1 / sizes, sizes).astype(np.float32), (rows, columns)), (len(parts), len(texts)))
