"""Frame and video metrics, computed from rows of frames instead of single frames.

A :class:`Track` is one video's scores over its ground truth. Every frame belongs to exactly one scored row, so a row
with ``p`` abnormal and ``q`` normal frames counts ``p`` and ``q`` times: the figures equal the frame-by-frame ones
and cost thousands of rows instead of millions of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Interval = tuple[int, int]  # frames [start, end)


@dataclass(frozen=True, eq=False)
class Track:
    """Scored rows of one video over its ground truth.

    Attributes
    ----------
    video
        Identifier.
    labels
        Categories of the video; empty for a normal one.
    scores
        float64 [T].
    edges
        int64 [T + 1]: row i covers frames [edges[i], edges[i + 1]).
    intervals
        Abnormal frames, sorted and disjoint.
    category_scores
        float64 [T, C], larger is likelier; ``None`` where the scorer names no categories.
    events
        (category, start, end) of each abnormal event.
    """

    video: str
    labels: tuple[str, ...]
    scores: Floats
    edges: Ints
    intervals: tuple[Interval, ...]
    category_scores: Floats | None = None
    events: tuple[tuple[str, int, int], ...] = ()

    @property
    def frame_count(self) -> int:
        return int(self.edges[-1])

    @property
    def abnormal(self) -> bool:
        return bool(self.labels)

    @property
    def positives(self) -> Ints:
        """Abnormal frames of each row, int64 [T]."""
        return overlap(self.edges, self.intervals)

    @property
    def negatives(self) -> Ints:
        """Normal frames of each row, int64 [T]."""
        return np.diff(self.edges) - self.positives


def make_track(
    scores: Scores,
    labels: Sequence[str],
    intervals: Sequence[Interval],
    frame_count: int,
    *,
    category_scores: Floats | None = None,
    events: Sequence[tuple[str, int, int]] | None = None,
) -> Track:
    """Lay scores over the ground truth of the video.

    Parameters
    ----------
    scores
        Of the video.
    labels
        Categories of the video; empty for a normal one.
    intervals
        Abnormal frames [start, end); one that reaches over the end of the video is cut there.
    frame_count
        Frames of the video according to the ground truth.
    category_scores
        float64 [T, C].
    events
        (category, start, end); ``None``: every interval is an event of the first label.

    Raises
    ------
    ScoresError
        The scores were made for another number of frames; the message names the video and both lengths.
    """
    if scores.frame_count != frame_count:
        raise ScoresError(
            f"{scores.video}: the scores are for {scores.frame_count} frames, the ground truth for {frame_count}",
            "score the video whose annotation this is, or correct its frame count",
        )
    edges = np.append(scores.spans[:, 0], frame_count)
    edges[0] = 0  # frames before the first span take its score, frames after a span the score of that span
    kept = _inside([("", start, end) for start, end in intervals], frame_count)
    named = _inside(events, frame_count) if events is not None else [(labels[0], *e[1:]) for e in kept if labels]
    return Track(
        scores.video,
        tuple(labels),
        scores.scores.astype(np.float64),
        edges,
        tuple((start, end) for _, start, end in kept),
        category_scores,
        tuple(named),
    )


def _inside(events: Sequence[tuple[str, int, int]], frame_count: int) -> list[tuple[str, int, int]]:
    """Events cut to the video, in temporal order; one that lies outside is dropped."""
    cut = [(name, max(0, start), min(end, frame_count)) for name, start, end in events]
    return sorted((event for event in cut if event[2] > event[1]), key=lambda event: event[1:])


def overlap(edges: Ints, intervals: Sequence[Interval]) -> Ints:
    """Frames of each row that lie in one of the intervals (disjoint or not), int64 [len(edges) - 1]."""
    covered = np.zeros(len(edges) - 1, dtype=np.int64)
    last = -1
    for start, end in sorted(intervals):  # overlapping annotations count a frame once
        start = max(start, last)
        if end > start:
            covered += np.maximum(0, np.minimum(edges[1:], end) - np.maximum(edges[:-1], start))
            last = end
    return covered


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of many videos: one score, its abnormal and its normal frames."""

    scores: Floats
    positives: Floats
    negatives: Floats
    video: Ints  # index of the row's video


def rows_of(tracks: Sequence[Track]) -> Rows:
    """All rows of ``tracks``, in order."""
    return Rows(
        np.concatenate([t.scores for t in tracks]) if tracks else np.empty(0),
        np.concatenate([t.positives for t in tracks]).astype(np.float64) if tracks else np.empty(0),
        np.concatenate([t.negatives for t in tracks]).astype(np.float64) if tracks else np.empty(0),
        np.repeat(np.arange(len(tracks)), [len(t.scores) for t in tracks]),
    )


def operating_points(scores: Floats, positives: Floats, negatives: Floats) -> tuple[Floats, Floats, Floats]:
    """Thresholds descending, and cumulated true and false positives at each; ties share one point."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.empty(0, np.int64)
    return ranked[last], np.cumsum(positives[order])[last], np.cumsum(negatives[order])[last]


def roc_auc(scores: Floats, positives: Floats, negatives: Floats) -> float:
    """Area under the ROC curve of rows that count ``positives`` and ``negatives`` times; ties count half.

    Returns NaN where one kind is missing.
    """
    _, hits, alarms = operating_points(scores, positives, negatives)
    if len(hits) == 0 or hits[-1] == 0 or alarms[-1] == 0:
        return float("nan")
    hits, alarms = np.append(0.0, hits), np.append(0.0, alarms)
    return float(np.sum(np.diff(alarms) * (hits[1:] + hits[:-1]) / 2) / (hits[-1] * alarms[-1]))


def average_precision(scores: Floats, positives: Floats, negatives: Floats) -> float:
    """Sum over thresholds of (recall step) x precision, without interpolation; NaN without positives."""
    _, hits, alarms = operating_points(scores, positives, negatives)
    if len(hits) == 0 or hits[-1] == 0:
        return float("nan")
    precision = hits / np.maximum(hits + alarms, 1e-300)
    return float(np.sum(np.diff(np.append(0.0, hits)) * precision) / hits[-1])


@dataclass(frozen=True)
class Metrics:
    """Figures of one evaluation; NaN where one cannot be computed (a kind of video is missing).

    Attributes
    ----------
    frame_auc, frame_ap
        Over all frames of all videos together.
    ano_auc
        Frame AUC over the abnormal videos only (VadCLIP's authors, issue 9).
    video_auc
        Of the mean of each video's largest tenth of rows against its label.
    category_top1, category_top3
        Share of abnormal videos whose category is first, or among the first three, Normal left out.
    """

    frame_auc: float
    frame_ap: float
    ano_auc: float
    video_auc: float
    category_top1: float
    category_top3: float


def measure(tracks: Sequence[Track], categories: Sequence[str] = (), normal: int | None = None) -> Metrics:
    """All figures of :class:`Metrics` for the scored test videos."""
    rows = rows_of(tracks)
    inside = rows_of([track for track in tracks if track.abnormal])
    abnormal = np.array([track.abnormal for track in tracks], dtype=np.float64)
    ranks = [rank for track in tracks if (rank := category_rank(track, categories, normal)) is not None]
    return Metrics(
        roc_auc(rows.scores, rows.positives, rows.negatives),
        average_precision(rows.scores, rows.positives, rows.negatives),
        roc_auc(inside.scores, inside.positives, inside.negatives),
        roc_auc(np.array([video_score(track) for track in tracks]), abnormal, 1 - abnormal),
        float(np.mean(np.array(ranks) < 1)) if ranks else float("nan"),
        float(np.mean(np.array(ranks) < 3)) if ranks else float("nan"),
    )


def length_alone(tracks: Sequence[Track]) -> Metrics:
    """Figures of a score that sees nothing: minus the number of a video's frames, the same in all its rows.

    Datasets are cut so that length tells much: in UCF-Crime a few long normal videos hold a large part of all frames.
    """
    blind = [np.full(len(track.scores), -float(track.frame_count)) for track in tracks]
    return measure(
        [replace(track, scores=each, category_scores=None) for track, each in zip(tracks, blind, strict=True)]
    )


def video_score(track: Track) -> float:
    """Mean of the largest tenth of a video's rows (one at least)."""
    return top_tenth(track.scores)


def top_tenth(scores: NDArray[np.floating]) -> float:
    """Mean of the largest tenth of scores [T] (one at least)."""
    count = max(1, len(scores) // 10)
    return float(np.sort(scores)[-count:].mean())


def video_categories(track: Track) -> Floats | None:
    """Category scores of the whole video, [C]: rows weighted by their anomaly scores."""
    if track.category_scores is None:
        return None
    return np.average(track.category_scores, axis=0, weights=track.scores + 1e-9)


def category_rank(track: Track, categories: Sequence[str], normal: int | None) -> int | None:
    """Place (0 is the first) of the video's best placed true category, Normal left out; ``None`` for a normal video."""
    means = video_categories(track)
    if not track.abnormal or means is None:
        return None
    order = [categories[index] for index in np.argsort(-means, kind="stable") if index != normal]
    return min((order.index(label) for label in track.labels if label in order), default=len(order))
