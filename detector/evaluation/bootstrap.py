"""How sure a figure is: bootstrap intervals over videos and seeds, and a paired test between two methods.

Videos are drawn, not frames: the frames of a video belong together. Where a method was trained with several seeds,
its figure is their mean and the seeds are drawn too: an interval holds what other videos and other seeds would change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.evaluation.frame_metrics import Floats, Metrics, Track, category_rank, measure, rows_of, video_score
from kgvad.errors import UsageError

DRAWS = 1000
NAMES = tuple(field.name for field in fields(Metrics))
_AT_ONCE = 100  # draws whose precision curves are in memory together


class Board:
    """Test videos of one run, prepared for measuring on thousands of draws of them.

    Which of two rows scores higher does not depend on the draw. So the frames that abnormal rows of video i win over
    normal rows of video j are counted once, U[i, j], and the AUC of a draw that takes video v w[v] times is
    w U w / ((w p)(w n)), p and n its abnormal and normal frames.

    Attributes
    ----------
    videos
        Their names.
    observed
        Figures of the videos as they are.
    """

    def __init__(self, tracks: Sequence[Track], categories: Sequence[str] = (), normal: int | None = None) -> None:
        self.videos = tuple(track.video for track in tracks)
        self.observed = measure(tracks, categories, normal)
        self._abnormal = np.array([track.abnormal for track in tracks])
        ranks = [category_rank(track, categories, normal) for track in tracks]
        self._rank = np.array([np.nan if rank is None else rank for rank in ranks])
        rows = rows_of(tracks)
        count = len(tracks)
        self._positives = np.bincount(rows.video, rows.positives, count).astype(np.float64)
        self._negatives = np.bincount(rows.video, rows.negatives, count).astype(np.float64)
        points = np.flatnonzero(rows.positives)
        points = points[np.argsort(-rows.scores[points], kind="stable")]
        self._point_video, self._point_frames = rows.video[points], rows.positives[points]
        level = rows.scores[points]
        # the last point of each tie: a threshold takes all rows that score the same
        self._last = np.searchsorted(-level, -level, side="right") - 1
        self._above = np.empty((len(points), count), np.float32)  # normal frames that score as high, exact to 2^24
        self._wins = np.empty((count, count))
        quiet = np.flatnonzero(rows.negatives)
        quiet = quiet[np.lexsort((rows.scores[quiet], rows.video[quiet]))]
        borders = np.searchsorted(rows.video[quiet], np.arange(count + 1))
        for video in range(count):
            one = quiet[borders[video] : borders[video + 1]]
            below = np.concatenate([[0.0], np.cumsum(rows.negatives[one])])
            under = below[np.searchsorted(rows.scores[one], level, side="left")]
            up_to = below[np.searchsorted(rows.scores[one], level, side="right")]
            self._above[:, video] = below[-1] - under
            self._wins[:, video] = np.bincount(self._point_video, self._point_frames * (under + up_to) / 2, count)
        top = np.array([video_score(track) for track in tracks])
        self._video_wins = (np.sign(top[:, None] - top[None, :]) + 1) / 2

    def measure(self, weights: Floats) -> Floats:
        """All figures of each draw, float64 [draws, 6] in the order of ``Metrics``; NaN where one cannot be computed.

        Parameters
        ----------
        weights
            [draws, videos]: how many times each video is counted.
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
        for start in range(0, len(weights), _AT_ONCE):
            chunk = weights[start : start + _AT_ONCE]
            step = chunk[:, self._point_video] * self._point_frames
            hits = np.cumsum(step, axis=1)[:, self._last]
            false = (self._above @ chunk.T.astype(np.float32)).T
            parts.append((step * hits / np.maximum(hits + false, 1e-300)).sum(axis=1) / step.sum(axis=1))
        return np.concatenate([np.empty(0), *parts])


def _auc(
    upper: Floats, lower: Floats, wins: Floats, positives: Floats | float, negatives: Floats | float
) -> NDArray[np.float64]:
    """Share of pairs won, of each draw: ``upper`` weighs the winners' videos, ``lower`` the losers'."""
    pairs = (upper * positives).sum(axis=1) * (lower * negatives).sum(axis=1)
    return np.asarray(np.einsum("dv,dv->d", upper @ wins, lower) / pairs)


@dataclass(frozen=True)
class Interval:
    """Percentile bootstrap interval of one figure."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One figure of a method minus that of another, its interval, and the two-sided bootstrap p-value."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Figures of a method as observed and on every draw.

    Attributes
    ----------
    videos
        Names of the test videos.
    observed
        float64 [6], mean over seeds.
    drawn
        float64 [draws, 6].
    """

    videos: tuple[str, ...]
    observed: Floats
    drawn: Floats

    def intervals(self, level: float = 0.95) -> dict[str, Interval]:
        """Interval of each figure; a draw that cannot give a figure (no abnormal video, say) is left out of it."""
        return {name: Interval(*_range(column, level)) for name, column in zip(NAMES, self.drawn.T, strict=True)}

    def minus(self, other: Sample) -> dict[str, Difference]:
        """Compare two methods on the same draws of the same videos.

        p is twice the smaller share of draws on either side of zero, counting the observed one (Davison and Hinkley
        1997, 4.2.1), so it is never below 2 / (draws + 1).

        Raises
        ------
        UsageError
            The methods were measured on different test videos.
        """
        if self.videos != other.videos:
            raise UsageError(
                f"{len(self.videos)} and {len(other.videos)} different test videos cannot be paired",
                "give both runs features (and text) of the same videos",
            )
        found = {}
        for name, column, value in zip(
            NAMES, (self.drawn - other.drawn).T, self.observed - other.observed, strict=True
        ):
            finite = column[np.isfinite(column)]
            below, above = np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0)
            p = min(1.0, 2 * (min(below, above) + 1) / (len(finite) + 1)) if len(finite) else float("nan")
            found[name] = Difference(float(value), *_range(column), p)
        return found


def _range(column: Floats, level: float = 0.95) -> tuple[float, float]:
    finite = column[np.isfinite(column)]
    if not len(finite):
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(finite, [tail, 100 - tail])
    return float(low), float(high)


def sample(boards: Sequence[Board], *, draws: int = DRAWS, seed: int = 0) -> Sample:
    """Measure one method, one board per seed, on ``draws`` draws of videos and seeds.

    The same ``seed`` gives the same draws of videos to every method that was measured on as many.

    Raises
    ------
    UsageError
        The seeds were measured on different test videos.
    """
    videos = boards[0].videos
    if any(board.videos != videos for board in boards):
        raise UsageError("the seeds of a method were measured on different test videos", "score the same videos")
    random = np.random.default_rng(seed)
    picks = random.integers(0, len(videos), (draws, len(videos)))
    weights = np.zeros((draws, len(videos)))
    np.add.at(weights, (np.arange(draws)[:, None], picks), 1)
    values = np.stack([board.measure(weights) for board in boards], axis=1)  # [draws, seeds, 6]
    seeds = random.integers(0, len(boards), (draws, len(boards)))
    return Sample(
        videos,
        np.mean([astuple(board.observed) for board in boards], axis=0),
        np.take_along_axis(values, seeds[:, :, None], axis=1).mean(axis=1),
    )
