"""Detection of events in time: mAP@IoU by interval arithmetic, and figures of an alarm at a threshold.

The procedure is the field's (VadCLIP's evaluation, after Zhao et al. 2017). ``legacy`` keeps its faults for
comparison, ``corrected`` does not:

                      legacy                                   corrected
    classes           all, Normal too                          abnormal categories with at least one event
    videos            all                                      abnormal
    UCF-Crime Normal  named "A" in the truth, so its AP is 0   left out
    an empty class    makes the whole result 0                 has AP 0
    a score that      gives no proposal                        is one proposal, the whole video
    never moves
    runs of a frame   left out                                 kept
    events of one     each counts, though one run of rows      count as one
    category that     can find only one
    overlap
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal

import numpy as np

from kgvad.detector.evaluation.frame_metrics import Floats, Interval, Ints, Track, roc_auc, rows_of, video_categories
from kgvad.detector.scoring.class_probabilities import ClassRule

Mode = Literal["legacy", "corrected"]
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, eq=False)
class Proposals:
    """Predicted events, one per place of the arrays.

    Attributes
    ----------
    video, category
        Numbers of both, int64 [N].
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


def iou(one: Interval, other: Interval) -> float:
    """Shared frames over covered frames."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    if shared <= 0:
        return 0.0
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared)


def proposals(video: int, values: Floats, edges: Ints, mode: Mode = "corrected") -> Proposals:
    """Maximal runs of rows above max - 0.6 (max - min), of each category apart.

    The confidence of a run is its largest value plus 0.7 times the mean of the F // 16 largest frames of the video.

    Parameters
    ----------
    video
        Its number.
    values
        [T, C]: share of each category in each row.
    edges
        int64 [T + 1]: row i covers frames [edges[i], edges[i + 1]).
    """
    rows = len(values)
    frames = np.diff(edges)
    wanted = int(edges[-1]) // 16
    enough = min(rows, wanted // int(frames.min()) + 1)  # so many rows hold the wanted frames, however long each is
    largest = np.argpartition(-values, enough - 1, axis=0)[:enough]
    order = np.take_along_axis(largest, np.argsort(-np.take_along_axis(values, largest, axis=0), axis=0), axis=0)
    taken = np.clip(wanted - np.cumsum(frames[order], axis=0) + frames[order], 0, frames[order])
    level = (np.take_along_axis(values, order, axis=0) * taken).sum(axis=0) / max(wanted, 1)
    highest, lowest = values.max(axis=0), values.min(axis=0)
    least = highest - 0.6 * (highest - lowest)
    above = values > least if mode == "legacy" else values >= least
    turns = np.diff(above.T.astype(np.int8), axis=1, prepend=0, append=0)  # [C, T + 1]
    category, first = np.nonzero(turns == 1)
    last = np.nonzero(turns == -1)[1]
    kept = edges[last] - edges[first] >= (2 if mode == "legacy" else 1)
    category, first, last = category[kept], first[kept], last[kept]
    # the largest value of every run at once; the added row makes the place after a last run one that exists
    padded = np.concatenate([values, values[-1:]]).T.ravel()
    borders = np.column_stack([category * (rows + 1) + first, category * (rows + 1) + last]).ravel()
    peaks = np.maximum.reduceat(padded, borders)[::2] if len(borders) else np.empty(0)
    return Proposals(np.full(len(first), video), category, edges[first], edges[last], peaks + 0.7 * level[category])


def _ranked(found: Sequence[Proposals], categories: int) -> list[Proposals]:
    """All proposals of each category, best first; equal ones in the order of the videos."""
    merged = [np.concatenate([getattr(one, field.name) for one in found]) for field in fields(Proposals)]
    category, score = merged[1], merged[4]
    order = np.lexsort((-score, category))
    borders = np.searchsorted(category[order], np.arange(categories + 1))
    return [Proposals(*(values[order[low:high]] for values in merged)) for low, high in pairwise(borders)]


def average_precisions(found: Proposals, truth: Sequence[tuple[int, int, int]]) -> tuple[float, ...]:
    """AP without interpolation at each IoU of ``THRESHOLDS``: mean over events of the precision where each is found.

    Parameters
    ----------
    found
        Proposals of one category in all videos, best first. Each takes the free event of its video with the largest
        IoU, if that reaches the threshold.
    truth
        (video number, start, end) of its events.
    """
    if not truth:
        return (0.0,) * len(THRESHOLDS)
    events: dict[int, list[Interval]] = {}
    for video, start, end in truth:
        events.setdefault(video, []).append((start, end))
    candidates = [  # a proposal in a video without an event takes its place in the ranking, no more
        (int(place) + 1, int(found.video[place]), (int(found.start[place]), int(found.end[place])))
        for place in np.flatnonzero(np.isin(found.video, list(events)))
    ]
    compared = [(rank, video, [iou(span, event) for event in events[video]]) for rank, video, span in candidates]
    overlaps = [one for one in compared if max(one[2]) >= min(THRESHOLDS)]
    result = []
    for threshold in THRESHOLDS:
        hits, total = 0, 0.0
        taken = {video: [False] * len(spans) for video, spans in events.items()}
        for rank, video, shares in overlaps:
            free = [place for place, used in enumerate(taken[video]) if not used]
            best = max(free, key=lambda place: shares[place], default=None)
            if best is not None and shares[best] >= threshold:
                taken[video][best] = True
                hits += 1
                total += hits / rank
        result.append(total / len(truth))
    return tuple(result)


@dataclass(frozen=True)
class Detection:
    """mAP in percent at each IoU of ``THRESHOLDS``, their mean, and AP by category (IoU by IoU)."""

    maps: tuple[float, ...]
    by_category: dict[str, tuple[float, ...]]

    @property
    def average(self) -> float:
        return float(np.mean(self.maps))


def detection_map(
    tracks: Sequence[Track],
    categories: Sequence[str],
    normal: int,
    mode: Mode = "corrected",
    *,
    normal_has_events: bool = False,
    rule: ClassRule | None = None,
) -> Detection:
    """mAP@IoU 0.1 to 0.5 of category scores (logits) over the tracks.

    Parameters
    ----------
    mode
        See the module's text.
    normal_has_events
        Legacy only: whether normal videos count as one whole-video event of class Normal (XD-Violence), or are named
        otherwise in the truth and so can never be found (UCF-Crime).
    rule
        How logits become the shares that are searched for events; default: softmax.
    """
    rule = rule or ClassRule()
    used = [track for track in tracks if mode == "legacy" or track.abnormal]
    shares = [
        rule.probabilities(track.scores, track.category_scores, normal)
        for track in used
        if track.category_scores is not None
    ]
    if len(shares) != len(used):
        return Detection(tuple([float("nan")] * len(THRESHOLDS)), {})
    truth: dict[str, list[tuple[int, int, int]]] = {name: [] for name in categories}
    for number, track in enumerate(used):
        for name, start, end in track.events if mode == "legacy" else _merged(track.events):
            truth[name].append((number, start, end))
        if mode == "legacy" and normal_has_events and not track.abnormal:
            truth[categories[normal]].append((number, 0, track.frame_count))
    by_category: dict[str, tuple[float, ...]] = {}
    found = [proposals(number, share, used[number].edges, mode) for number, share in enumerate(shares)]
    for index, (name, ranked) in enumerate(zip(categories, _ranked(found, len(categories)), strict=True)):
        if mode == "corrected" and (index == normal or not truth[name]):
            continue
        if mode == "legacy" and not len(ranked.score):
            return Detection((0.0,) * len(THRESHOLDS), {})
        by_category[name] = tuple(100 * value for value in average_precisions(ranked, truth[name]))
    if not by_category:
        return Detection(tuple([float("nan")] * len(THRESHOLDS)), {})
    return Detection(tuple(np.mean(list(by_category.values()), axis=0).tolist()), by_category)


def _merged(events: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Events of which those of one category that overlap or touch are joined."""
    joined: list[tuple[str, int, int]] = []
    for name, start, end in sorted(events):
        if joined and joined[-1][0] == name and start <= joined[-1][2]:
            joined[-1] = (name, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((name, start, end))
    return joined


@dataclass(frozen=True)
class Alarms:
    """Figures of an alarm raised where the score reaches a threshold.

    Attributes
    ----------
    threshold
        Of the score.
    false_alarm_rate
        Share of the frames of normal videos with an alarm.
    recall_at
        Share of abnormal frames found where the threshold lets 1, 5 and 10 percent of all normal frames alarm.
    delay_frames
        Mean frames from the start of an event to the first alarm in it, over the events found.
    events_found
        Share of events with an alarm.
    calibration_error
        Expected calibration error of the score over frames, ten equal bins.
    """

    threshold: float
    false_alarm_rate: float
    recall_at: tuple[float, float, float]
    delay_frames: float
    events_found: float
    calibration_error: float


def alarms(tracks: Sequence[Track], threshold: float = 0.5) -> Alarms:
    """Figures of :class:`Alarms`."""
    quiet = rows_of([track for track in tracks if not track.abnormal])
    alarm_frames = quiet.negatives[quiet.scores >= threshold].sum()
    delays: list[int] = []
    events = 0
    for track in tracks:
        loud = np.flatnonzero(track.scores >= threshold)
        for start, end in track.intervals:
            events += 1
            inside = loud[(track.edges[loud + 1] > start) & (track.edges[loud] < end)]
            if len(inside):
                delays.append(max(0, int(track.edges[inside[0]]) - start))
    return Alarms(
        threshold,
        float(alarm_frames / quiet.negatives.sum()) if quiet.negatives.sum() else float("nan"),
        (recall_at(tracks, 0.01), recall_at(tracks, 0.05), recall_at(tracks, 0.1)),
        float(np.mean(delays)) if delays else float("nan"),
        len(delays) / events if events else float("nan"),
        calibration_error(tracks),
    )


def recall_at(tracks: Sequence[Track], rate: float) -> float:
    """Largest share of abnormal frames found by a threshold under which at most ``rate`` of normal frames alarm."""
    rows = rows_of(tracks)
    order = np.argsort(-rows.scores, kind="stable")
    ranked = rows.scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits, false = np.cumsum(rows.positives[order])[last], np.cumsum(rows.negatives[order])[last]
    if not len(hits) or hits[-1] == 0 or false[-1] == 0:
        return float("nan")
    allowed = hits[false <= rate * false[-1]]
    return float(allowed[-1] / hits[-1]) if len(allowed) else 0.0


def calibration_error(tracks: Sequence[Track], bins: int = 10) -> float:
    """sum over bins of (share of frames) x |mean score - share of abnormal frames| (Guo et al. 2017, eq. 3)."""
    rows = rows_of(tracks)
    frames = rows.positives + rows.negatives
    place = np.minimum((rows.scores * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, frames, bins)
    gap = np.bincount(place, rows.scores * frames, bins) - np.bincount(place, rows.positives, bins)
    return float(np.abs(gap).sum() / count.sum()) if count.sum() else float("nan")


def category_auc(tracks: Sequence[Track], categories: Sequence[str]) -> dict[str, float]:
    """Frame AUC of each category's videos together with all normal videos."""
    found = {}
    for name in categories:
        chosen = [track for track in tracks if not track.abnormal or name in track.labels]
        if any(track.abnormal for track in chosen):
            rows = rows_of(chosen)
            found[name] = roc_auc(rows.scores, rows.positives, rows.negatives)
    return found


def confusion(
    tracks: Sequence[Track], categories: Sequence[str], normal: int | None, *, with_normal: bool = False
) -> dict[str, dict[str, int]]:
    """How many videos of each category (row) are named what (column).

    ``with_normal`` takes all videos and lets Normal be named; otherwise abnormal videos, Normal left out.
    """
    table: dict[str, dict[str, int]] = {}
    for track in tracks:
        means = video_categories(track)
        if means is None or (not track.abnormal and (not with_normal or normal is None)):
            continue
        if normal is not None and not with_normal:
            means = means.copy()
            means[normal] = -np.inf
        row = table.setdefault(track.labels[0] if track.abnormal else categories[normal or 0], {})
        name = categories[int(means.argmax())]
        row[name] = row.get(name, 0) + 1
    return table
