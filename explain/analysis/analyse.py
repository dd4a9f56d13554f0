"""From a scored video to its events with categories, evidence and key frames. Reads no file and runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.explain.analysis.caption_choice import typical_caption
from kgvad.explain.analysis.contributions import cited_concepts, cited_contributions
from kgvad.explain.analysis.events import (
    EventRule,
    EventSpan,
    Thresholds,
    find_events,
    outside_events,
    snippet_times,
)
from kgvad.explain.analysis.evidence import (
    category_shares,
    concept_rises,
    contrast_of,
    evidence_for,
    item_labels,
)
from kgvad.explain.report import CategoryShare, Contrast, Contribution, Evidence, KeyFrame, Similar
from kgvad.explain.scorers.base import ConceptTerms, ScoredVideo
from kgvad.explain.text import category_text, plain

MAX_KEY_FRAMES = 4  # of one event
MAX_CAPTION = 400  # characters quoted


@dataclass(frozen=True)
class AnalysedEvent:
    """One event with what is known about it.

    Attributes
    ----------
    span
        Where it lies on the score curve.
    categories
        Abnormal categories with their shares, largest first; empty where the scores name none.
    evidence
        Concepts cited for the first category.
    contributions
        Named columns or concepts that decided the first category, where it is a sum of them.
    contrast
        The concept that distinguishes the first category from the second.
    similar
        Exemplars whose features resemble those of the event.
    key_frames
        Frames to show, in the order of time.
    caption, caption_s
        The given caption that says most of what those of the event say, and its time in seconds.
    """

    span: EventSpan
    categories: tuple[CategoryShare, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    contrast: Contrast | None = None
    similar: tuple[Similar, ...] = ()
    key_frames: tuple[KeyFrame, ...] = ()
    caption: str | None = None
    caption_s: float | None = None


@dataclass(frozen=True, eq=False)
class Analysis:
    """Events of one video.

    Attributes
    ----------
    rule
        How they were found.
    times
        Start and end of every snippet in seconds, float64 [T, 2].
    outside
        Snippets that belong to no event, bool [T].
    outside_score
        Median score of these snippets; ``None`` where the events fill the video.
    events
        In the order of time.
    """

    rule: EventRule
    times: NDArray[np.float64]
    outside: NDArray[np.bool_]
    outside_score: float | None
    events: tuple[AnalysedEvent, ...]

    @property
    def spans(self) -> list[EventSpan]:
        """The events on the score curve."""
        return [event.span for event in self.events]


def analyse(
    scored: ScoredVideo, thresholds: Thresholds | None = None, category_texts: Mapping[str, str] | None = None
) -> Analysis:
    """Find the events of a scored video and gather the evidence for each.

    Parameters
    ----------
    scored
        From a scorer.
    thresholds
        What the user set of the rule for events.
    category_texts
        Category name to words ("RoadAccidents": "road accident").
    """
    scores, texts = scored.scores, category_texts or {}
    rule = (thresholds or Thresholds()).rule(scores.origin, scores.scores)
    times = snippet_times(scores, scored.info)
    spans = find_events(scores, rule, times)
    outside = outside_events(scores, spans)
    if scored.excluded is not None:
        outside &= ~scored.excluded
    return Analysis(
        rule=rule,
        times=times,
        outside=outside,
        outside_score=float(np.median(scores.scores[outside])) if outside.any() else None,
        events=tuple(_analyse_event(scored, span, times, outside, texts) for span in spans),
    )


def _analyse_event(
    scored: ScoredVideo,
    span: EventSpan,
    times: NDArray[np.float64],
    outside: NDArray[np.bool_],
    texts: Mapping[str, str],
) -> AnalysedEvent:
    named = scored.scores.origin.names_categories != "no"
    categories = category_shares(scored.scores, span, texts) if named else []
    evidence, contrast = _evidence(scored, span, outside, categories, texts)
    caption, caption_s = _caption(scored, span, times)
    return AnalysedEvent(
        span=span,
        categories=tuple(categories),
        evidence=evidence,
        contributions=tuple(
            with_category_text(item, categories[0].name, texts) for item in _contributions(scored, span, categories)
        ),
        contrast=contrast,
        similar=_similar(scored, span, texts),
        key_frames=key_frames(scored.scores, span, times),
        caption=caption,
        caption_s=caption_s,
    )


def _contributions(
    scored: ScoredVideo, span: EventSpan, categories: Sequence[CategoryShare]
) -> tuple[Contribution, ...]:
    names = scored.scores.categories
    if scored.terms is None or not categories or names is None or categories[0].name not in names:
        return ()
    if isinstance(scored.terms, ConceptTerms):
        if scored.bank is None or categories[0].name not in scored.bank.categories:
            return ()
        return cited_concepts(scored.terms, scored.scores, span, categories[0].name, scored.bank)
    return cited_contributions(scored.terms, scored.scores, span, categories[0].name, scored.bank)


def _evidence(
    scored: ScoredVideo,
    span: EventSpan,
    outside: NDArray[np.bool_],
    categories: Sequence[CategoryShare],
    texts: Mapping[str, str],
) -> tuple[tuple[Evidence, ...], Contrast | None]:
    bank = scored.bank
    if bank is None or not categories or categories[0].name not in bank.categories:
        return (), None
    change = concept_rises(scored.scores, bank, span, outside)
    if change is None:
        return (), None
    first = categories[0].name
    found = evidence_for(bank, change, first, item_labels(bank))
    rival = categories[1].name if len(categories) > 1 else None
    contrast = contrast_of(bank, change, first, rival) if rival in bank.categories else None
    return tuple(with_category_text(item, first, texts) for item in found), contrast


Cited = TypeVar("Cited", Evidence, Contribution)


def with_category_text(item: Cited, category: str, texts: Mapping[str, str]) -> Cited:
    """``item`` with the words of its category where the bank wrote the name ("RoadAccidents") into the path."""
    if item.path_text is None or not item.path_text.startswith(f"{category} "):
        return item
    text = category_text(category, texts)
    return item.model_copy(update={"path_text": text + item.path_text[len(category) :]})


def _similar(scored: ScoredVideo, span: EventSpan, texts: Mapping[str, str]) -> tuple[Similar, ...]:
    if scored.features is None or scored.exemplars is None:
        return ()
    features = scored.features[0] if scored.features.ndim == 3 else scored.features
    return tuple(
        Similar(
            video=plain(match.video),
            category=match.category,
            text=category_text(match.category, texts),
            start_s=round(match.start_s, 3),
            end_s=round(match.end_s, 3),
            similarity=round(match.similarity, 4),
        )
        for match in scored.exemplars.nearest(features[slice(*span.snippets)])
    )


def key_frames(scores: Scores, span: EventSpan, times: NDArray[np.float64]) -> tuple[KeyFrame, ...]:
    """Onset, peak, and frames far from those already chosen, in the order of time; at most one per snippet."""
    first, stop = span.snippets
    onset = first + int((times[first:stop, 0] >= span.onset_s - 1e-9).argmax())
    chosen: dict[int, Literal["peak", "onset", "between"]] = {span.peak_snippet: "peak"}
    chosen.setdefault(onset, "onset")
    snippets = np.arange(first, stop)
    while len(chosen) < min(MAX_KEY_FRAMES, len(snippets)):
        distance = np.abs(snippets[:, None] - np.array(list(chosen))[None, :]).min(axis=1)
        worth = distance / max(1, len(snippets)) * (0.25 + scores.scores[snippets])  # far from the others, high score
        chosen[int(snippets[worth.argmax()])] = "between"
    return tuple(
        KeyFrame(
            time_s=round(float(times[snippet].mean()), 3),
            frame=int(scores.spans[snippet].sum() // 2),
            score=round(float(scores.scores[snippet]), 4),
            reason=reason,
        )
        for snippet, reason in sorted(chosen.items())
    )


def _caption(scored: ScoredVideo, span: EventSpan, times: NDArray[np.float64]) -> tuple[str, float] | tuple[None, None]:
    """The caption of the event that says most of what the others say, and the start of its snippet."""
    spans = scored.scores.spans
    first, end = spans[span.snippets[0], 0], spans[span.snippets[1] - 1, 1]
    during = [(frame, text) for frame, text in scored.captions or () if first <= frame < end]
    if not during:
        return None, None
    frame, text = during[typical_caption([text for _, text in during])]
    snippet = max(0, int(np.searchsorted(spans[:, 0], frame, side="right")) - 1)
    return plain(text)[:MAX_CAPTION], float(times[snippet, 0])
