"""Events while the scores are still arriving, by the rule that finds them in whole videos.

The rows that may still belong to an unfinished event are kept, and :func:`~kgvad.explain.analysis.events.event_runs`
finds the events in them after each new row. What is closed is what it finds in the whole stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kgvad.explain.analysis.events import EventRule, EventSpan, event_runs, event_span
from kgvad.masks import true_runs

LONGEST_S = 300.0  # an event that lasts longer is closed, and what follows is another event
Reason = Literal["ended", "long", "lost", "stopped", "interrupted"]


@dataclass(frozen=True)
class EventChange:
    """What a new row changed.

    Attributes
    ----------
    kind
        An event opened, grew, or closed.
    event
        Where it lies. ``snippets`` and ``peak_snippet`` count the rows of the stream, seconds are those given to
        :meth:`EventTracker.push`.
    reason
        Why it closed: the score fell (``ended``), it lasted too long (``long``), or what :meth:`EventTracker.finish`
        was given.
    """

    kind: Literal["open", "update", "close"]
    event: EventSpan
    reason: Reason | None = None


class EventTracker:
    """Finds the events of one stream.

    An event opens with the first row that makes it reach the onset threshold and the minimum duration. It closes once
    no later row can be merged into it.

    Parameters
    ----------
    rule
        Thresholds and durations.
    longest_s
        Seconds after which an event is closed although the score stays high. It bounds what is kept.
    """

    def __init__(self, rule: EventRule, longest_s: float = LONGEST_S) -> None:
        self._rule = rule
        self._longest_s = longest_s
        self._scores: list[float] = []
        self._times: list[tuple[float, float]] = []
        self._first = 0  # row of the stream that is kept first
        self._open: EventSpan | None = None

    @property
    def open(self) -> EventSpan | None:
        """The event that is open now."""
        return self._open

    @property
    def rule(self) -> EventRule:
        """Thresholds and durations; a new rule is used from the next row on, but not within an event."""
        return self._rule

    @rule.setter
    def rule(self, rule: EventRule) -> None:
        if self._open is None:
            self._rule = rule

    def push(self, start_s: float, end_s: float, score: float) -> list[EventChange]:
        """Add the score of the row [start_s, end_s) and return what it changes, in order."""
        self._scores.append(score)
        self._times.append((start_s, end_s))
        scores, times = np.array(self._scores), np.array(self._times)
        runs = event_runs(scores, times, self._rule)
        changes: list[EventChange] = []
        for run in runs:
            if run is not runs[-1] or self._is_settled(run, scores, times):
                changes += self._close(event_span(scores, times, run, self._rule), "ended")
            else:
                changes += self._grow(event_span(scores, times, run, self._rule))
                if end_s - times[run[0], 0] > self._longest_s:
                    changes += self._close(event_span(scores, times, run, self._rule), "long")
                    self._drop(len(scores))
                    return changes
        self._trim(runs, scores, times)
        return changes

    def finish(self, reason: Reason) -> list[EventChange]:
        """Close the open event, and forget the rows so far."""
        open_event = self._open
        self._drop(len(self._scores))
        return [] if open_event is None else self._close_open(open_event, reason)

    def _is_settled(self, run: tuple[int, int], scores: np.ndarray, times: np.ndarray) -> bool:
        """Whether no row to come can belong to the event."""
        tail = true_runs(scores[run[1] :] >= self._rule.offset)
        waiting = tail[-1][0] + run[1] if tail and tail[-1][1] + run[1] == len(scores) else None
        next_start = times[-1, 1] if waiting is None else times[waiting, 0]
        return run[1] < len(scores) and bool(next_start - times[run[1] - 1, 1] > self._rule.merge_gap_s + 1e-9)

    def _grow(self, found: EventSpan) -> list[EventChange]:
        event = self._in_stream(found)
        if self._open is None:
            if event.end_s - event.start_s < self._rule.min_duration_s - 1e-9:
                return []
            self._open = event
            return [EventChange("open", event)]
        if event == self._open:
            return []
        self._open = event
        return [EventChange("update", event)]

    def _close(self, found: EventSpan, reason: Reason) -> list[EventChange]:
        event = self._in_stream(found)
        opened = [] if self._open is not None else self._grow(found)
        return [] if self._open is None else [*opened, *self._close_open(event, reason)]

    def _close_open(self, event: EventSpan, reason: Reason) -> list[EventChange]:
        self._open = None
        return [EventChange("close", event, reason)]

    def _trim(self, runs: list[tuple[int, int]], scores: np.ndarray, times: np.ndarray) -> None:
        """Forget the rows that no event to come can contain."""
        if runs and not self._is_settled(runs[-1], scores, times):
            first = runs[-1][0]
        else:
            tail = true_runs(scores >= self._rule.offset)
            first = tail[-1][0] if tail and tail[-1][1] == len(scores) else len(scores)
            while first < len(scores) and times[-1, 1] - times[first, 0] > self._longest_s:
                first += 1
        self._drop(first)

    def _drop(self, number: int) -> None:
        del self._scores[:number], self._times[:number]
        self._first += number

    def _in_stream(self, found: EventSpan) -> EventSpan:
        """``found`` with rows counted from the start of the stream."""
        first, stop = found.snippets
        return replace(
            found,
            snippets=(first + self._first, stop + self._first),
            peak_snippet=found.peak_snippet + self._first,
        )
