"""Temporal detection of events: mAP@IoU by interval arithmetic.

The procedure is that of VadCLIP's evaluation (after Zhao et al. 2017). ``legacy`` keeps its faults for comparison,
``corrected`` does not:

                       legacy                                   corrected
    classes            all, with Normal                         abnormal categories with at least one event
    videos             all                                      abnormal
    UCF-Crime Normal   named "A" in the truth, so its AP is 0   left out
    a class without    makes the whole result 0                 has AP 0
    proposals
    constant scores    give no proposal                         give one proposal, the whole video
    proposals of one   left out                                 kept
    frame
    overlapping        each counts, though one proposal can     count as one
    events of one      match only one
    category
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal

import numpy as np

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, Floats, FrameSpan, Ints, LabelledSpan
from kgvad.detector.scoring.class_probabilities import ClassRule

Mode = Literal["legacy", "corrected"]
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)  # of IoU
GroundTruth = dict[str, list[tuple[int, int, int]]]  # category -> (index of the video, start, end) of its events


@dataclass(frozen=True, eq=False)
class Proposals:
    """Predicted events.

    Attributes
    ----------
    video, category
        Indices of both, int64 [N].
    start, end
        Frames [start, end), int64 [N].
    score
        Confidence, float64 [N].
    """

    video: Ints
    category: Ints
    start: Ints
    end: Ints
    score: Floats


def temporal_iou(one: FrameSpan, other: FrameSpan) -> float:
    """Shared frames over covered frames."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    if shared <= 0:
        return 0.0
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared)


def find_proposals(video: int, values: Floats, edges: Ints, mode: Mode = "corrected") -> Proposals:
    """Maximal runs of snippets above max - 0.6 (max - min), for each category.

    The confidence of a run is its largest value plus 0.7 times the mean of the F // 16 largest frames of the video.

    Parameters
    ----------
    video
        Its index.
    values
        [T, C]: class probability of each category in each snippet.
    edges
        int64 [T + 1]: snippet i covers frames [edges[i], edges[i + 1]).
    """
    highest, lowest = values.max(axis=0), values.min(axis=0)
    threshold = highest - 0.6 * (highest - lowest)
    above = values > threshold if mode == "legacy" else values >= threshold
    turns = np.diff(above.T.astype(np.int8), axis=1, prepend=0, append=0)  # [C, T + 1]
    category, first = np.nonzero(turns == 1)
    last = np.nonzero(turns == -1)[1]
    kept = edges[last] - edges[first] >= (2 if mode == "legacy" else 1)
    category, first, last = category[kept], first[kept], last[kept]
    confidence = _peaks(values, category, first, last) + 0.7 * _mean_of_largest_frames(values, edges)[category]
    return Proposals(np.full(len(first), video), category, edges[first], edges[last], confidence)


def _peaks(values: Floats, category: Ints, first: Ints, last: Ints) -> Floats:
    """Largest value of each run [first, last) of snippets in the column ``category``."""
    if not len(first):
        return np.empty(0)
    # One reduction over the columns laid end to end; the repeated last snippet keeps the end of a run inside.
    padded = np.concatenate([values, values[-1:]]).T.ravel()
    offset = category * (len(values) + 1)
    borders = np.column_stack([offset + first, offset + last]).ravel()
    return np.asarray(np.maximum.reduceat(padded, borders)[::2])


def _mean_of_largest_frames(values: Floats, edges: Ints) -> Floats:
    """Mean of the F // 16 largest frame values of each category, [C]."""
    frames = np.diff(edges)
    wanted = int(edges[-1]) // 16
    enough = min(len(values), wanted // int(frames.min()) + 1)  # this many snippets hold the wanted frames
    largest = np.argpartition(-values, enough - 1, axis=0)[:enough]
    order = np.take_along_axis(largest, np.argsort(-np.take_along_axis(values, largest, axis=0), axis=0), axis=0)
    taken = np.clip(wanted - np.cumsum(frames[order], axis=0) + frames[order], 0, frames[order])
    return np.asarray((np.take_along_axis(values, order, axis=0) * taken).sum(axis=0) / max(wanted, 1))


def _by_category(found: Sequence[Proposals], categories: int) -> list[Proposals]:
    """All proposals of each category, most confident first; equal ones in the order of the videos."""
    merged = [np.concatenate([getattr(one, field.name) for one in found]) for field in fields(Proposals)]
    category, score = merged[1], merged[4]
    order = np.lexsort((-score, category))
    borders = np.searchsorted(category[order], np.arange(categories + 1))
    return [Proposals(*(values[order[low:high]] for values in merged)) for low, high in pairwise(borders)]


@dataclass(frozen=True)
class _Candidate:
    """A proposal in a video that has events of the category."""

    rank: int  # among all proposals of the category, from 1
    video: int
    overlaps: list[float]  # IoU with each event of the video


def average_precisions(found: Proposals, truth: Sequence[tuple[int, int, int]]) -> tuple[float, ...]:
    """AP without interpolation at each IoU of ``THRESHOLDS``: mean over events of the precision where each is found.

    Parameters
    ----------
    found
        Proposals of one category in all videos, most confident first. Each takes the free event of its video with the
        largest IoU, if that reaches the threshold.
    truth
        (index of the video, start, end) of its events.
    """
    if not truth:
        return (0.0,) * len(THRESHOLDS)
    events: dict[int, list[FrameSpan]] = {}
    for video, start, end in truth:
        events.setdefault(video, []).append((start, end))
    candidates = []
    for place in np.flatnonzero(np.isin(found.video, list(events))):  # the others count in the rank alone
        video, span = int(found.video[place]), (int(found.start[place]), int(found.end[place]))
        overlaps = [temporal_iou(span, event) for event in events[video]]
        if max(overlaps) >= min(THRESHOLDS):
            candidates.append(_Candidate(int(place) + 1, video, overlaps))
    return tuple(_average_precision(candidates, len(truth), threshold) for threshold in THRESHOLDS)


def _average_precision(candidates: Sequence[_Candidate], events: int, threshold: float) -> float:
    hits, total = 0, 0.0
    taken: set[tuple[int, int]] = set()  # (index of the video, index of its event)
    for candidate in candidates:
        free = [event for event in range(len(candidate.overlaps)) if (candidate.video, event) not in taken]
        best = max(free, key=candidate.overlaps.__getitem__, default=None)
        if best is not None and candidate.overlaps[best] >= threshold:
            taken.add((candidate.video, best))
            hits += 1
            total += hits / candidate.rank
    return total / events


@dataclass(frozen=True)
class TemporalMap:
    """mAP in percent at each IoU of ``THRESHOLDS``, their mean, and AP by category (IoU by IoU)."""

    maps: tuple[float, ...]
    by_category: dict[str, tuple[float, ...]]

    @property
    def average(self) -> float:
        return float(np.mean(self.maps))


UNDEFINED = TemporalMap((float("nan"),) * len(THRESHOLDS), {})


def temporal_map(
    videos: Sequence[EvaluatedVideo],
    categories: Sequence[str],
    normal: int,
    mode: Mode = "corrected",
    *,
    normal_has_events: bool = False,
    rule: ClassRule | None = None,
) -> TemporalMap:
    """mAP@IoU 0.1 to 0.5 of the category scores (logits) of ``videos``.

    Parameters
    ----------
    videos
        Scores beside the ground truth.
    categories, normal
        Names of the columns of the category scores, and the index of Normal.
    mode
        See the text of the module.
    normal_has_events
        Legacy only: whether a normal video counts as one event of class Normal (XD-Violence), or has another name in
        the ground truth and is never found (UCF-Crime).
    rule
        How logits become the class probabilities in which events are searched; default: softmax.
    """
    used = [video for video in videos if mode == "legacy" or video.abnormal]
    found = []
    for index, video in enumerate(used):
        if video.category_scores is None:
            return UNDEFINED
        probabilities = (rule or ClassRule()).probabilities(video.scores, video.category_scores, normal)
        found.append(find_proposals(index, probabilities, video.edges, mode))
    if not found:
        return UNDEFINED
    ranked = dict(zip(categories, _by_category(found, len(categories)), strict=True))
    truth = _ground_truth(used, categories, mode)
    if mode == "legacy":
        if normal_has_events:
            truth[categories[normal]] += [(i, 0, v.frame_count) for i, v in enumerate(used) if not v.abnormal]
        if not all(len(proposals.score) for proposals in ranked.values()):
            return TemporalMap((0.0,) * len(THRESHOLDS), {})
        counted = list(categories)
    else:
        counted = [name for index, name in enumerate(categories) if index != normal and truth[name]]
    if not counted:
        return UNDEFINED
    by_category = {
        name: tuple(100 * value for value in average_precisions(ranked[name], truth[name])) for name in counted
    }
    return TemporalMap(tuple(np.mean(list(by_category.values()), axis=0).tolist()), by_category)


def _ground_truth(videos: Sequence[EvaluatedVideo], categories: Sequence[str], mode: Mode) -> GroundTruth:
    truth: GroundTruth = {name: [] for name in categories}
    for index, video in enumerate(videos):
        for name, start, end in video.events if mode == "legacy" else _merged(video.events):
            truth[name].append((index, start, end))
    return truth


def _merged(events: Sequence[LabelledSpan]) -> list[LabelledSpan]:
    """``events``, with those of one category that overlap or touch joined."""
    joined: list[LabelledSpan] = []
    for name, start, end in sorted(events):
        if joined and joined[-1][0] == name and start <= joined[-1][2]:
            joined[-1] = (name, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((name, start, end))
    return joined
