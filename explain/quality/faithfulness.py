"""Faithfulness of explanations: how scores and categories change when the cited evidence is removed.

Comprehensiveness (DeYoung et al. 2020): the snippets of the events are replaced by the mean of the other snippets, or
the cited concepts are removed from the detector. The drop of score and category share is compared with that for random
snippets (runs of the same lengths) or random concepts of the same category. Sufficiency: only the cited snippets are
kept. Stability: small noise on the features should leave events and category unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import infer, score_features
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import RunError
from kgvad.explain.analysis.contributions import MAX_FOR, cited_indices, lead_of
from kgvad.explain.analysis.events import EventRule, EventSpan, default_rule, find_events, outside_events
from kgvad.explain.analysis.evidence import (
    MAX_EVIDENCE,
    category_shares,
    concept_rises,
    distinct,
)
from kgvad.explain.scorers.base import ConceptTerms
from kgvad.explain.scorers.from_video import column_terms
from kgvad.video.feature_store import VideoEntry

Score = Callable[[NDArray[np.float32]], Scores]
DRAWS = 20  # random deletions per video
NOISE = 0.05  # standard deviation as a share of the length of a feature vector, spread over its D values
TOP_K_DIVISOR = 16  # the video's score is the mean of its top T / 16 + 1 snippets, as in training


@dataclass(frozen=True)
class Faithfulness:
    """Figures of one video.

    Attributes
    ----------
    score_drop, score_drop_random
        Drop of the video's score when the cited, or random, snippets are masked.
    category_drop, category_drop_random
        Drop of the event's category share in the same cases; ``None`` without categories.
    concept_drop, concept_drop_random
        Drop of the category's share when the cited, or random, concepts of the category are removed.
    column_drop, column_drop_random
        Drop of the category's share when the cited, or as many random, feature columns contribute nothing; of the
        event's mean score where there is one category only. ``None`` where the detector's logits are no such sums.
    columns_kept, columns_kept_random
        That share (or score) when only the cited, or as many random, columns contribute.
    sufficiency, sufficiency_random
        Score when only the cited, or random, snippets are kept, divided by the score of the whole video.
    overlap
        Temporal intersection over union of the events before and after noise.
    same_category
        Whether the event with the highest score keeps its category after noise.
    """

    score_drop: float | None = None
    score_drop_random: float | None = None
    sufficiency: float | None = None
    sufficiency_random: float | None = None
    overlap: float | None = None
    column_drop: float | None = None
    column_drop_random: float | None = None
    columns_kept: float | None = None
    columns_kept_random: float | None = None
    category_drop: float | None = None
    category_drop_random: float | None = None
    concept_drop: float | None = None
    concept_drop_random: float | None = None
    same_category: bool | None = None


def examine(
    run: Run,
    features: NDArray[np.floating],
    entry: VideoEntry,
    video: str,
    rule: EventRule | None = None,
    *,
    seed: int = 0,
) -> Faithfulness | None:
    """Examine the explanation of one video; ``None`` if it has no event.

    Snippets are removed only where there are others outside the events to put in their place.

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
        How events are found; default: the run's.
    seed
        Of the random snippets, concepts and noise.

    Raises
    ------
    RunError
        The features have crops.
    """
    snippets = np.asarray(features, np.float32)
    if snippets.ndim != 2:
        raise RunError(f"{video}: faithfulness needs features [T, D]", "use features without crops")

    def score(x: NDArray[np.float32]) -> Scores:
        return score_features(run, x, entry, video=video)

    base = score(snippets)
    rule = rule or default_rule(base.origin, base.scores)
    events = find_events(base, rule)
    outside = outside_events(base, events)
    if not events:
        return None
    rng = np.random.default_rng(seed)
    result = Faithfulness()
    if outside.any():
        result = _deletion(score, snippets, base, events, outside, rng)
        result = _concepts(run, snippets, base, events, outside, rng, result)
    result = _columns(run, score, snippets, base, events, rng, result)
    length = np.linalg.norm(snippets, axis=1, keepdims=True) / np.sqrt(snippets.shape[1])
    noisy = score((snippets + NOISE * length * rng.standard_normal(snippets.shape)).astype(np.float32))
    return _stability(base, noisy, events, rule, result)


@dataclass(frozen=True)
class ConceptFigures:
    """What the cited concepts are worth for the share of the category, in one video with captions.

    Attributes
    ----------
    drop, drop_random
        Drop of the share without the cited concepts, or without as many random others of the category.
    kept, kept_random
        Share with these concepts alone.
    """

    drop: float
    drop_random: float
    kept: float
    kept_random: float


def concept_figures(
    scores: Scores, terms: ConceptTerms, bank: AnchorBank, rule: EventRule, *, seed: int = 0
) -> ConceptFigures | None:
    """Remove the concepts that a report cites for the strongest event from the sum that decides its category.

    Parameters
    ----------
    scores
        Of one video, by :func:`kgvad.detector.scoring.training_free.score_training_free` with captions.
    terms
        Of the scores, by :func:`kgvad.explain.scorers.from_video.concept_terms`.
    bank
        The anchor bank that they were computed with.
    rule
        How events are found.
    seed
        Of the random concepts.

    Returns
    -------
    ConceptFigures or None
        ``None`` without an event or an alignment, or if the category has fewer than twice as many concepts.
    """
    strongest = max(find_events(scores, rule), key=lambda event: event.peak, default=None)
    if strongest is None or scores.alignment is None:
        return None
    category = category_shares(scores, strongest, {})[0].name
    column = bank.categories.index(category)
    own = np.flatnonzero(bank.concept_category == column)
    cited = np.array(cited_indices(terms, scores, strongest, category, bank), np.int64)
    rest = np.setdiff1d(own, cited)
    if not len(cited) or len(rest) < len(cited):
        return None

    def share(removed: NDArray[np.int64]) -> float:
        assert scores.alignment is not None
        alignment = scores.alignment.copy()
        alignment[:, column] -= terms.values[:, removed].sum(axis=1)
        left = _share_of(replace(scores, alignment=alignment), strongest, scores)
        assert left is not None
        return left

    rng = np.random.default_rng(seed)
    draws = [rng.choice(rest, len(cited), replace=False) for _ in range(DRAWS)]
    whole = share(own[:0])
    return ConceptFigures(
        drop=whole - share(cited),
        drop_random=whole - float(np.mean([share(draw) for draw in draws])),
        kept=share(rest),
        kept_random=float(np.mean([share(np.setdiff1d(own, draw)) for draw in draws])),
    )


def level(scores: Scores) -> float:
    """The video's score: mean of its top-k snippets."""
    count = len(scores.scores) // TOP_K_DIVISOR + 1
    return float(np.sort(scores.scores)[-count:].mean())


def _deletion(
    score: Score,
    snippets: NDArray[np.float32],
    base: Scores,
    events: list[EventSpan],
    outside: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Faithfulness:
    background = snippets[outside].mean(axis=0)
    strongest = max(events, key=lambda event: event.peak)

    def without(mask: NDArray[np.bool_]) -> Scores:
        return score(np.where(mask[:, None], background, snippets).astype(np.float32))

    cited = without(~outside)
    lengths = [event.snippets[1] - event.snippets[0] for event in events]
    masks = [_runs(lengths, len(snippets), rng) for _ in range(DRAWS)]
    others, whole = [without(mask) for mask in masks], level(base)
    share = [_share_of(s, strongest, base) for s in (base, cited, *others)]
    known = [value for value in share if value is not None]
    return Faithfulness(
        score_drop=whole - level(cited),
        score_drop_random=whole - float(np.mean([level(other) for other in others])),
        sufficiency=level(without(outside)) / whole,
        sufficiency_random=float(np.mean([level(without(~mask)) for mask in masks])) / whole,
        category_drop=known[0] - known[1] if known else None,
        category_drop_random=known[0] - float(np.mean(known[2:])) if known else None,
    )


def _runs(lengths: Sequence[int], snippets: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask with random runs of these ``lengths``, bool [snippets]; overlapping runs are made up for elsewhere."""
    mask = np.zeros(snippets, dtype=bool)
    for length in lengths:
        for _ in range(50):
            start = int(rng.integers(0, snippets - length + 1))
            if not mask[start : start + length].any():
                break
        mask[start : start + length] = True
    free = np.flatnonzero(~mask)
    missing = sum(lengths) - int(mask.sum())
    if missing > 0:  # runs that had to overlap
        mask[rng.choice(free, missing, replace=False)] = True
    return mask


def _share_of(scores: Scores, event: EventSpan, base: Scores) -> float | None:
    """Share of the category that ``base`` gives to ``event``, by ``scores``, with the weights of ``base``."""
    named = category_shares(base, event, {})
    if not named or scores.alignment is None:
        return None
    same_weights = replace(scores, scores=base.scores)
    return next(c.probability for c in category_shares(same_weights, event, {}) if c.name == named[0].name)


def _concepts(
    run: Run,
    snippets: NDArray[np.float32],
    base: Scores,
    events: list[EventSpan],
    outside: NDArray[np.bool_],
    rng: np.random.Generator,
    result: Faithfulness,
) -> Faithfulness:
    """Remove the cited concepts of the highest event from the detector's guidance, or others of the category."""
    bank, strongest = run.bank, max(events, key=lambda event: event.peak)
    named = category_shares(base, strongest, {})
    if bank is None or not named or not hasattr(run.detector, "member"):
        return result
    change = concept_rises(base, bank, strongest, outside)
    if change is None:
        return result
    category = bank.categories.index(named[0].name)
    own = np.flatnonzero(bank.concept_category == category)
    cited = np.array(distinct(bank, change, named[0].name, MAX_EVIDENCE), dtype=np.int64)
    rest = np.setdiff1d(own, cited)
    if not len(cited) or len(rest) < len(cited):
        return result
    draws = [rng.choice(rest, len(cited), replace=False) for _ in range(DRAWS)]
    whole = named[0].probability
    drops = [
        whole - (_share_of(_without(run, snippets, base, removed), strongest, base) or 0.0)
        for removed in (cited, *draws)
    ]
    return replace(result, concept_drop=drops[0], concept_drop_random=float(np.mean(drops[1:])))


def _columns(
    run: Run,
    score: Score,
    snippets: NDArray[np.float32],
    base: Scores,
    events: list[EventSpan],
    rng: np.random.Generator,
    result: Faithfulness,
) -> Faithfulness:
    """Let the columns that are cited for the highest event contribute nothing, or random ones; or only these."""
    terms, strongest = column_terms(run, snippets), max(events, key=lambda event: event.peak)
    named = category_shares(base, strongest, {})
    if terms is None or not named:
        return result
    lead = lead_of(terms, base, strongest, named[0].name)
    cited = np.argsort(-lead, kind="stable")[:MAX_FOR]
    cited = cited[lead[cited] > 0]
    everything = np.arange(len(lead))
    rest = np.setdiff1d(everything, cited)
    if not len(cited) or len(rest) < len(cited):
        return result
    device = next(run.detector.parameters()).device

    def value(removed: NDArray[np.int64]) -> float:
        x = torch.from_numpy(snippets).to(device)
        changed = run.detector.without_columns(x, torch.from_numpy(removed).to(device))
        found = score(changed.cpu().numpy())
        if len(named) == 1:
            return float(found.scores[slice(*strongest.snippets)].mean())
        return _share_of(found, strongest, base) or 0.0

    draws = [rng.choice(rest, len(cited), replace=False) for _ in range(DRAWS)]
    whole = value(everything[:0])
    return replace(
        result,
        column_drop=whole - value(cited),
        column_drop_random=whole - float(np.mean([value(draw) for draw in draws])),
        columns_kept=value(rest),
        columns_kept_random=float(np.mean([value(np.setdiff1d(everything, draw)) for draw in draws])),
    )


def _without(run: Run, snippets: NDArray[np.float32], base: Scores, removed: NDArray[np.int64]) -> Scores:
    """Scores by a copy of the detector whose anchors do not attend to the removed concepts."""
    detector = copy.deepcopy(run.detector)
    member = detector.get_buffer("member").clone()
    member[:, removed.tolist()] = False
    detector.member = member
    found = infer(detector, snippets)
    return replace(base, scores=np.clip(found["scores"], 0, 1), alignment=found["alignment"], concept_alignment=None)


def _stability(
    base: Scores, noisy: Scores, events: list[EventSpan], rule: EventRule, result: Faithfulness
) -> Faithfulness:
    others = find_events(noisy, rule)
    before, after = ~outside_events(base, events), ~outside_events(noisy, others)
    lengths = (base.spans[:, 1] - base.spans[:, 0]).astype(float)
    overlap = float(lengths[before & after].sum() / lengths[before | after].sum())
    strongest = max(events, key=lambda event: event.peak)
    first, second = (category_shares(scores, strongest, {}) for scores in (base, replace(noisy, scores=base.scores)))
    return replace(result, overlap=overlap, same_category=first[0].name == second[0].name if first and second else None)
