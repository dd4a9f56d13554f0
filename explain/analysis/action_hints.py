"""Hints for scores from pixels alone: recognised actions, and the concepts nearest to their names.

The action recogniser knows everyday actions, not crimes, so its answers only hint at the kind of movement. The step to
the knowledge graph is by meaning. The text vectors of the action names, weighted by their probabilities (ConSE, Norouzi
et al. 2014), are compared with the concept vectors, at the peak of an event and in the calmest snippets outside the
events. The difference, less that of the Normal concepts, ranks the concepts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import WeightsError
from kgvad.explain.analysis.build_report import ActionFindings
from kgvad.explain.analysis.events import EventSpan, outside_events
from kgvad.explain.analysis.evidence import evidence_at, item_labels, rises
from kgvad.explain.report import Action, Evidence
from kgvad.explain.scorers.base import ScoredVideo
from kgvad.vectors import unit

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.video.decode import VideoInfo

logger = logging.getLogger(__name__)

RECOGNISER = "I3D trained on Kinetics-400"
MAX_EVENTS = 5  # examined: those with the highest peaks
PEAK_FRAMES = 64  # around the peak, two clips of the recogniser
CALM_SNIPPETS = 3  # examined outside the events
CONSE_ACTIONS = 10  # most probable actions that make up the text vector
MAX_ACTIONS = 3  # named for an event
MIN_RISE = 0.03  # of probability, for an action to be named
MAX_HINTS = 3


@dataclass(frozen=True, eq=False)
class ActionRecogniser:
    """Recognises actions at the peaks of events. What it needs is loaded when the first event is examined.

    Attributes
    ----------
    load_bank
        Gives the anchor bank whose concepts the actions are compared with.
    load_text_encoder
        Gives the text encoder of a bank.
    device
        Torch device.
    """

    load_bank: Callable[[], AnchorBank]
    load_text_encoder: Callable[[AnchorBank], TextEncoder]
    device: str = "cpu"

    def examine(self, scored: ScoredVideo, events: Sequence[EventSpan]) -> dict[int, ActionFindings] | None:
        """Findings by event number, from 1; ``None`` where actions do not apply, or the weights are missing."""
        if scored.info is None or not events or scored.scores.origin.names_categories != "no":
            return None
        try:
            bank = self.load_bank()
            text = self.load_text_encoder(bank)
            return recognise(scored.info.path, scored.scores, events, scored.info, bank, text, device=self.device)
        except WeightsError as error:
            logger.info("no actions were recognised: %s", error.message)
            return None


def recognise(
    path: Path,
    scores: Scores,
    events: Sequence[EventSpan],
    info: VideoInfo,
    bank: AnchorBank | None = None,
    text: TextEncoder | None = None,
    *,
    device: str = "cpu",
) -> dict[int, ActionFindings]:
    """Actions at the peaks of the highest events, by event number (from 1).

    Parameters
    ----------
    path
        The video.
    scores, events
        Its scores and events.
    info
        Exact facts about it.
    bank, text
        Anchor bank and its text encoder, for hints from the knowledge graph; no hints without them.
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
    vectors = text.encode(names) if text is not None and bank is not None and calm else None
    return {
        i + 1: ActionFindings(
            named_actions(names, probabilities[row], outside),
            () if vectors is None or bank is None else hints(bank, vectors, probabilities[row], outside),
        )
        for row, i in enumerate(highest)
    }


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


def hints(
    bank: AnchorBank,
    vectors: NDArray[np.float32],
    peak: NDArray[np.float64],
    outside: NDArray[np.float64],
) -> tuple[Evidence, ...]:
    """Concepts of the graph nearest to the actions of the peak, compared with those outside the events.

    ``vectors`` are the text vectors of the action names, ``peak`` and ``outside`` the probabilities of the actions.
    """
    points = np.stack([_conse(vectors, peak), _conse(vectors, outside)])  # [2, d]
    change = rises(points @ bank.concept_vectors.T, bank, np.array([1.0, 0.0]), np.array([False, True]))
    chosen: list[int] = []
    for i in np.argsort(-change.rise, kind="stable"):
        concept = bank.concepts[i]
        texts = {bank.concepts[j].text.casefold() for j in chosen}
        if change.rise[i] <= 0 or len(chosen) == MAX_HINTS:
            break
        if bank.concept_category[i] != bank.normal and concept.qid and concept.text.casefold() not in texts:
            chosen.append(int(i))
    return tuple(evidence_at(bank, change, chosen, item_labels(bank), "actions"))


def _conse(vectors: NDArray[np.float32], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector of the most probable actions' text vectors, weighted by probability, float64 [d]."""
    top = np.argsort(-probabilities, kind="stable")[:CONSE_ACTIONS]
    mean = probabilities[top] @ vectors[top].astype(np.float64)
    return unit(mean)
