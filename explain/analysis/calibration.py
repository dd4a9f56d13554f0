"""Thresholds from ordinary footage, for an accepted rate of false alarms, and how sure that rate is.

False alarms are taken to come independently of each other, at a constant rate. If ``k`` of them occur in ``T`` hours,
the upper 95 % limit of the rate is the 95 % quantile of the chi-squared distribution with 2 (k + 1) degrees of freedom,
divided by 2 T (Garwood 1936, Fiducial limits for the Poisson distribution). Without any alarm that is 3.0 / T, the rule
of three: a day without an alarm bounds the rate at three a day. The limit also holds for the threshold that was set
just above all but the ``k`` highest peaks of the same footage: there the rate times T has a gamma distribution with
shape k + 1, which has the same quantile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError, UsageError
from kgvad.explain.analysis.events import EventRule, event_runs, snippet_times

CONFIDENCE = 0.95
HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0}
EXACT = 512  # highest scores that are all tried as thresholds; of the lower ones, quantiles are
_STEP = 1e-4  # by which a threshold lies above the score that it is to exclude

Piece = tuple[NDArray[np.floating], NDArray[np.float64]]  # scores [T], and start and end of each in seconds [T, 2]


@dataclass(frozen=True)
class Rate:
    """Events in a unit of time, such as one a day."""

    count: float
    unit: str

    @property
    def per_hour(self) -> float:
        """Events an hour."""
        return self.count / HOURS[self.unit]

    def __str__(self) -> str:
        return f"{self.count:g}/{self.unit}"

    def footage_needed_h(self) -> float:
        """Hours without any alarm that bound the rate at this one; infinite for 0."""
        return upper_limit(0, 1.0) / self.per_hour if self.count else float("inf")


def parse_rate(text: str) -> Rate:
    """A rate such as ``1/day`` or ``2/hour``.

    Raises
    ------
    UsageError
        Something else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*/\s*([a-z]+)\s*", text)
    if found is None or found[2] not in HOURS:
        raise UsageError(f"the rate {text!r} is not understood", f"write 1/day or 2/hour; units: {', '.join(HOURS)}")
    return Rate(float(found[1]), found[2])


def upper_limit(alarms: int, hours: float) -> float:
    """Upper limit of the rate, per hour, where so many alarms occurred in ``hours`` of footage (Poisson)."""
    return float(gammaincinv(alarms + 1, CONFIDENCE) / hours) if hours > 0 else float("inf")


def provable_alarms(rate: Rate, hours: float) -> int | None:
    """The most alarms in ``hours`` whose upper limit is within the rate; ``None``: not even without an alarm is it."""
    alarms = -1
    while upper_limit(alarms + 1, hours) <= rate.per_hour * (1 + 1e-9):
        alarms += 1
    return alarms if alarms >= 0 else None


def count_events(pieces: Sequence[Piece], rule: EventRule) -> int:
    """Events in all pieces that last long enough."""
    return sum(
        times[stop - 1, 1] - times[first, 0] >= min(rule.min_duration_s, times[-1, 1] - times[0, 0]) - 1e-9
        for scores, times in pieces
        for first, stop in event_runs(scores, times, rule)
    )


def lowest_onset(pieces: Sequence[Piece], rule: EventRule, allowed: float) -> EventRule:
    """The rule with the lowest thresholds that give at most ``allowed`` events; the ratio of both thresholds stays.

    A lower threshold may merge two events, so their number is not monotonic. The search goes from the highest score
    down and ends at the first that gives too many events.
    """
    ratio = rule.offset / rule.onset
    candidates = np.unique(np.concatenate([scores for scores, _ in pieces]))
    candidates = candidates[candidates > 0]
    if len(candidates) > 2 * EXACT:
        rest = np.quantile(candidates[:-EXACT], np.linspace(0, 1, EXACT))
        candidates = np.concatenate([rest, candidates[-EXACT:]])
    best = 1.0
    for value in candidates[::-1]:
        onset = min(1.0, float(value) + _STEP)
        trial = replace(rule, onset=onset, offset=onset * ratio)
        if count_events(pieces, trial) > allowed:
            break
        best = onset
    return replace(rule, onset=best, offset=best * ratio)


def calibrate(normal: Iterable[Scores], rule: EventRule | None = None, rate: Rate | None = None) -> EventRule:
    """The rule with thresholds set on normal footage.

    The onset threshold is the lowest at which this footage gives no more events than the rate allows. The offset keeps
    its ratio to the onset.

    Parameters
    ----------
    normal
        Scores of normal footage, from the scorer that the rule will be used with.
    rule
        Durations and the ratio of the thresholds are taken from here.
    rate
        Events that are accepted. Default: one an hour.

    Raises
    ------
    ScoresError
        There is no normal footage.
    """
    rule, rate = rule or EventRule(), rate or Rate(1, "hour")
    videos = list(normal)
    if not videos:
        raise ScoresError("there is no normal footage to calibrate on", "give scores of normal videos")
    hours = sum(video.frame_count / video.fps for video in videos) / 3600
    return lowest_onset([(video.scores, snippet_times(video)) for video in videos], rule, rate.per_hour * hours)
