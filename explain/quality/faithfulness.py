"""Whether explanations are faithful: what happens to the scores when what they cite is taken away.

Deletion (DeYoung et al. 2020, comprehensiveness): the rows of the events are replaced by the mean of the quiet rows, or
the cited concepts are taken from the detector, and the fall of the score and of the category is compared with that for
random rows (runs of the same lengths) or random concepts of the same category. Sufficiency: only the cited rows are
kept. Stability: small noise on the features; the events and the category should stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import infer, score_features
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import RunError
from kgvad.explain.analysis.events import EventRule, Interval, find_events
from kgvad.explain.analysis.evidence import (
    MOST_EVIDENCE,
    category_shares,
    concept_rises,
    distinct,
    quiet_rows,
)
from kgvad.video.feature_store import VideoEntry

Score = Callable[[NDArray[np.float32]], Scores]
DRAWS = 20  # random alternatives of one video
TOP_SHARE = 16  # the video's score is the mean of its highest T / 16 + 1 rows, as in training


@dataclass(frozen=True)
class Faithfulness:
    """Figures of one video.

    Attributes
    ----------
    score_fall, score_fall_random
        Fall of the video's score when the cited, or random, rows are masked.
    category_fall, category_fall_random
        Fall of the event's category share in the same cases; ``None`` without categories.
    concept_fall, concept_fall_random
        Fall of the category's share when the cited, or random, concepts of the category are dropped.
    kept, kept_random
        Score that is left when only the cited, or random, rows are kept, as a share of the whole.
    overlap
        Share of time in which the events are the same after noise (intersection over union).
    same_category
        Whether the category of the strongest event stays after noise.
    """

    score_fall: float
    score_fall_random: float
    kept: float
    kept_random: float
    overlap: float
    category_fall: float | None = None
    category_fall_random: float | None = None
    concept_fall: float | None = None
    concept_fall_random: float | None = None
    same_category: bool | None = None


def examine(
    run: Run,
    features: NDArray[np.floating],
    entry: VideoEntry,
    video: str,
    rule: EventRule,
    *,
    noise: float = 0.05,
    seed: int = 0,
) -> Faithfulness | None:
    """Examine the explanation of one video; ``None`` where the run finds no event, or nothing but events.

    Parameters
    ----------
    run
        A trained run.
    features
        [T, D] of its encoder.
    entry
        Facts about the video.
    video
        Its name.
    rule
        How events are found.
    noise
        Standard deviation of the noise as a share of a row's length, spread over its D values.
    seed
        Of the random rows, concepts and noise.

    Raises
    ------
    RunError
        The features have crops.
    """
    rows = np.asarray(features, np.float32)
    if rows.ndim != 2:
        raise RunError(f"{video}: faithfulness needs features [T, D]", "use features without crops")

    def score(x: NDArray[np.float32]) -> Scores:
        return score_features(run, x, entry, video=video)

    base = score(rows)
    events = find_events(base, rule)
    quiet = quiet_rows(base, events)
    if not events or not quiet.any():
        return None
    rng = np.random.default_rng(seed)
    result = _deletion(score, rows, base, events, quiet, rng)
    result = _concepts(run, rows, base, events, quiet, rng, result)
    length = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    noisy = score((rows + noise * length * rng.standard_normal(rows.shape)).astype(np.float32))
    return _stability(base, noisy, events, rule, result)


def level(scores: Scores) -> float:
    """The video's score: mean of its highest rows."""
    count = len(scores.scores) // TOP_SHARE + 1
    return float(np.sort(scores.scores)[-count:].mean())


def _deletion(
    score: Score,
    rows: NDArray[np.float32],
    base: Scores,
    events: list[Interval],
    quiet: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Faithfulness:
    calm = rows[quiet].mean(axis=0)
    strongest = max(events, key=lambda event: event.peak)

    def without(mask: NDArray[np.bool_]) -> Scores:
        return score(np.where(mask[:, None], calm, rows).astype(np.float32))

    cited = without(~quiet)
    lengths = [event.rows[1] - event.rows[0] for event in events]
    masks = [_runs(lengths, len(rows), rng) for _ in range(DRAWS)]
    others, whole = [without(mask) for mask in masks], level(base)
    share = [_share_of(s, strongest, base) for s in (base, cited, *others)]
    known = [value for value in share if value is not None]
    return Faithfulness(
        score_fall=whole - level(cited),
        score_fall_random=whole - float(np.mean([level(other) for other in others])),
        kept=level(without(quiet)) / whole,
        kept_random=float(np.mean([level(without(~mask)) for mask in masks])) / whole,
        overlap=0.0,
        category_fall=known[0] - known[1] if known else None,
        category_fall_random=known[0] - float(np.mean(known[2:])) if known else None,
    )


def _runs(lengths: Sequence[int], rows: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """As many rows as ``lengths`` add up to, in runs at random places, bool [rows]."""
    mask = np.zeros(rows, dtype=bool)
    for length in lengths:
        for _ in range(50):
            start = int(rng.integers(0, rows - length + 1))
            if not mask[start : start + length].any():
                break
        mask[start : start + length] = True
    free = np.flatnonzero(~mask)
    missing = sum(lengths) - int(mask.sum())
    if missing > 0:  # runs that had to overlap
        mask[rng.choice(free, missing, replace=False)] = True
    return mask


def _share_of(scores: Scores, event: Interval, base: Scores) -> float | None:
    """Share of the category that ``base`` gives to ``event``, by ``scores``, with the weights of ``base``."""
    named = category_shares(base, event, {})
    if not named or scores.alignment is None:
        return None
    same_weights = replace(scores, scores=base.scores)
    return next(c.probability for c in category_shares(same_weights, event, {}) if c.name == named[0].name)


def _concepts(
    run: Run,
    rows: NDArray[np.float32],
    base: Scores,
    events: list[Interval],
    quiet: NDArray[np.bool_],
    rng: np.random.Generator,
    result: Faithfulness,
) -> Faithfulness:
    """Drop the cited concepts of the strongest event from the detector's guidance, or others of the category."""
    bank, strongest = run.bank, max(events, key=lambda event: event.peak)
    named = category_shares(base, strongest, {})
    if bank is None or not named or not hasattr(run.detector, "member"):
        return result
    change = concept_rises(base, bank, strongest, quiet)
    if change is None:
        return result
    category = bank.categories.index(named[0].name)
    own = np.flatnonzero(bank.concept_category == category)
    cited = np.array(distinct(bank, change, named[0].name, MOST_EVIDENCE), dtype=np.int64)
    rest = np.setdiff1d(own, cited)
    if not len(cited) or len(rest) < len(cited):
        return result
    draws = [rng.choice(rest, len(cited), replace=False) for _ in range(DRAWS)]
    whole = named[0].probability
    falls = [
        whole - (_share_of(_without(run, rows, base, dropped), strongest, base) or 0.0) for dropped in (cited, *draws)
    ]
    return replace(result, concept_fall=falls[0], concept_fall_random=float(np.mean(falls[1:])))


def _without(run: Run, rows: NDArray[np.float32], base: Scores, dropped: NDArray[np.int64]) -> Scores:
    """Scores of a copy of the detector whose anchors do not see the dropped concepts."""
    detector = copy.deepcopy(run.detector)
    member = detector.get_buffer("member").clone()
    member[:, dropped.tolist()] = False
    detector.member = member
    found = infer(detector, rows)
    return replace(base, scores=np.clip(found["scores"], 0, 1), alignment=found["alignment"], concept_alignment=None)


def _stability(
    base: Scores, noisy: Scores, events: list[Interval], rule: EventRule, result: Faithfulness
) -> Faithfulness:
    others = find_events(noisy, rule)
    before, after = ~quiet_rows(base, events), ~quiet_rows(noisy, others)
    lengths = (base.spans[:, 1] - base.spans[:, 0]).astype(float)
    overlap = float(lengths[before & after].sum() / lengths[before | after].sum())
    strongest = max(events, key=lambda event: event.peak)
    first, second = (category_shares(scores, strongest, {}) for scores in (base, replace(noisy, scores=base.scores)))
    return replace(result, overlap=overlap, same_category=first[0].name == second[0].name if first and second else None)
