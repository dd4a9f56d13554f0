"""Bootstrap confidence intervals over videos and seeds, and a paired test between two methods.

Videos are resampled, not frames, because the frames of a video are dependent. Where a method was trained with several
seeds, its metric is their mean and the seeds are resampled too.

``scipy.stats.bootstrap`` would compute every metric anew for each resample. Here the comparisons between snippets are
counted once, and a resample is a weighted sum of the counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, Floats, SnippetPool, pool_snippets
from kgvad.detector.evaluation.frame_metrics import Metrics, category_rank, measure
from kgvad.errors import UsageError

RESAMPLES = 1000
LEVEL = 0.95  # of the intervals
NAMES = tuple(field.name for field in fields(Metrics))
_CHUNK = 100  # resamples whose precision curves are in memory together


class BootstrapTable:
    """Comparisons between the snippets of the test videos of one run, counted once for all resamples.

    Which of two snippets has the higher score does not depend on the resample. U[i, j] is the number of pairs of an
    abnormal frame of video i and a normal frame of video j in which the abnormal frame has the higher score (ties
    count half). The AUC of a resample that takes video v w[v] times is w U w / ((w p)(w n)), with p and n the abnormal
    and normal frames of the videos.

    Attributes
    ----------
    videos
        Names of the videos.
    observed
        Metrics of the videos as they are.
    """

    def __init__(
        self, videos: Sequence[EvaluatedVideo], categories: Sequence[str] = (), normal: int | None = None
    ) -> None:
        self.videos = tuple(one.video for one in videos)
        self.observed = measure(videos, categories, normal)
        self._abnormal = np.array([one.abnormal for one in videos])
        ranks = [category_rank(one, categories, normal) for one in videos]
        self._rank = np.array([np.nan if rank is None else rank for rank in ranks])
        pool = pool_snippets(videos)
        self._positives = np.bincount(pool.video, pool.positives, len(videos)).astype(np.float64)
        self._negatives = np.bincount(pool.video, pool.negatives, len(videos)).astype(np.float64)
        self._compare_frames(pool)
        scores = np.array([one.video_score for one in videos])
        self._video_wins = (np.sign(scores[:, None] - scores[None, :]) + 1) / 2

    def _compare_frames(self, pool: SnippetPool) -> None:
        """Count, for every snippet with abnormal frames, the normal frames of each video that score lower or equal."""
        count = len(self.videos)
        abnormal = np.flatnonzero(pool.positives)
        abnormal = abnormal[np.argsort(-pool.scores[abnormal], kind="stable")]
        self._point_video, self._point_frames = pool.video[abnormal], pool.positives[abnormal]
        level = pool.scores[abnormal]
        # the last point of each tie: a threshold includes all snippets of equal score
        self._last = np.searchsorted(-level, -level, side="right") - 1
        self._above = np.empty((len(abnormal), count), np.float32)  # normal frames scored as high, exact to 2^24
        self._wins = np.empty((count, count))
        normal = np.flatnonzero(pool.negatives)
        normal = normal[np.lexsort((pool.scores[normal], pool.video[normal]))]
        borders = np.searchsorted(pool.video[normal], np.arange(count + 1))
        for video in range(count):
            own = normal[borders[video] : borders[video + 1]]
            cumulated = np.concatenate([[0.0], np.cumsum(pool.negatives[own])])
            lower = cumulated[np.searchsorted(pool.scores[own], level, side="left")]
            lower_or_equal = cumulated[np.searchsorted(pool.scores[own], level, side="right")]
            self._above[:, video] = cumulated[-1] - lower
            pairs = self._point_frames * (lower + lower_or_equal) / 2
            self._wins[:, video] = np.bincount(self._point_video, pairs, count)

    def measure(self, weights: Floats) -> Floats:
        """All metrics of each resample, float64 [R, 6] in the order of ``Metrics``; NaN where one cannot be computed.

        Parameters
        ----------
        weights
            [R, videos]: how many times each resample has each video.
        """
        abnormal = weights * self._abnormal
        named = np.isfinite(self._rank)
        rank = self._rank[named]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = weights[:, named] / weights[:, named].sum(axis=1, keepdims=True)
            return np.column_stack(
                [
                    _auc(weights, weights, self._wins, self._positives, self._negatives),
                    self._average_precision(weights),
                    _auc(abnormal, abnormal, self._wins, self._positives, self._negatives),
                    _auc(abnormal, weights - abnormal, self._video_wins, 1.0, 1.0),
                    share @ (rank < 1) if named.any() else np.full(len(weights), np.nan),
                    share @ (rank < 3) if named.any() else np.full(len(weights), np.nan),
                ]
            )

    def _average_precision(self, weights: Floats) -> Floats:
        parts = []
        for start in range(0, len(weights), _CHUNK):
            chunk = weights[start : start + _CHUNK]
            step = chunk[:, self._point_video] * self._point_frames
            hits = np.cumsum(step, axis=1)[:, self._last]
            false = (self._above @ chunk.T.astype(np.float32)).T
            parts.append((step * hits / np.maximum(hits + false, 1e-300)).sum(axis=1) / step.sum(axis=1))
        return np.concatenate([np.empty(0), *parts])


def _auc(
    upper: Floats, lower: Floats, wins: Floats, positives: Floats | float, negatives: Floats | float
) -> NDArray[np.float64]:
    """Share of pairs won in each resample; ``upper`` weights videos as positives, ``lower`` as negatives."""
    pairs = (upper * positives).sum(axis=1) * (lower * negatives).sum(axis=1)
    return np.asarray(np.einsum("dv,dv->d", upper @ wins, lower) / pairs)


@dataclass(frozen=True)
class ConfidenceInterval:
    """Percentile bootstrap confidence interval of one metric."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One metric of a method minus that of another, its confidence interval, and the two-sided bootstrap p-value."""

    mean: float
    low: float
    high: float
    p: float


def holm(values: Sequence[float | None]) -> list[float]:
    """P values adjusted for their number by the step-down method of Holm (1979), in the same order; ``None``: NaN."""
    known = sorted((value, index) for index, value in enumerate(values) if value is not None)
    adjusted, least = [float("nan")] * len(values), 0.0
    for rank, (value, index) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * value))
        adjusted[index] = least
    return adjusted


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """Metrics of a method as observed and on every resample.

    Attributes
    ----------
    videos
        Names of the test videos.
    observed
        float64 [6], mean over seeds.
    resampled
        float64 [R, 6].
    """

    videos: tuple[str, ...]
    observed: Floats
    resampled: Floats

    def intervals(self) -> dict[str, ConfidenceInterval]:
        """Interval of each metric, over the resamples in which it can be computed (with abnormal videos, say)."""
        columns = zip(NAMES, self.resampled.T, strict=True)
        return {name: ConfidenceInterval(*_range(column)) for name, column in columns}

    def difference_from(self, other: BootstrapResult) -> dict[str, Difference]:
        """Difference of two methods on the same resamples of the same videos.

        p is twice the smaller share of resamples on either side of zero, with the observed difference counted
        (Davison and Hinkley 1997, 4.2.1), so it is never below 2 / (R + 1).

        Raises
        ------
        UsageError
            The methods were measured on different test videos.
        """
        if self.videos != other.videos:
            raise UsageError(
                f"{len(self.videos)} and {len(other.videos)} different test videos cannot be paired",
                "give both features (and captions) or scores of the same videos, or evaluate them one by one",
            )
        found = {}
        for name, column, value in zip(
            NAMES, (self.resampled - other.resampled).T, self.observed - other.observed, strict=True
        ):
            finite = column[np.isfinite(column)]
            below, above = np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0)
            p = min(1.0, 2 * (min(below, above) + 1) / (len(finite) + 1)) if len(finite) else float("nan")
            found[name] = Difference(float(value), *_range(column), p)
        return found


def _range(column: Floats) -> tuple[float, float]:
    finite = column[np.isfinite(column)]
    if not len(finite):
        return float("nan"), float("nan")
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap(tables: Sequence[BootstrapTable], *, resamples: int = RESAMPLES) -> BootstrapResult:
    """Metrics of one method, with one table per training seed, on resamples of videos and training seeds.

    All methods with the same number of videos get the same resamples of them.

    Raises
    ------
    UsageError
        The training seeds were measured on different test videos.
    """
    videos = tables[0].videos
    if any(table.videos != videos for table in tables):
        raise UsageError("the seeds of a method were measured on different test videos", "score the same videos")
    random = np.random.default_rng(0)
    picks = random.integers(0, len(videos), (resamples, len(videos)))
    weights = np.zeros((resamples, len(videos)))
    np.add.at(weights, (np.arange(resamples)[:, None], picks), 1)
    values = np.stack([table.measure(weights) for table in tables], axis=1)  # [R, seeds, 6]
    seeds = random.integers(0, len(tables), (resamples, len(tables)))
    return BootstrapResult(
        videos,
        np.mean([astuple(table.observed) for table in tables], axis=0),
        np.take_along_axis(values, seeds[:, :, None], axis=1).mean(axis=1),
    )
