"""Hints for scores from pixels alone: actions whose probability rises at the peak of an event.

The action recogniser knows everyday actions, not crimes, so its answers only hint at the kind of movement. Nothing is
concluded from the meaning of their names: "pull ups" is no hold-up.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import WeightsError
from kgvad.explain.analysis.events import EventSpan, outside_events
from kgvad.explain.report import Action
from kgvad.explain.scorers.base import ScoredVideo

if TYPE_CHECKING:
    from kgvad.video.decode import VideoInfo

logger = logging.getLogger(__name__)

RECOGNISER = "I3D, Kinetics-400"  # reads the same in every language
MAX_EVENTS = 5  # examined: those with the highest peaks
PEAK_FRAMES = 64  # around the peak, two clips of the recogniser
CALM_SNIPPETS = 3  # examined outside the events
MAX_ACTIONS = 3  # named for an event
MIN_RISE = 0.03  # of probability, for an action to be named


@dataclass(frozen=True, eq=False)
class ActionRecogniser:
    """Recognises actions at the peaks of events. What it needs is loaded when the first event is examined.

    Attributes
    ----------
    device
        Torch device.
    """

    device: str = "cpu"

    def examine(self, scored: ScoredVideo, events: Sequence[EventSpan]) -> dict[int, tuple[Action, ...]] | None:
        """Actions by event number, from 1; ``None`` where actions do not apply, or the weights are missing."""
        if scored.info is None or not events or scored.scores.origin.names_categories != "no":
            return None
        try:
            return recognise(scored.info.path, scored.scores, events, scored.info, device=self.device)
        except WeightsError as error:
            logger.info("no actions were recognised: %s", error.message)
            return None


def recognise(
    path: Path,
    scores: Scores,
    events: Sequence[EventSpan],
    info: VideoInfo,
    *,
    device: str = "cpu",
) -> dict[int, tuple[Action, ...]]:
    """Actions at the peaks of the highest events, by event number (from 1).

    Parameters
    ----------
    path
        The video.
    scores, events
        Its scores and events.
    info
        Exact facts about it.
    device
        Torch device.

    Raises
    ------
    VideoError, WeightsError
        The video or the recogniser's weights cannot be read.
    """
    from kgvad.video.action_labels import action_labels
    from kgvad.video.action_recognition import action_probabilities

    names = list(action_labels())
    highest = sorted(range(len(events)), key=lambda i: (-events[i].peak, i))[:MAX_EVENTS]
    peaks = [_around_peak(scores, events[i], info.frame_count) for i in highest]
    calm = calm_spans(scores, events)
    # [events + calm, actions]
    probabilities = action_probabilities(path, [*peaks, *calm], device=device, windows=2, info=info)
    outside = probabilities[len(peaks) :].mean(axis=0) if calm else np.zeros(len(names))
    return {i + 1: named_actions(names, probabilities[row], outside) for row, i in enumerate(highest)}


def _around_peak(scores: Scores, event: EventSpan, frame_count: int) -> tuple[int, int]:
    """Frames around the peak, inside the video."""
    middle = int(scores.spans[event.peak_snippet].mean())
    start = max(0, min(middle - PEAK_FRAMES // 2, frame_count - PEAK_FRAMES))
    return start, min(frame_count, start + PEAK_FRAMES)


def calm_spans(scores: Scores, events: Sequence[EventSpan]) -> list[tuple[int, int]]:
    """Frames of low-scoring snippets outside the events: the lowest of each of :data:`CALM_SNIPPETS` equal parts."""
    outside = np.flatnonzero(outside_events(scores, events))
    if not len(outside):
        return []
    parts = np.array_split(outside, CALM_SNIPPETS)
    chosen = [part[scores.scores[part].argmin()] for part in parts if len(part)]
    return [(int(scores.spans[snippet, 0]), int(scores.spans[snippet, 1])) for snippet in chosen]


def named_actions(names: list[str], peak: NDArray[np.float64], outside: NDArray[np.float64]) -> tuple[Action, ...]:
    """The actions whose probability rises most at the peak, and by at least :data:`MIN_RISE`."""
    rise = peak - outside
    order = [int(i) for i in np.argsort(-rise, kind="stable")[:MAX_ACTIONS] if rise[i] >= MIN_RISE]
    return tuple(
        Action(name=names[i], probability=round(float(peak[i]), 4), outside=round(float(outside[i]), 4)) for i in order
    )
