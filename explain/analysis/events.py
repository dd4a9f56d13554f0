"""Events: runs of snippets with a high anomaly score, found by hysteresis thresholding.

An event starts where the score reaches the onset threshold and extends in both directions while the score stays at or
above the offset threshold. Events with a short gap between them are merged, and events that are then still too short
are dropped. All durations are seconds, so the same rule serves every frame rate and snippet length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.detector.thresholds import RunThresholds
from kgvad.errors import UsageError
from kgvad.explain.report import Setting
from kgvad.masks import true_runs
from kgvad.video.decode import VideoInfo


@dataclass(frozen=True)
class EventRule:
    """How events are found on the score curve.

    Attributes
    ----------
    onset
        Score at which an event starts.
    offset
        Score below which an event ends.
    merge_gap_s
        Events at most this many seconds apart are merged.
    min_duration_s
        Shorter events are dropped. A video that is shorter keeps its event.

    Raises
    ------
    UsageError
        A value is out of range.
    """

    onset: float = 0.5
    offset: float = 0.35
    merge_gap_s: float = 2.0
    min_duration_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.offset <= self.onset <= 1:
            raise UsageError(
                f"the onset threshold is {self.onset:g} and the offset threshold {self.offset:g}",
                "they must satisfy 0 < offset <= onset <= 1",
            )
        for name, value in (("merge gap", self.merge_gap_s), ("minimum duration", self.min_duration_s)):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"the {name} is {value:g} seconds", "give a number of seconds, 0 or more")


ONSET_RATIO, OFFSET_RATIO = 2.25, 1.8
"""Thresholds for scores from pixels alone, as multiples of the video's baseline level. On half of the labelled footage
(20 abnormal, 18 normal videos) lower ratios find no more events and raise more false alarms; higher ones miss events
(11 of 20 instead of 14 at 2.75). See docs/notebook/reports.md."""

ONSET_RISE, OFFSET_RISE = 0.6, 0.5
"""An event must also stand out of its own video: the thresholds lie at least this share of the way from the video's
lower quartile to its peak. Otherwise a busy video is one long event. Chosen on the same half, where the overlap with
the annotations rose from .28 to .32 (other half: .20 to .24)."""


PIXELS_HELD_OUT = RunThresholds(
    onset=0.5, false_alarm_rate=9 / 12, miss_rate=4 / 18, normal_videos=12, abnormal_videos=18
)
"""How the rule for pixels alone does on the half of the labelled footage that it was not chosen on
(docs/notebook/reports.md). Its onset depends on the video; the value here is not used."""


def default_rule(origin: Origin, scores: NDArray[np.floating] | None = None) -> EventRule:
    """The rule for scores of this origin; for pixels alone it also depends on the scores, float [T]."""
    if origin.thresholds is not None:
        default, onset = EventRule(), origin.thresholds.onset
        return EventRule(onset=onset, offset=onset * default.offset / default.onset)
    if origin.scorer != "training-free" or origin.names_categories != "no":
        return EventRule()
    from kgvad.detector.scoring.training_free import TrainingFreeRule  # imports torch; a file of scores needs none

    half = TrainingFreeRule().half_at  # the score is r^2 / (r^2 + half^2) at r times the baseline level
    onset, offset = (round(ratio**2 / (ratio**2 + half**2), 3) for ratio in (ONSET_RATIO, OFFSET_RATIO))
    if scores is None or not len(scores):
        return EventRule(onset=onset, offset=offset)
    baseline, peak = float(np.quantile(scores, 0.25)), float(scores.max())
    onset = max(onset, baseline + ONSET_RISE * (peak - baseline))
    offset = max(offset, baseline + OFFSET_RISE * (peak - baseline))
    return EventRule(onset=onset, offset=min(offset, onset))


@dataclass(frozen=True)
class Calibration:
    """Normal footage on which thresholds were set.

    Attributes
    ----------
    videos
        Number of normal videos; 0 for footage of a live camera.
    false_alarms_per_hour
        Events per hour of normal footage that were accepted.
    hours
        Hours of footage of a live camera.
    """

    videos: int
    false_alarms_per_hour: float
    hours: float | None = None


@dataclass(frozen=True)
class Thresholds:
    """The parts of an :class:`EventRule` that the user set; ``None`` takes the default of the scorer.

    Attributes
    ----------
    onset, offset
        Scores at which an event starts, and below which it ends. An onset without an offset keeps the default ratio.
    merge_gap_s, min_duration_s
        Seconds.
    calibration
        The footage that the thresholds were set on, if any.
    by_user
        Names of those that a user chose, for the report. Default: those that are given.
    """

    onset: float | None = None
    offset: float | None = None
    merge_gap_s: float | None = None
    min_duration_s: float | None = None
    calibration: Calibration | None = None
    by_user: tuple[Setting, ...] | None = None

    def __post_init__(self) -> None:
        if self.by_user is None:
            names: tuple[Setting, ...] = ("onset", "offset", "merge_gap_s", "min_duration_s")
            object.__setattr__(self, "by_user", tuple(name for name in names if getattr(self, name) is not None))
        if self.onset is not None:  # what is wrong for every scorer is reported before any work is done
            self.rule(Origin())

    def rule(self, origin: Origin, scores: NDArray[np.floating] | None = None) -> EventRule:
        """The complete rule for scores of this origin, float [T]."""
        default = default_rule(origin, scores if self.onset is None else None)
        onset = default.onset if self.onset is None else self.onset
        return EventRule(
            onset=onset,
            offset=onset * default.offset / default.onset if self.offset is None else self.offset,
            merge_gap_s=default.merge_gap_s if self.merge_gap_s is None else self.merge_gap_s,
            min_duration_s=default.min_duration_s if self.min_duration_s is None else self.min_duration_s,
        )


@dataclass(frozen=True)
class EventSpan:
    """One event on the score curve.

    Attributes
    ----------
    snippets
        Indices of its snippets, ``[first, last + 1)``.
    start_s, end_s
        Seconds from the start of the video.
    onset_s
        Start of the first snippet at or above the onset threshold.
    peak_s
        Middle of the snippet with the highest score.
    peak_snippet
        Index of that snippet.
    peak, mean
        Highest score, and the mean weighted by the duration of the snippets.
    """

    snippets: tuple[int, int]
    start_s: float
    end_s: float
    onset_s: float
    peak_s: float
    peak_snippet: int
    peak: float
    mean: float


def snippet_times(scores: Scores, info: VideoInfo | None = None) -> NDArray[np.float64]:
    """Start and end of every snippet in seconds, float64 [T, 2].

    The timestamps of the frames are used where ``info`` has them and the frame rate varies.
    """
    if info is None or not info.variable_rate:
        return scores.spans / scores.fps
    ends = np.minimum(scores.spans, info.frame_count)
    return np.array([[info.seconds(int(start)), info.seconds(int(end))] for start, end in ends])


def find_events(
    scores: Scores, rule: EventRule | None = None, times: NDArray[np.float64] | None = None
) -> list[EventSpan]:
    """Events of one video, in the order of time.

    Parameters
    ----------
    scores
        Anomaly scores.
    rule
        Thresholds and durations; default: :class:`EventRule`.
    times
        Start and end of every snippet in seconds, float64 [T, 2]; default: :func:`snippet_times`.
    """
    rule = rule or EventRule()
    times = snippet_times(scores) if times is None else times
    shortest = min(rule.min_duration_s, float(times[-1, 1] - times[0, 0]))
    return [
        event_span(scores.scores, times, run, rule)
        for run in event_runs(scores.scores, times, rule)
        if times[run[1] - 1, 1] - times[run[0], 0] >= shortest - 1e-9
    ]


def event_runs(scores: NDArray[np.floating], times: NDArray[np.float64], rule: EventRule) -> list[tuple[int, int]]:
    """Snippets ``[first, last + 1)`` of every event, also of those that are too short.

    Parameters
    ----------
    scores
        Float [T].
    times
        Start and end of every snippet in seconds, [T, 2].
    rule
        Thresholds and merge gap.
    """
    merged: list[tuple[int, int]] = []
    for first, stop in true_runs(scores >= rule.offset):
        if scores[first:stop].max() < rule.onset:
            continue
        if merged and times[first, 0] - times[merged[-1][1] - 1, 1] <= rule.merge_gap_s + 1e-9:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((first, stop))
    return merged


def outside_events(scores: Scores, events: Iterable[EventSpan]) -> NDArray[np.bool_]:
    """Snippets that belong to no event, bool [T]."""
    outside = np.ones(len(scores.scores), dtype=bool)
    for event in events:
        outside[slice(*event.snippets)] = False
    return outside


def event_span(
    scores: NDArray[np.floating], times: NDArray[np.float64], run: tuple[int, int], rule: EventRule
) -> EventSpan:
    """The event that fills the snippets ``run``; ``scores`` float [T], ``times`` float64 [T, 2]."""
    inside = slice(*run)
    values, spans = scores[inside], times[inside]
    peak = int(values.argmax())
    onset = int((values >= rule.onset).argmax())
    return EventSpan(
        snippets=run,
        start_s=float(spans[0, 0]),
        end_s=float(spans[-1, 1]),
        onset_s=float(spans[onset, 0]),
        peak_s=float(spans[peak].mean()),
        peak_snippet=run[0] + peak,
        peak=float(values[peak]),
        mean=float(np.average(values, weights=spans[:, 1] - spans[:, 0])),
    )
