"""The categories of an event, and the concepts of the knowledge graph that are cited for it.

All of it is arithmetic on the alignment that came with the scores. A concept is cited only if it is similar
enough to the event and rises enough, and every figure is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import AnchorError
from kgvad.explain.analysis.events import EventSpan
from kgvad.explain.parts import GraphStep
from kgvad.explain.report import CategoryShare, Contrast, Evidence
from kgvad.explain.text import category_text, plain

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank

COSINE_TEMPERATURE = 0.05  # of the softmax over cosines; logits of trained detectors are already divided
MAX_EVIDENCE = 5  # concepts cited for an event

MIN_SIMILARITY, MIN_RISE = 0.25, 0.03
"""A concept is cited from this similarity and this rise. Measured on captions of 70 UCF-Crime test videos (every second
abnormal one, docs/notebook/reports.md): below them, concepts of the true category are no more frequent than others."""

MIN_SIMILARITY_JOINT, MIN_RISE_JOINT = 0.2, 0.01
"""The same for images compared with texts, whose cosines lie in a narrow band (.18 to .27 for CLIP)."""


@dataclass(frozen=True)
class ConceptRises:
    """How the similarity to each concept changes during an event.

    Attributes
    ----------
    inside, outside
        Mean similarity during the event (weighted by the score) and in the rest of the video, float64 [P];
        ``outside`` is ``None`` where the events fill the video.
    normal
        Mean over the Normal concepts of the same difference (of ``inside`` where there is no outside).
    rise
        ``inside - outside``, less ``normal`` where that is positive, float64 [P]: the evidence for a concept. A fall of
        Normal does not count, so a cited concept has itself become more similar.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64] | None
    normal: float
    rise: NDArray[np.float64]


def temperature(scores: Scores) -> float:
    """Softmax temperature of the alignment: the run's own where it was measured, else a small one for cosines.

    Alignments within -1..1 are cosines; others are logits, with a temperature of 1.
    """
    measured = None if scores.origin.thresholds is None else scores.origin.thresholds.temperature
    if measured is not None:
        return measured
    largest = 0.0 if scores.alignment is None else float(np.abs(scores.alignment).max(initial=0))
    return COSINE_TEMPERATURE if largest <= 1 else 1.0


def category_shares(scores: Scores, event: EventSpan, texts: Mapping[str, str]) -> list[CategoryShare]:
    """The abnormal categories and their shares during ``event``, largest first; empty without an alignment.

    The alignment is averaged over the event with the scores as weights; the softmax over the abnormal categories gives
    the shares. Normal is left out, because whether the event is abnormal is the anomaly score's decision.
    """
    if scores.alignment is None or scores.categories is None:
        return []
    mean = np.average(scores.alignment.astype(np.float64), axis=0, weights=event_weights(scores, event))
    abnormal = [index for index in range(len(mean)) if index != scores.normal]
    if not abnormal:
        return []

    share = softmax(mean[abnormal] / temperature(scores))
    order = sorted(range(len(abnormal)), key=lambda i: (-share[i], scores.categories[abnormal[i]]))  # type: ignore[index]
    return [
        CategoryShare(
            name=scores.categories[abnormal[i]],
            text=category_text(scores.categories[abnormal[i]], texts),
            probability=round(float(share[i]), 4),
        )
        for i in order
    ]


def snippet_shares(alignment: NDArray[np.float64], normal: int | None, divisor: float) -> NDArray[np.float64]:
    """Shares of all categories, float64 [T, C], rows sum to 1; ``divisor`` is the softmax temperature.

    The share of Normal in logits stays that of the detector: a temperature is measured on the abnormal categories, and
    only they are divided by it.
    """
    if normal is None or np.abs(alignment).max(initial=0) <= 1:
        return np.asarray(softmax(alignment / divisor, axis=1))
    share = np.asarray(softmax(alignment, axis=1))
    abnormal = np.arange(alignment.shape[1]) != normal
    share[:, abnormal] = softmax(alignment[:, abnormal] / divisor, axis=1) * (1 - share[:, [normal]])
    return share


def concept_rises(
    scores: Scores, bank: AnchorBank, event: EventSpan, outside: NDArray[np.bool_]
) -> ConceptRises | None:
    """Change of the similarity to every concept of ``bank`` during ``event``; ``None`` without concept alignment.

    Raises
    ------
    AnchorError
        The scores were computed with a bank of another size.
    """
    if scores.concept_alignment is None:
        return None
    return rises(scores.concept_alignment, bank, event_weights(scores, event), outside)


def rises(
    similarity: NDArray[np.floating], bank: AnchorBank, weights: NDArray[np.float64], outside: NDArray[np.bool_]
) -> ConceptRises:
    """The arithmetic of :func:`concept_rises` for any similarity [T, P], weights [T] and mask of the rest [T]."""
    if similarity.shape[1] != len(bank.concepts):
        raise AnchorError(
            f"the scores refer to {similarity.shape[1]} concepts and the anchor bank has {len(bank.concepts)}",
            "give the bank that the scores were computed with (--anchors BANK)",
        )
    values = similarity.astype(np.float64)
    inside = np.average(values, axis=0, weights=weights)
    rest = values[outside].mean(axis=0) if outside.any() else None
    change = inside if rest is None else inside - rest
    normal_concepts = bank.concept_category == bank.normal
    normal = float(change[normal_concepts].mean()) if normal_concepts.any() else 0.0
    return ConceptRises(inside, rest, normal, change - max(0.0, normal))


def event_weights(scores: Scores, event: EventSpan) -> NDArray[np.float64]:
    """Weight of every snippet in the mean over ``event``, float64 [T]: its score, and 0 outside."""
    weights = np.zeros(len(scores.scores))
    inside = slice(*event.snippets)
    weights[inside] = scores.scores[inside] + 1e-6
    return weights


def evidence_for(bank: AnchorBank, change: ConceptRises, category: str, labels: dict[str, str]) -> list[Evidence]:
    """Concepts of ``category`` whose similarity rises, largest rise first, each text once.

    ``contribution`` is the share of a concept's rise in the sum of the cited rises.
    """
    return evidence_at(bank, change, distinct(bank, change, category, MAX_EVIDENCE), labels)


def distinct(bank: AnchorBank, change: ConceptRises, category: str, most: int) -> list[int]:
    """The first ``most`` of :func:`ranked`, with each text and each name of an item only once."""
    return once_each(bank, ranked(bank, change, category), most)


def once_each(bank: AnchorBank, order: Iterable[int], most: int) -> list[int]:
    """The first ``most`` of the concepts in ``order``, with each text and each name of an item only once."""
    chosen: dict[tuple[str, str], int] = {}
    texts: set[str] = set()
    for index in order:
        concept = bank.concepts[index]
        text = concept.text.casefold()
        key = ("item", concept.qid) if concept.qid and concept.relation in ("label", "alias") else ("text", text)
        if text not in texts:
            texts.add(text)
            chosen.setdefault(key, index)
    return list(chosen.values())[:most]


def evidence_at(
    bank: AnchorBank,
    change: ConceptRises,
    chosen: list[int],
    labels: dict[str, str],
) -> list[Evidence]:
    """The concepts with these indices, with their figures, source and path."""
    total = sum(float(change.rise[index]) for index in chosen)
    return [_evidence(bank, change, i, float(change.rise[i]) / total, labels) for i in chosen]


def ranked(bank: AnchorBank, change: ConceptRises, category: str) -> list[int]:
    """Indices of the concepts of ``category`` that may be cited, largest rise first; ties in the bank's order.

    They are similar enough to the event, and their similarity rises enough.
    """
    joint = bank.encoder.joint is not None
    similarity, rise = (MIN_SIMILARITY_JOINT, MIN_RISE_JOINT) if joint else (MIN_SIMILARITY, MIN_RISE)
    own = np.flatnonzero(bank.concept_category == bank.categories.index(category))
    own = own[(change.rise[own] >= rise - 1e-9) & (change.inside[own] >= similarity - 1e-9)]
    return [int(index) for index in own[np.argsort(-change.rise[own], kind="stable")]]


def contrast_of(bank: AnchorBank, change: ConceptRises, category: str, rival: str) -> Contrast | None:
    """The concept with the largest rise of each of two categories; ``None`` unless that of ``category`` rises more."""
    ours, theirs = ranked(bank, change, category), np.flatnonzero(bank.concept_category == bank.categories.index(rival))
    if not ours or not len(theirs):
        return None
    best, other = ours[0], int(theirs[change.rise[theirs].argmax()])
    if change.rise[best] <= change.rise[other] or bank.concepts[best].text == bank.concepts[other].text:
        return None
    return Contrast(
        category=category,
        rival=rival,
        concept=bank.concepts[best].text,
        rise=round(float(change.rise[best]), 4),
        rival_concept=bank.concepts[other].text,
        rival_rise=round(float(change.rise[other]), 4),
    )


def _evidence(
    bank: AnchorBank,
    change: ConceptRises,
    index: int,
    contribution: float,
    labels: dict[str, str],
) -> Evidence:
    concept = bank.concepts[index]
    return Evidence(
        concept=plain(concept.text),
        category=bank.categories[int(bank.concept_category[index])],
        relation=plain(concept.relation),
        qid=concept.qid,
        property=concept.property,
        path=tuple(
            GraphStep(
                subject=subject,
                property=prop,
                object=target,
                subject_label=labels.get(subject),
                object_label=labels.get(target),
            )
            for subject, prop, target in concept.path
        ),
        path_text=plain(concept.path_text) if concept.path_text else None,
        source=plain(concept.source) if concept.source else None,
        fetched_at=concept.fetched_at,
        inside=round(float(change.inside[index]), 4),
        outside=None if change.outside is None else round(float(change.outside[index]), 4),
        normal=round(change.normal, 4),
        rise=round(float(change.rise[index]), 4),
        contribution=round(contribution, 4),
    )


def item_labels(bank: AnchorBank | None) -> dict[str, str]:
    """QID to label, from the concepts of the bank."""
    if bank is None:
        return {}
    other = ("alias", "description", "cue")  # texts that are not the label of the item
    return {
        concept.qid: concept.text
        for concept in reversed(bank.concepts)
        if concept.qid and concept.relation not in other
    }
