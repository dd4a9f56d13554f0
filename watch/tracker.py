"""From the features of a camera's rows to scores and events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.run import Run
from kgvad.detector.scoring.causal import HISTORY, CausalScorer
from kgvad.explain.analysis.events import EventRule
from kgvad.explain.analysis.live_events import EventChange, EventTracker, Reason
from kgvad.watch.rows import ScoredRow
from kgvad.watch.window_queue import Row, Segment

KEPT_ROWS = 400  # of a camera: the longest event, what led to it, and what its scores were computed from
LONGEST_SKIP_S = 10.0  # a row stands for the skipped ones before it, but for no more than this


class CameraTracker:
    """Scores one camera's rows and finds its events.

    Parameters
    ----------
    run
        In its causal form.
    rule_at
        The rule for events at a time of day; ``None`` while events are ignored.

    Attributes
    ----------
    rows
        The latest scored rows.
    """

    def __init__(self, run: Run, rule_at: Callable[[datetime], EventRule | None]) -> None:
        self._scorer = CausalScorer(run.detector)
        self._rule_at = rule_at
        self._events = EventTracker(EventRule())
        self.rows: deque[ScoredRow] = deque(maxlen=KEPT_ROWS)
        self._count = 0

    @property
    def rule(self) -> EventRule:
        """The rule that is used now."""
        return self._events.rule

    def push(self, row: Row, features: NDArray[np.float32]) -> list[EventChange]:
        """Score a row; seconds of the changes are those of its segment, row numbers those of :attr:`rows`."""
        found = self._scorer.push(features)
        start_s = row.window.start_s
        if self.rows and self.rows[-1].segment is row.segment and start_s - self.rows[-1].end_s <= LONGEST_SKIP_S:
            start_s = self.rows[-1].end_s
        score = float(np.clip(found["scores"][0], 0, 1)) if row.scene.shows_scene else 0.0
        rule = self._rule_at(row.segment.moment(start_s))
        self._events.rule = rule or self._events.rule
        self.rows.append(
            ScoredRow(
                number=self._count,
                segment=row.segment,
                start_s=start_s,
                end_s=row.window.end_s,
                score=score,
                features=features,
                alignment=found["alignment"][0] if "alignment" in found else None,
                concepts=found["concepts"][0] if "concepts" in found else None,
                shows_scene=row.scene.shows_scene,
            )
        )
        self._count += 1
        return self._events.push(start_s, row.window.end_s, score if rule is not None else 0.0)

    def finish(self, reason: Reason) -> list[EventChange]:
        """Close the open event."""
        return self._events.finish(reason)

    def of_event(self, change: EventChange, clip_start_s: float | None) -> tuple[list[ScoredRow], list[ScoredRow]]:
        """The rows of an event with those that its clip shows before it, and the rows before all these."""
        first, stop = change.event.snippets
        segment: Segment | None = next((row.segment for row in self.rows if row.number == stop - 1), None)
        mine = [row for row in self.rows if row.segment is segment and row.number < stop + 1]
        begin_s = change.event.start_s if clip_start_s is None else clip_start_s
        shown = [row for row in mine if row.number >= first or row.end_s > begin_s]
        before = [row for row in self.rows if shown and row.number < shown[0].number]
        return shown, before[-HISTORY:]
