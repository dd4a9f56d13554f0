"""What decided the category of an event: terms of the sum that is its logit, or its similarity to the captions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.scoring.scores import Scores
from kgvad.explain.analysis.events import EventSpan
from kgvad.explain.analysis.evidence import event_weights, once_each
from kgvad.explain.report import Contribution
from kgvad.explain.scorers.base import ColumnTerms, ConceptTerms
from kgvad.explain.text import plain
from kgvad.vectors import unit

MAX_FOR, MAX_AGAINST = 5, 2  # cited for and against a category
MIN_SIMILARITY = 0.5  # cosine from which a concept is named beside a column: "kissing" is at .42 to "fighting"


def cited_contributions(
    terms: ColumnTerms, scores: Scores, span: EventSpan, category: str, bank: AnchorBank | None
) -> tuple[Contribution, ...]:
    """The largest contributions for and against ``category`` during an event, by size, those for it first.

    A contribution is the term of a column in the logit of the category less its mean over the abnormal categories, so
    what raises all categories alike is not cited. All terms add up to the lead of the category, less the biases. A
    single category has no others: its terms are those of the anomaly logit.

    Parameters
    ----------
    scores
        Of the run, with its categories.
    bank
        Names the concept that a column's name is closest to; ``None``: no concept is named.
    """
    lead = lead_of(terms, scores, span, category)
    order = np.argsort(-lead, kind="stable")
    found = [int(i) for i in order[:MAX_FOR] if lead[i] > 0]
    against = [int(i) for i in order[::-1][:MAX_AGAINST] if lead[i] < 0]
    total = {True: float(lead[lead > 0].sum()), False: float(lead[lead < 0].sum())}
    return tuple(
        _contribution(terms, index, float(lead[index]), total[bool(lead[index] > 0)], category, bank)
        for index in [*found, *against]
    )


def lead_of(terms: ColumnTerms, scores: Scores, span: EventSpan, category: str) -> NDArray[np.floating]:
    """Contribution of each column to the lead of ``category`` during an event, float [D].

    The snippets weigh what they weigh in the category of the event.
    """
    assert scores.categories is not None
    weights = event_weights(scores, span)
    values = terms.over(weights / weights.sum())
    abnormal = [index for index, row in enumerate(values) if row.any()]
    lead: NDArray[np.floating] = values[scores.categories.index(category)]
    if len(abnormal) > 1:
        lead = lead - values[abnormal].mean(0)
    return lead


def cited_concepts(
    terms: ConceptTerms, scores: Scores, span: EventSpan, category: str, bank: AnchorBank
) -> tuple[Contribution, ...]:
    """The concepts with the largest terms in the similarity to ``category`` during an event, and their shares of it."""
    size = sizes_of(terms, scores, span, category, bank)
    total = float(size[size > 0].sum())
    found = []
    for index in cited_indices(terms, scores, span, category, bank):
        concept = bank.concepts[index]
        found.append(
            Contribution(
                name=plain(concept.text),
                value=round(float(size[index]), 4),
                share=round(float(size[index]) / total, 4),
                relation=plain(concept.relation),
                qid=concept.qid,
                path_text=plain(concept.path_text),
            )
        )
    return tuple(found)


def cited_indices(terms: ConceptTerms, scores: Scores, span: EventSpan, category: str, bank: AnchorBank) -> list[int]:
    """Indices of the concepts that are cited: the largest terms, every text and every name of an item once."""
    size = sizes_of(terms, scores, span, category, bank)
    return once_each(bank, (int(i) for i in np.argsort(-size, kind="stable") if size[i] > 0), MAX_FOR)


def sizes_of(
    terms: ConceptTerms, scores: Scores, span: EventSpan, category: str, bank: AnchorBank
) -> NDArray[np.float64]:
    """Term of each concept in the similarity to ``category`` during an event, float64 [P]; 0 for other categories."""
    own = bank.concept_category == bank.categories.index(category)
    mean = np.average(terms.values.astype(np.float64), axis=0, weights=event_weights(scores, span))
    return np.where(own, mean, 0.0)


def _contribution(
    terms: ColumnTerms, index: int, value: float, total: float, category: str, bank: AnchorBank | None
) -> Contribution:
    """The term ``value`` of a column; ``total`` of all terms of the same sign."""
    alone = Contribution(name=plain(terms.columns[index]), value=round(value, 4), share=round(value / total, 4))
    if value < 0 or bank is None or category not in bank.categories:  # no concept of a category speaks against it
        return alone
    # A cue that we wrote is what the category looks like, not a fact: it explains no column.
    is_cue = np.array([concept.relation == "cue" for concept in bank.concepts])
    own = np.flatnonzero((bank.concept_category == bank.categories.index(category)) & ~is_cue)
    if not len(own):
        return alone
    similarity = unit(bank.concept_vectors[own]) @ unit(terms.vectors[index])
    best = int(own[int(similarity.argmax())])
    if similarity.max() < MIN_SIMILARITY:
        return alone
    concept = bank.concepts[best]
    named = {
        "concept": plain(concept.text),
        "qid": concept.qid,
        "path_text": None if not concept.path_text or concept.relation == "label" else plain(concept.path_text),
        "similarity": round(float(similarity.max()), 4),
    }
    return alone.model_copy(update=named)
