"""Scores of test videos beside their ground truth.

Every frame belongs to exactly one scored snippet. A snippet with ``p`` abnormal and ``n`` normal frames therefore
stands for ``p + n`` frames of the same score: metrics over frames are computed from thousands of weighted snippets
instead of millions of frames, with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FrameSpan = tuple[int, int]  # frames [start, end)
LabelledSpan = tuple[str, int, int]  # category, and frames [start, end)


@dataclass(frozen=True, eq=False)
class EvaluatedVideo:
    """Scores of the T snippets of one video beside its ground truth.

    Attributes
    ----------
    video
        Identifier.
    labels
        Categories of the video; empty for a normal one.
    scores
        float64 [T].
    edges
        int64 [T + 1]: snippet i covers frames [edges[i], edges[i + 1]).
    intervals
        Abnormal frames, sorted and disjoint.
    category_scores
        float64 [T, C], larger is likelier; ``None`` where the scorer names no categories.
    events
        (category, start, end) of each abnormal event.
    has_frame_labels
        Whether it is known which frames are abnormal. Otherwise its frames count as neither.
    """

    video: str
    labels: tuple[str, ...]
    scores: Floats
    edges: Ints
    intervals: tuple[FrameSpan, ...]
    category_scores: Floats | None = None
    events: tuple[LabelledSpan, ...] = ()
    has_frame_labels: bool = True

    @property
    def frame_count(self) -> int:
        return int(self.edges[-1])

    @property
    def abnormal(self) -> bool:
        return bool(self.labels)

    @property
    def positives(self) -> Ints:
        """Abnormal frames of each snippet, int64 [T]."""
        return overlap(self.edges, self.intervals)

    @property
    def negatives(self) -> Ints:
        """Normal frames of each snippet, int64 [T]."""
        if not self.has_frame_labels:
            return np.zeros(len(self.scores), dtype=np.int64)
        return np.diff(self.edges) - self.positives

    @property
    def video_score(self) -> float:
        """Score of the whole video: :func:`top_tenth` of its snippets."""
        return top_tenth(self.scores)

    def video_category_scores(self) -> Floats | None:
        """Category scores of the whole video, [C]: mean over snippets, weighted by their anomaly scores."""
        if self.category_scores is None:
            return None
        return np.average(self.category_scores, axis=0, weights=self.scores + 1e-9)


def top_tenth(scores: NDArray[np.floating]) -> float:
    """Mean of the largest tenth of scores [T] (one at least)."""
    count = max(1, len(scores) // 10)
    return float(np.sort(scores)[-count:].mean())


MOST_DIFFERENCE = 1  # decoders disagree about the last frame of a video


def match_ground_truth(
    scores: Scores,
    labels: Sequence[str],
    intervals: Sequence[FrameSpan] | None,
    frame_count: int,
    *,
    category_scores: Floats | None = None,
    events: Sequence[LabelledSpan] | None = None,
) -> EvaluatedVideo:
    """Scores of a video beside its ground truth.

    Parameters
    ----------
    scores
        Of the video.
    labels
        Categories of the video; empty for a normal one.
    intervals
        Abnormal frames [start, end); one that exceeds the video is cut at its end. ``None``: unknown.
    frame_count
        Frames of the video according to the ground truth: those that are measured. The scores may be for
        :data:`MOST_DIFFERENCE` more or fewer.
    category_scores
        float64 [T, C].
    events
        (category, start, end); ``None``: every interval is an event of the first label.

    Raises
    ------
    ScoresError
        The scores were made for another number of frames; the message names the video and both lengths.
    """
    if abs(scores.frame_count - frame_count) > MOST_DIFFERENCE or frame_count <= scores.spans[-1, 0]:
        raise ScoresError(
            f"{scores.video}: the scores are for {scores.frame_count} frames, the ground truth for {frame_count}",
            "score the video whose annotation this is, or correct its frame count",
        )
    edges = np.append(scores.spans[:, 0], frame_count)
    edges[0] = 0  # frames before the first span take its score, frames after a span the score of that span
    inside = _clipped([("", start, end) for start, end in intervals or ()], frame_count)
    if events is None:
        labelled = [(labels[0], start, end) for _, start, end in inside] if labels else []
    else:
        labelled = _clipped(events, frame_count)
    return EvaluatedVideo(
        scores.video,
        tuple(labels),
        scores.scores.astype(np.float64),
        edges,
        tuple((start, end) for _, start, end in inside),
        category_scores,
        tuple(labelled),
        intervals is not None or not labels,
    )


def _clipped(events: Sequence[LabelledSpan], frame_count: int) -> list[LabelledSpan]:
    """Events cut to the video, in temporal order; one that lies outside is dropped."""
    cut = [(name, max(0, start), min(end, frame_count)) for name, start, end in events]
    return sorted((event for event in cut if event[2] > event[1]), key=lambda event: event[1:])


def overlap(edges: Ints, intervals: Sequence[FrameSpan]) -> Ints:
    """Frames of each snippet that lie in one of the intervals (disjoint or not), int64 [len(edges) - 1]."""
    covered = np.zeros(len(edges) - 1, dtype=np.int64)
    last = -1
    for start, end in sorted(intervals):  # overlapping annotations count a frame once
        start = max(start, last)
        if end > start:
            covered += np.maximum(0, np.minimum(edges[1:], end) - np.maximum(edges[:-1], start))
            last = end
    return covered


@dataclass(frozen=True, eq=False)
class SnippetPool:
    """Snippets of many videos: score, number of abnormal and of normal frames, and index of the video, [N] each."""

    scores: Floats
    positives: Floats
    negatives: Floats
    video: Ints


def pool_snippets(videos: Sequence[EvaluatedVideo]) -> SnippetPool:
    """All snippets of ``videos``, in order."""
    if not videos:
        return SnippetPool(np.empty(0), np.empty(0), np.empty(0), np.empty(0, np.int64))
    return SnippetPool(
        np.concatenate([one.scores for one in videos]),
        np.concatenate([one.positives for one in videos]).astype(np.float64),
        np.concatenate([one.negatives for one in videos]).astype(np.float64),
        np.repeat(np.arange(len(videos)), [len(one.scores) for one in videos]),
    )
