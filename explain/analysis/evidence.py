"""What an event is, and which concepts of the knowledge graph say so.

Everything here is arithmetic on the alignment that came with the scores: no concept is cited whose similarity does
not rise during the event, and every number is kept beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import AnchorError
from kgvad.explain.analysis.events import Interval
from kgvad.explain.rendering.escaping import plain
from kgvad.explain.report import CategoryShare, Contrast, Evidence, GraphStep

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank

COSINE_TEMPERATURE = 0.05  # turns differences of cosines into shares; trained scorers give logits, divided already
MOST_EVIDENCE = 5  # concepts cited for an event


@dataclass(frozen=True)
class Rises:
    """How the similarity to each concept changes during an event.

    Attributes
    ----------
    inside, outside
        Mean similarity during the event (weighted by the score) and in the rest of the video, float64 [P];
        ``outside`` is ``None`` where the events fill the video.
    normal
        Mean over the Normal concepts of the same difference (of ``inside`` where there is no outside).
    rise
        ``inside - outside``, less ``normal`` where that rises too, float64 [P]: what counts as evidence. (Where
        Normal falls, nothing gains by it: a concept must itself come closer to be cited.)
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64] | None
    normal: float
    rise: NDArray[np.float64]


def quiet_rows(scores: Scores, events: list[Interval]) -> NDArray[np.bool_]:
    """Rows that belong to no event, bool [T]."""
    quiet = np.ones(len(scores.scores), dtype=bool)
    for event in events:
        quiet[slice(*event.rows)] = False
    return quiet


def temperature(alignment: NDArray[np.floating]) -> float:
    """Divisor that makes logits of ``alignment``: cosines (nothing beyond -1..1) need one, logits do not."""
    return COSINE_TEMPERATURE if np.abs(alignment).max(initial=0) <= 1 else 1.0


def category_shares(scores: Scores, event: Interval, texts: dict[str, str]) -> list[CategoryShare]:
    """The abnormal categories and their shares during ``event``, largest first; empty without an alignment.

    The alignment is averaged over the event with the scores as weights, Normal is left out (that something abnormal
    happens is the score's to say), and the softmax of the rest is the share.
    """
    if scores.alignment is None or scores.categories is None:
        return []
    inside = slice(*event.rows)
    weights = scores.scores[inside].astype(np.float64) + 1e-6
    mean = np.average(scores.alignment[inside].astype(np.float64), axis=0, weights=weights)
    abnormal = [index for index in range(len(mean)) if index != scores.normal]
    if not abnormal:
        return []
    from scipy.special import softmax

    share = softmax(mean[abnormal] / temperature(scores.alignment))
    order = sorted(range(len(abnormal)), key=lambda i: (-share[i], scores.categories[abnormal[i]]))  # type: ignore[index]
    return [
        CategoryShare(
            name=scores.categories[abnormal[i]],
            text=texts.get(scores.categories[abnormal[i]], scores.categories[abnormal[i]]),
            probability=round(float(share[i]), 4),
        )
        for i in order
    ]


def concept_rises(scores: Scores, bank: AnchorBank, event: Interval, quiet: NDArray[np.bool_]) -> Rises | None:
    """Change of the similarity to every concept of ``bank`` during ``event``; ``None`` without concept alignment.

    Raises
    ------
    AnchorError
        The scores were made with a bank of another size.
    """
    if scores.concept_alignment is None:
        return None
    return rises(scores.concept_alignment, bank, _weights(scores, event), quiet)


def rises(
    similarity: NDArray[np.floating], bank: AnchorBank, weights: NDArray[np.float64], quiet: NDArray[np.bool_]
) -> Rises:
    """The arithmetic of :func:`concept_rises` on any similarity [T, P] with row weights [T] and quiet rows [T]."""
    if similarity.shape[1] != len(bank.concepts):
        raise AnchorError(
            f"the scores know {similarity.shape[1]} concepts and the anchor bank has {len(bank.concepts)}",
            "give the bank that the scores were made with (--anchors BANK)",
        )
    values = similarity.astype(np.float64)
    inside = np.average(values, axis=0, weights=weights)
    outside = values[quiet].mean(axis=0) if quiet.any() else None
    change = inside if outside is None else inside - outside
    normal_concepts = bank.concept_category == bank.normal
    normal = float(change[normal_concepts].mean()) if normal_concepts.any() else 0.0
    return Rises(inside, outside, normal, change - max(0.0, normal))


def _weights(scores: Scores, event: Interval) -> NDArray[np.float64]:
    weights = np.zeros(len(scores.scores))
    inside = slice(*event.rows)
    weights[inside] = scores.scores[inside] + 1e-6
    return weights


def evidence_for(
    bank: AnchorBank,
    change: Rises,
    category: str,
    labels: dict[str, str],
    most: int = MOST_EVIDENCE,
) -> list[Evidence]:
    """Concepts of ``category`` whose similarity rises, the strongest first, each text once.

    ``contribution`` is the share of a concept's rise in the sum of the cited rises.
    """
    return evidence_at(bank, change, distinct(bank, change, category, most), labels, "alignment")


def distinct(bank: AnchorBank, change: Rises, category: str, most: int) -> list[int]:
    """The first ``most`` of :func:`ranked`, each text once, and one name of each item."""
    chosen: dict[tuple[str, str], int] = {}
    texts: set[str] = set()
    for index in ranked(bank, change, category):
        concept = bank.concepts[index]
        text = concept.text.casefold()
        key = ("item", concept.qid) if concept.qid and concept.relation in ("label", "alias") else ("text", text)
        if text not in texts:
            texts.add(text)
            chosen.setdefault(key, index)
    return list(chosen.values())[:most]


def evidence_at(
    bank: AnchorBank,
    change: Rises,
    chosen: list[int],
    labels: dict[str, str],
    basis: Literal["alignment", "actions"],
) -> list[Evidence]:
    """The concepts with these indices, with their numbers, source and path."""
    total = sum(float(change.rise[index]) for index in chosen)
    return [_evidence(bank, change, i, float(change.rise[i]) / total, labels, basis) for i in chosen]


def ranked(bank: AnchorBank, change: Rises, category: str) -> list[int]:
    """Indices of the concepts of ``category`` that rise, strongest first; ties in the bank's order."""
    own = np.flatnonzero(bank.concept_category == bank.categories.index(category))
    own = own[change.rise[own] > 0]
    return [int(index) for index in own[np.argsort(-change.rise[own], kind="stable")]]


def contrast_of(bank: AnchorBank, change: Rises, category: str, rival: str) -> Contrast | None:
    """The strongest concept of each of two categories, where that of ``category`` rises more; else ``None``."""
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
    change: Rises,
    index: int,
    contribution: float,
    labels: dict[str, str],
    basis: Literal["alignment", "actions"],
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
        basis=basis,
        inside=round(float(change.inside[index]), 4),
        outside=None if change.outside is None else round(float(change.outside[index]), 4),
        normal=round(change.normal, 4),
        rise=round(float(change.rise[index]), 4),
        contribution=round(contribution, 4),
    )


def item_labels(bank: AnchorBank | None) -> dict[str, str]:
    """QID to label, as far as the bank's concepts know."""
    if bank is None:
        return {}
    other = ("alias", "description", "cue")  # not the label of the item
    return {
        concept.qid: concept.text
        for concept in reversed(bank.concepts)
        if concept.qid and concept.relation not in other
    }
