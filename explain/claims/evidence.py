"""What claims are checked against: captions of the video, their meaning, and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.detector.scoring.clauses import clauses
from kgvad.explain.claims.vocabulary import named, narrower_or_same
from kgvad.explain.report import Event, Report

MOST_CAPTIONS = 120  # of one video that are compared; of more, one in so many is taken
CATEGORY_TEMPERATURE = 0.05  # of the softmax over the similarities of abnormal categories, in cosines
TOP = 0.25  # share of the clauses, the most similar ones, that a category is compared with

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TimedCaption:
    """A caption with its time."""

    start_s: float
    frame: int
    text: str


class Evidence:
    """Captions and report of one video.

    Parameters
    ----------
    duration_s, fps
        Of the video.
    captions
        Ordered by time; may be empty.
    bank
        Anchors and concepts of the categories, in the space of ``encoder``.
    encoder
        Text encoder.
    report
        Events and their categories, where the video was analysed.
    """

    def __init__(
        self,
        duration_s: float,
        fps: float,
        captions: Sequence[TimedCaption],
        bank: AnchorBank,
        encoder: TextEncoder,
        report: Report | None = None,
    ) -> None:
        step = -(-len(captions) // MOST_CAPTIONS) or 1
        self.duration_s, self.fps = duration_s, fps
        self.captions = list(captions)[::step]
        self.bank, self.encoder, self.report = bank, encoder, report
        self.starts = np.array([caption.start_s for caption in self.captions], np.float64)

    @cached_property
    def _clauses(self) -> tuple[Floats, NDArray[np.int64]]:
        """Vectors of all clauses, and the index of each one's caption."""
        texts, owners = [], []
        for index, caption in enumerate(self.captions):
            own = clauses(caption.text)
            texts += own
            owners += [index] * len(own)
        known = list(dict.fromkeys(texts))
        place = {text: index for index, text in enumerate(known)}
        vectors = self.encoder.encode(known)
        return vectors[[place[text] for text in texts]], np.array(owners, np.int64)

    @cached_property
    def named(self) -> list[set[str]]:
        """Entities that each caption names, with broader ones."""
        return [named(caption.text) for caption in self.captions]

    def inside(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        """Captions between two times, bool [N]; at least the nearest one."""
        found = (self.starts >= start_s) & (self.starts <= end_s)
        if not found.any() and len(self.starts):
            found[int(np.abs(self.starts - (start_s + end_s) / 2).argmin())] = True
        return found

    def similarity(self, text: str) -> Floats | None:
        """Cosine of ``text`` with the most similar clause of each caption, float32 [N]; ``None``: none."""
        if not self.captions:
            return None
        vectors, owners = self._clauses
        cosine = vectors @ self.encoder.encode([text])[0]
        best = np.full(len(self.captions), -1.0, np.float32)
        np.maximum.at(best, owners, cosine)
        return best

    @cached_property
    def _concept_cosines(self) -> Floats:
        """Similarity of every clause to every concept of the bank."""
        cosines: Floats = self._clauses[0] @ self.bank.concept_vectors.T
        return cosines

    @cached_property
    def _ordinary(self) -> Floats:
        """Level of every category among ordinary activity: its similarity to the concepts of Normal, float32 [C]."""
        own = self.bank.concept_vectors[self.bank.concept_category == self.bank.normal]
        level: Floats = self._by_category(own @ self.bank.concept_vectors.T).mean(axis=0)
        return level

    def _by_category(self, cosines: Floats) -> Floats:
        """Similarity to the nearest concept of each category, float32 [rows, C]."""
        owner = self.bank.concept_category
        return np.stack([cosines[:, owner == c].max(axis=1) for c in range(len(self.bank.categories))], axis=1)

    def category_shares(self, chosen: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Shares of the abnormal categories in the captions, softmax of their similarities above the ordinary level.

        Of ``chosen`` captions, the similarities are averaged with those of the whole video.
        Empty without captions.
        """
        if not self.captions:
            return {}
        rows = self._by_category(self._concept_cosines)
        level = _level(rows)
        if chosen is not None:  # few captions are noisy
            level = np.mean([level, _level(rows[chosen[self._clauses[1]]])], axis=0, dtype=np.float32)
        level = level - self._ordinary
        abnormal = [c for c in range(len(self.bank.categories)) if c != self.bank.normal]
        share = softmax(level[abnormal] / CATEGORY_TEMPERATURE)
        return {self.bank.categories[c]: float(s) for c, s in zip(abnormal, share, strict=True)}

    def nearest_concept(self, category: str, chosen: NDArray[np.bool_] | None = None) -> tuple[int, int, float]:
        """Concept of ``category`` and caption that are most similar: their indices and the cosine."""
        rows = self._concept_cosines.copy()
        rows[:, self.bank.concept_category != self.bank.categories.index(category)] = -1
        if chosen is not None:
            rows[~chosen[self._clauses[1]]] = -1
        clause, concept = np.unravel_index(int(rows.argmax()), rows.shape)
        return int(concept), int(self._clauses[1][clause]), float(rows[clause, concept])

    def mentioning(self, entity: str, chosen: NDArray[np.bool_] | None = None) -> list[int]:
        """Indices of the captions that name an entity or a narrower one."""
        wanted = narrower_or_same(entity)
        return [index for index, found in enumerate(self.named) if wanted & found and (chosen is None or chosen[index])]

    def events_in(self, start_s: float, end_s: float) -> list[Event]:
        """Events of the report that overlap a stretch of the video."""
        events = () if self.report is None else self.report.events
        return [event for event in events if event.start_s <= end_s and event.end_s >= start_s]


def _level(rows: Floats) -> Floats:
    """Mean of the most similar clauses for each category, float32 [C]."""
    count = max(1, int(len(rows) * TOP))
    return np.asarray(np.sort(rows, axis=0)[-count:].mean(axis=0), np.float32)
