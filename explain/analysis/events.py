"""Events: runs of snippets whose anomaly score stays high, found by hysteresis.

A run starts where the score reaches ``high`` and reaches out on both sides for as long as it stays at or above
``low``. Runs with a short gap between them are one event, and what is then still too short is dropped. All lengths
are seconds, so that the same rule serves every frame rate and snippet length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.errors import ScoresError, UsageError
from kgvad.video.decode import VideoInfo


@dataclass(frozen=True)
class EventRule:
    """How events are read off the score curve.

    Attributes
    ----------
    high
        A score from here on starts an event.
    low
        The event lasts while the score is at or above this.
    merge_s
        Events with at most this many seconds between them are one.
    min_s
        Shorter events are dropped; a video shorter than this keeps its event.
    """

    high: float = 0.5
    low: float = 0.35
    merge_s: float = 2.0
    min_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise UsageError(
                f"the thresholds are low {self.low:g} and high {self.high:g}",
                "they must be 0 < low <= high <= 1",
            )
        if not (math.isfinite(self.merge_s) and math.isfinite(self.min_s) and self.merge_s >= 0 and self.min_s >= 0):
            raise UsageError(
                f"merge_s is {self.merge_s:g} and min_s is {self.min_s:g}", "both must be seconds, 0 or more"
            )


START_RATIO, LAST_RATIO = 2.25, 1.8
"""Where nothing but pixels was looked at, an event begins at so many times the video's quiet level and lasts above the
second. On half of the labelled footage (20 abnormal, 18 normal videos) lower ratios find no more events and disturb
more normal videos; higher ones miss events (11 of 20 instead of 14 at 2.75). See docs/notebook/reports.md."""

START_RISE, LAST_RISE = 0.6, 0.5
"""And an event must stand out of its own video: it begins above the first of these shares of the way from the video's
lower quartile to its peak, and lasts above the second. A video that is busy all over is else one long event. Chosen on
the same half, where the overlap with the truth rose from .28 to .32 (other half: .20 to .24)."""


def usual_rule(origin: Origin, scores: NDArray[np.floating] | None = None) -> EventRule:
    """The rule for scores of this origin, where the user gave none; for pixels alone the scores [T] count too."""
    if origin.scorer != "training-free" or origin.names_categories != "no":
        return EventRule()
    from kgvad.detector.scoring.training_free import TrainingFreeRule  # imports torch; given scores need none

    half = TrainingFreeRule().half_at  # the score is r^2 / (r^2 + half^2) at r times the quiet level
    high, low = (round(ratio**2 / (ratio**2 + half**2), 3) for ratio in (START_RATIO, LAST_RATIO))
    if scores is None or not len(scores):
        return EventRule(high=high, low=low)
    quiet, peak = float(np.quantile(scores, 0.25)), float(scores.max())
    high = max(high, quiet + START_RISE * (peak - quiet))
    low = max(low, quiet + LAST_RISE * (peak - quiet))
    return EventRule(high=high, low=min(low, high))


@dataclass(frozen=True)
class Thresholds:
    """What the user chose of an :class:`EventRule`; ``None`` takes what suits the scorer."""

    high: float | None = None
    low: float | None = None
    merge_s: float | None = None
    min_s: float | None = None

    def __post_init__(self) -> None:
        if self.high is not None:  # what is wrong for any scorer is said before any work is done
            self.rule(Origin())

    def rule(self, origin: Origin, scores: NDArray[np.floating] | None = None) -> EventRule:
        """The whole rule for scores [T] of this origin; a new ``high`` keeps the ratio of the thresholds."""
        usual = usual_rule(origin, scores if self.high is None else None)
        high = usual.high if self.high is None else self.high
        return EventRule(
            high=high,
            low=high * usual.low / usual.high if self.low is None else self.low,
            merge_s=usual.merge_s if self.merge_s is None else self.merge_s,
            min_s=usual.min_s if self.min_s is None else self.min_s,
        )


@dataclass(frozen=True)
class Interval:
    """One event on the score curve.

    Attributes
    ----------
    rows
        Rows of the scores that belong to it, ``[first, last + 1)``.
    start_s, end_s
        Seconds from the start of the video.
    onset_s
        Start of the first row at or above ``high``.
    peak_s
        Middle of the row with the highest score.
    peak_row
        That row.
    peak, mean
        Highest score, and the mean weighted by the length of the rows.
    """

    rows: tuple[int, int]
    start_s: float
    end_s: float
    onset_s: float
    peak_s: float
    peak_row: int
    peak: float
    mean: float


def row_times(scores: Scores) -> NDArray[np.float64]:
    """Start and end of every scored row in seconds, float64 [T, 2]."""
    return scores.spans / scores.fps


def find_events(
    scores: Scores, rule: EventRule | None = None, times: NDArray[np.float64] | None = None
) -> list[Interval]:
    """Events in the order of time.

    Parameters
    ----------
    scores
        The score curve.
    rule
        Thresholds and lengths; the default rule if ``None``.
    times
        Start and end of every row in seconds, float64 [T, 2], for a video of variable frame rate; from the frame
        numbers if ``None``.
    """
    rule = rule or EventRule()
    times = row_times(scores) if times is None else times
    runs = [run for run in _runs(scores.scores >= rule.low) if scores.scores[run[0] : run[1]].max() >= rule.high]
    merged: list[tuple[int, int]] = []
    for first, stop in runs:
        if merged and times[first, 0] - times[merged[-1][1] - 1, 1] <= rule.merge_s + 1e-9:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((first, stop))
    shortest = min(rule.min_s, float(times[-1, 1] - times[0, 0]))
    return [
        _interval(scores, times, run, rule)
        for run in merged
        if times[run[1] - 1, 1] - times[run[0], 0] >= shortest - 1e-9
    ]


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of true values, ``[first, last + 1)``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def _interval(scores: Scores, times: NDArray[np.float64], run: tuple[int, int], rule: EventRule) -> Interval:
    inside = slice(*run)
    values, spans = scores.scores[inside], times[inside]
    peak = int(values.argmax())
    onset = int((values >= rule.high).argmax())
    return Interval(
        rows=run,
        start_s=float(spans[0, 0]),
        end_s=float(spans[-1, 1]),
        onset_s=float(spans[onset, 0]),
        peak_s=float(spans[peak].mean()),
        peak_row=run[0] + peak,
        peak=float(values[peak]),
        mean=float(np.average(values, weights=spans[:, 1] - spans[:, 0])),
    )


def calibrate(normal: Iterable[Scores], rule: EventRule | None = None, false_alarms_per_hour: float = 1.0) -> EventRule:
    """The rule with thresholds set on footage known to be normal.

    Going down from 1 through the scores that occur, ``high`` becomes the last value (plus a hair) at which the footage
    still gives at most ``false_alarms_per_hour`` events an hour; ``low`` keeps its ratio to ``high``.

    Parameters
    ----------
    normal
        Scores of normal footage, from the same scorer as the videos that the rule will be used on.
    rule
        Lengths and the ratio of the thresholds are taken from here.
    false_alarms_per_hour
        What is accepted, events an hour.

    Raises
    ------
    ScoresError
        There is no normal footage.
    UsageError
        ``false_alarms_per_hour`` is negative or not a number.
    """
    rule = rule or EventRule()
    videos = list(normal)
    if not videos:
        raise ScoresError("there is no normal footage to calibrate on", "name scores of normal videos")
    if not false_alarms_per_hour >= 0:
        raise UsageError(f"false alarms an hour is {false_alarms_per_hour}", "give a number, 0 or more")
    allowed = false_alarms_per_hour * sum(video.frame_count / video.fps for video in videos) / 3600
    ratio = rule.low / rule.high
    # A lower threshold may join two events into one, so their number is not monotonic: the search goes from the top
    # down and ends at the first candidate that breaks the promise.
    candidates = np.unique(np.concatenate([video.scores for video in videos]))
    candidates = candidates[candidates > 0]
    if len(candidates) > 512:
        candidates = np.quantile(candidates, np.linspace(0, 1, 512))
    best = 1.0
    for value in candidates[::-1]:
        high = min(1.0, float(value) + 1e-4)
        trial = replace(rule, high=high, low=high * ratio)
        if sum(len(find_events(video, trial)) for video in videos) > allowed:
            break
        best = high
    return replace(rule, high=best, low=best * ratio)


def frame_times(scores: Scores, info: VideoInfo | None) -> NDArray[np.float64] | None:
    """Times of the rows by the frames' own timestamps, where the frame rate varies."""
    if info is None or not info.variable_rate:
        return None
    ends = np.minimum(scores.spans, info.frame_count)
    return np.array([[info.seconds(int(start)), info.seconds(int(end))] for start, end in ends])
