"""Metrics over frames and videos, by scikit-learn on weighted snippets.

A snippet with ``p`` abnormal and ``n`` normal frames enters twice: as abnormal with weight ``p`` and as normal with
weight ``n``. The results equal those over single frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, Floats, Ints, SnippetPool, pool_snippets


@dataclass(frozen=True)
class Metrics:
    """Results of one evaluation; NaN where one cannot be computed (normal or abnormal videos are missing).

    Attributes
    ----------
    frame_auc, frame_ap
        Over all frames of all videos together.
    ano_auc
        Frame AUC over the abnormal videos only (VadCLIP's authors, issue 9).
    video_auc
        AUC of the videos, each scored by the mean of its largest tenth of snippets.
    category_top1, category_top3
        Share of abnormal videos whose category is first, or among the first three, Normal left out.
    """

    frame_auc: float
    frame_ap: float
    ano_auc: float
    video_auc: float
    category_top1: float
    category_top3: float


def measure(videos: Sequence[EvaluatedVideo], categories: Sequence[str] = (), normal: int | None = None) -> Metrics:
    """All metrics of :class:`Metrics` of the scored test videos."""
    every = pool_snippets(videos)
    inside = pool_snippets([one for one in videos if one.abnormal])
    abnormal = np.array([one.abnormal for one in videos], dtype=np.float64)
    ranks = [rank for one in videos if (rank := category_rank(one, categories, normal)) is not None]
    return Metrics(
        roc_auc(every.scores, every.positives, every.negatives),
        average_precision(every.scores, every.positives, every.negatives),
        roc_auc(inside.scores, inside.positives, inside.negatives),
        roc_auc(np.array([one.video_score for one in videos]), abnormal, 1 - abnormal),
        float(np.mean(np.array(ranks) < 1)) if ranks else float("nan"),
        float(np.mean(np.array(ranks) < 3)) if ranks else float("nan"),
    )


def length_only_baseline(videos: Sequence[EvaluatedVideo]) -> Metrics:
    """Metrics of a score that ignores the content: minus the number of frames of the video, for all its snippets.

    In UCF-Crime a few long normal videos hold a large part of all frames, so the length of a video says much.
    """
    constant = [np.full(len(one.scores), -float(one.frame_count)) for one in videos]
    return measure(
        [replace(one, scores=scores, category_scores=None) for one, scores in zip(videos, constant, strict=True)]
    )


def category_rank(video: EvaluatedVideo, categories: Sequence[str], normal: int | None) -> int | None:
    """Rank (0 is the first) of the best ranked true category, Normal left out.

    ``None`` for a normal video, and where there is one category, which is no choice.
    """
    scores = video.video_category_scores()
    if not video.abnormal or scores is None:
        return None
    order = [categories[index] for index in np.argsort(-scores, kind="stable") if index != normal]
    if len(order) < 2:
        return None
    return min((order.index(label) for label in video.labels if label in order), default=len(order))


def roc_auc(scores: Floats, positives: Floats, negatives: Floats) -> float:
    """Area under the ROC curve, ties counted half; NaN without positives or without negatives.

    Parameters
    ----------
    scores
        [N].
    positives, negatives
        How many positive and negative observations have each score, [N].
    """
    from sklearn.metrics import roc_auc_score

    if not (np.any(positives) and np.any(negatives)):
        return float("nan")
    labels, values, weights = _weighted(scores, positives, negatives)
    return float(roc_auc_score(labels, values, sample_weight=weights))


def average_precision(scores: Floats, positives: Floats, negatives: Floats) -> float:
    """Sum over thresholds of (recall step) x precision, without interpolation; NaN without positives.

    The parameters are those of :func:`roc_auc`.
    """
    from sklearn.metrics import average_precision_score

    if not np.any(positives):
        return float("nan")
    labels, values, weights = _weighted(scores, positives, negatives)
    return float(average_precision_score(labels, values, sample_weight=weights))


def roc_points(pool: SnippetPool) -> tuple[Floats, Floats]:
    """False positive rate and recall over frames at every threshold, both ascending; needs both kinds of frames."""
    from sklearn.metrics import roc_curve

    labels, values, weights = _weighted(pool.scores, pool.positives, pool.negatives)
    false_positive_rate, recall, _ = roc_curve(labels, values, sample_weight=weights, drop_intermediate=False)
    return np.asarray(false_positive_rate), np.asarray(recall)


def precision_recall_points(pool: SnippetPool) -> tuple[Floats, Floats]:
    """Precision and recall over frames at every threshold, recall ascending from 0; needs abnormal frames."""
    from sklearn.metrics import precision_recall_curve

    labels, values, weights = _weighted(pool.scores, pool.positives, pool.negatives)
    precision, recall, _ = precision_recall_curve(labels, values, sample_weight=weights)
    return np.asarray(precision[::-1]), np.asarray(recall[::-1])


def _weighted(scores: Floats, positives: Floats, negatives: Floats) -> tuple[Ints, Floats, Floats]:
    """Labels, scores and sample weights, [2 N] each."""
    labels = np.repeat([1, 0], len(scores))
    return labels, np.concatenate([scores, scores]), np.concatenate([positives, negatives]).astype(np.float64)
