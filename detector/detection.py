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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kgvad.detector.metrics import Floats, Interval, Ints, Track, roc_auc, rows_of, video_categories

Mode = Literal["legacy", "corrected"]
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Proposal:
    """A predicted event: video number, frames [start, end), confidence."""

    video: int
    start: int
    end: int
    score: float


def iou(one: Interval, other: Interval) -> float:
    """Shared frames over covered frames."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    if shared <= 0:
        return 0.0
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared)


def softmax(logits: Floats) -> Floats:
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def proposals(video: int, values: Floats, edges: Ints, mode: Mode = "corrected") -> list[Proposal]:
    """Maximal runs of rows above max - 0.6 (max - min).

    The confidence of a run is its largest value plus 0.7 times the mean of the F // 16 largest frames of the video.
    """
    frames = np.diff(edges)
    wanted = int(edges[-1]) // 16
    order = np.argsort(-values, kind="stable")
    taken = np.clip(wanted - np.concatenate([[0], np.cumsum(frames[order])[:-1]]), 0, frames[order])
    level = float((values[order] * taken).sum() / wanted) if wanted else 0.0
    least = values.max() - 0.6 * (values.max() - values.min())
    above = values > least if mode == "legacy" else values >= least
    turns = np.flatnonzero(np.diff(np.concatenate([[0], above, [0]]).astype(np.int8))).reshape(-1, 2)
    return [
        Proposal(video, int(edges[a]), int(edges[b]), float(values[a:b].max()) + 0.7 * level)
        for a, b in turns
        if edges[b] - edges[a] >= (2 if mode == "legacy" else 1)
    ]


def average_precision_at(found: Sequence[Proposal], truth: Sequence[tuple[int, int, int]], threshold: float) -> float:
    """AP without interpolation: the mean over events of the precision at the rank where each is found.

    Parameters
    ----------
    found
        Proposals of one category in all videos.
    truth
        (video number, start, end) of its events.
    threshold
        Smallest IoU of a match. Each proposal, best first, takes the free event of its video with the largest IoU.
    """
    if not truth:
        return 0.0
    events: dict[int, list[Interval]] = {}
    for video, start, end in truth:
        events.setdefault(video, []).append((start, end))
    hits, total = 0, 0.0
    for rank, one in enumerate(sorted(found, key=lambda p: -p.score), 1):
        free = events.get(one.video, [])
        if not free:
            continue
        overlaps = [iou((one.start, one.end), event) for event in free]
        best = int(np.argmax(overlaps))
        if overlaps[best] >= threshold:
            del free[best]
            hits += 1
            total += hits / rank
    return total / len(truth)


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
) -> Detection:
    """mAP@IoU 0.1 to 0.5 of category scores (logits) over the tracks.

    Parameters
    ----------
    mode
        See the module's text.
    normal_has_events
        Legacy only: whether normal videos count as one whole-video event of class Normal (XD-Violence), or are named
        otherwise in the truth and so can never be found (UCF-Crime).
    """
    used = [track for track in tracks if mode == "legacy" or track.abnormal]
    shares = [softmax(track.category_scores) for track in used if track.category_scores is not None]
    if len(shares) != len(used):
        return Detection(tuple([float("nan")] * len(THRESHOLDS)), {})
    truth: dict[str, list[tuple[int, int, int]]] = {name: [] for name in categories}
    for number, track in enumerate(used):
        for name, start, end in track.events:
            truth[name].append((number, start, end))
        if mode == "legacy" and normal_has_events and not track.abnormal:
            truth[categories[normal]].append((number, 0, track.frame_count))
    by_category: dict[str, tuple[float, ...]] = {}
    for index, name in enumerate(categories):
        if mode == "corrected" and (index == normal or not truth[name]):
            continue
        found = [p for number, s in enumerate(shares) for p in proposals(number, s[:, index], used[number].edges, mode)]
        if mode == "legacy" and not found:
            return Detection((0.0,) * len(THRESHOLDS), {})
        by_category[name] = tuple(100 * average_precision_at(found, truth[name], th) for th in THRESHOLDS)
    if not by_category:
        return Detection(tuple([float("nan")] * len(THRESHOLDS)), {})
    return Detection(tuple(np.mean(list(by_category.values()), axis=0).tolist()), by_category)


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


def confusion(tracks: Sequence[Track], categories: Sequence[str], normal: int | None) -> dict[str, dict[str, int]]:
    """How many abnormal videos of each category (row) are named what (column), Normal left out."""
    table: dict[str, dict[str, int]] = {}
    for track in tracks:
        means = video_categories(track)
        if not track.abnormal or means is None:
            continue
        if normal is not None:
            means = means.copy()
            means[normal] = -np.inf
        row = table.setdefault(track.labels[0], {})
        name = categories[int(means.argmax())]
        row[name] = row.get(name, 0) + 1
    return table
