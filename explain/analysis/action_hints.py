"""Hints where only pixels were looked at: recognised actions, and the concepts nearest to their names.

The action recogniser knows everyday actions, not crimes, so what it names is a hint about the kind of movement. The
step to the knowledge graph is by meaning: the text vectors of the action names, weighted by their probabilities
(ConSE, Norouzi et al. 2014), are compared with the vectors of the concepts, at the peak of an event and in the quiet
part of the video; what counts is the difference, less that of the Normal concepts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.explain.analysis.build_report import Seen
from kgvad.explain.analysis.events import Interval
from kgvad.explain.analysis.evidence import evidence_at, quiet_rows, rises
from kgvad.explain.report import Action, Evidence
from kgvad.vectors import unit

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.video.decode import VideoInfo

RECOGNISER = "I3D trained on Kinetics-400"
MOST_EVENTS = 5  # looked at: those with the highest peaks
PEAK_FRAMES = 64  # around the peak, two clips of the recogniser
QUIET_PLACES = 3  # clips in the quiet part
CONSE_ACTIONS = 10  # likeliest actions that make the text vector
MOST_ACTIONS = 3  # named for an event
LEAST_RISE = 0.03  # of probability, for an action to be named
MOST_HINTS = 3


def look(
    path: Path,
    scores: Scores,
    intervals: list[Interval],
    info: VideoInfo,
    bank: AnchorBank | None = None,
    text: TextEncoder | None = None,
    labels: dict[str, str] | None = None,
    device: str = "cpu",
) -> dict[int, Seen]:
    """What the recogniser sees at the peaks of the highest events, by event number (from 1).

    Parameters
    ----------
    path
        The video.
    scores, intervals
        Its scores and events.
    info
        Exact facts about it.
    bank, text
        Anchor bank and its text encoder, for hints from the knowledge graph; none without them.
    labels
        QID to label for the graph paths.
    device
        Torch device.

    Raises
    ------
    VideoError, WeightsError
        The video or the recogniser's weights cannot be read.
    """
    if not intervals:
        return {}
    from kgvad.video.action_labels import action_labels
    from kgvad.video.action_recognition import action_probabilities

    names = list(action_labels())
    highest = sorted(range(len(intervals)), key=lambda i: (-intervals[i].peak, i))[:MOST_EVENTS]
    peaks = [_around(scores, intervals[i], info.frame_count) for i in highest]
    calm = quiet_spans(scores, intervals)
    chances = action_probabilities(path, [*peaks, *calm], device=device, windows=2, info=info)  # [events + quiet, 400]
    quiet = chances[len(peaks) :].mean(axis=0) if calm else np.zeros(len(names))
    vectors = text.encode(names) if text is not None and bank is not None else None
    return {
        i + 1: Seen(
            named_actions(names, chances[row], quiet),
            ()
            if vectors is None or bank is None or not calm
            else hints(bank, vectors, chances[row], quiet, labels or {}),
        )
        for row, i in enumerate(highest)
    }


def _around(scores: Scores, event: Interval, frame_count: int) -> tuple[int, int]:
    """Frames around the peak, inside the video."""
    middle = int(scores.spans[event.peak_row].mean())
    start = max(0, min(middle - PEAK_FRAMES // 2, frame_count - PEAK_FRAMES))
    return start, min(frame_count, start + PEAK_FRAMES)


def quiet_spans(scores: Scores, intervals: list[Interval]) -> list[tuple[int, int]]:
    """Frames of the calmest rows, at most :data:`QUIET_PLACES`, one from each stretch of the quiet part."""
    rows = np.flatnonzero(quiet_rows(scores, intervals))
    if not len(rows):
        return []
    chosen = [part[scores.scores[part].argmin()] for part in np.array_split(rows, QUIET_PLACES) if len(part)]
    return [(int(scores.spans[row, 0]), int(scores.spans[row, 1])) for row in chosen]


def named_actions(names: list[str], peak: NDArray[np.float64], quiet: NDArray[np.float64]) -> tuple[Action, ...]:
    """The actions whose probability rises most over the quiet part, and by at least :data:`LEAST_RISE`."""
    rise = peak - quiet
    order = [int(i) for i in np.argsort(-rise, kind="stable")[:MOST_ACTIONS] if rise[i] >= LEAST_RISE]
    return tuple(
        Action(name=names[i], probability=round(float(peak[i]), 4), elsewhere=round(float(quiet[i]), 4)) for i in order
    )


def hints(
    bank: AnchorBank,
    vectors: NDArray[np.float32],
    peak: NDArray[np.float64],
    quiet: NDArray[np.float64],
    labels: dict[str, str],
) -> tuple[Evidence, ...]:
    """Concepts of the graph nearest to the actions of the peak, against those of the quiet part."""
    looks = np.stack([_conse(vectors, peak), _conse(vectors, quiet)])  # [2, d]
    change = rises(looks @ bank.concept_vectors.T, bank, np.array([1.0, 0.0]), np.array([False, True]))
    chosen: list[int] = []
    for i in np.argsort(-change.rise, kind="stable"):
        concept = bank.concepts[i]
        seen = {bank.concepts[j].text.casefold() for j in chosen}
        if change.rise[i] <= 0 or len(chosen) == MOST_HINTS:
            break
        if bank.concept_category[i] != bank.normal and concept.qid and concept.text.casefold() not in seen:
            chosen.append(int(i))
    return tuple(evidence_at(bank, change, chosen, labels, "actions"))


def _conse(vectors: NDArray[np.float32], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector of the likeliest actions' text vectors, weighted by probability, float64 [d]."""
    top = np.argsort(-chances, kind="stable")[:CONSE_ACTIONS]
    mean = chances[top] @ vectors[top].astype(np.float64)
    return unit(mean)
