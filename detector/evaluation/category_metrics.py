"""Metrics by category: frame AUC, the confusion of categories, and the calibration of their probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, pool_snippets
from kgvad.detector.evaluation.frame_metrics import roc_auc

CALIBRATION_BINS = 10


def category_auc(videos: Sequence[EvaluatedVideo], categories: Sequence[str]) -> dict[str, float]:
    """Frame AUC of the videos of each category together with all normal videos."""
    found = {}
    for name in categories:
        chosen = [one for one in videos if not one.abnormal or name in one.labels]
        if any(one.abnormal for one in chosen):
            pool = pool_snippets(chosen)
            found[name] = roc_auc(pool.scores, pool.positives, pool.negatives)
    return found


def confusion(
    videos: Sequence[EvaluatedVideo], categories: Sequence[str], normal: int | None, *, with_normal: bool = False
) -> dict[str, dict[str, int]]:
    """Number of videos by true category, then by predicted category.

    With ``with_normal``, all videos are counted and Normal can be predicted; otherwise abnormal videos only, without
    Normal.
    """
    table: dict[str, Counter[str]] = {}
    for video in videos:
        scores = video.video_category_scores()
        if scores is None or (not video.abnormal and (not with_normal or normal is None)):
            continue
        if normal is not None and not with_normal:
            scores = scores.copy()
            scores[normal] = -np.inf
        true = video.labels[0] if video.abnormal else categories[normal or 0]
        table.setdefault(true, Counter())[categories[int(scores.argmax())]] += 1
    return {true: dict(predicted) for true, predicted in table.items()}


def category_calibration(
    videos: Sequence[EvaluatedVideo], categories: Sequence[str], normal: int | None, temperature: float = 1.0
) -> float:
    """Expected calibration error of the category of abnormal videos (Guo et al. 2017, equation 3).

    The probability of a category is the softmax, without Normal, of the category scores of the video divided by
    ``temperature``. Videos are sorted by the probability of their first category into :data:`CALIBRATION_BINS` bins of
    equal width; the error is the mean over videos of the gap between probability and accuracy of their bin. NaN
    without such videos, and with one abnormal category alone, whose probability is always 1.
    """
    named = [index for index in range(len(categories)) if index != normal]
    confidence, correct = [], []
    for video in videos:
        scores = video.video_category_scores()
        if scores is None or not video.abnormal:
            continue
        share = softmax(scores[named] / temperature)
        best = int(share.argmax())
        confidence.append(float(share[best]))
        correct.append(categories[named[best]] in video.labels)
    if not confidence or len(named) < 2:
        return float("nan")
    bins = np.minimum((np.array(confidence) * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, np.array(correct, float) - np.array(confidence), CALIBRATION_BINS)  # sums
    return float(np.abs(gaps).sum() / len(bins))
