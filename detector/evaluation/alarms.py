"""Metrics of an alarm that is raised where the anomaly score reaches a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, pool_snippets
from kgvad.detector.evaluation.frame_metrics import roc_points


@dataclass(frozen=True)
class AlarmMetrics:
    """Metrics of an alarm; NaN where one cannot be computed.

    Attributes
    ----------
    threshold
        Score at which the alarm is raised.
    false_alarm_rate
        Share of the frames of normal videos with an alarm.
    recall_at
        Share of abnormal frames found by thresholds with a false alarm rate of 1, 5 and 10 percent of normal frames.
    delay_frames
        Mean frames from the start of an event to its first alarm, over the events found.
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


def alarm_metrics(videos: Sequence[EvaluatedVideo], threshold: float = 0.5) -> AlarmMetrics:
    """All metrics of :class:`AlarmMetrics`."""
    delays = [delay for video in videos for delay in _delays(video, threshold)]
    found = [delay for delay in delays if delay is not None]
    return AlarmMetrics(
        threshold,
        _false_alarm_rate([video for video in videos if not video.abnormal], threshold),
        (recall_at(videos, 0.01), recall_at(videos, 0.05), recall_at(videos, 0.1)),
        float(np.mean(found)) if found else float("nan"),
        len(found) / len(delays) if delays else float("nan"),
        calibration_error(videos),
    )


def _false_alarm_rate(normal_videos: Sequence[EvaluatedVideo], threshold: float) -> float:
    pool = pool_snippets(normal_videos)
    frames = pool.negatives.sum()
    return float(pool.negatives[pool.scores >= threshold].sum() / frames) if frames else float("nan")


def _delays(video: EvaluatedVideo, threshold: float) -> list[int | None]:
    """Frames from the start of each event to its first alarm; ``None`` for an event without one."""
    alarms = np.flatnonzero(video.scores >= threshold)
    delays: list[int | None] = []
    for start, end in video.intervals:
        inside = alarms[(video.edges[alarms + 1] > start) & (video.edges[alarms] < end)]
        delays.append(max(0, int(video.edges[inside[0]]) - start) if len(inside) else None)
    return delays


def recall_at(videos: Sequence[EvaluatedVideo], rate: float) -> float:
    """Largest share of abnormal frames found at a false alarm rate of at most ``rate`` of all normal frames."""
    pool = pool_snippets(videos)
    if not (pool.positives.any() and pool.negatives.any()):
        return float("nan")
    false_positive_rate, recall = roc_points(pool)
    return float(recall[false_positive_rate <= rate].max())


def calibration_error(videos: Sequence[EvaluatedVideo]) -> float:
    """Sum over ten bins of (share of frames) x |mean score - share of abnormal frames| (Guo et al. 2017, eq. 3)."""
    bins = 10
    pool = pool_snippets(videos)
    frames = pool.positives + pool.negatives
    place = np.minimum((pool.scores * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, frames, bins)
    gap = np.bincount(place, pool.scores * frames, bins) - np.bincount(place, pool.positives, bins)
    known = count.sum() and all(video.has_frame_labels for video in videos)
    return float(np.abs(gap).sum() / count.sum()) if known else float("nan")
