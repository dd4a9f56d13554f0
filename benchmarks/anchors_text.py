"""Human descriptions of UCF-Crime videos of known categories, for choosing and measuring anchors.

Videos are split in halves by a hash of their name. Choices are made on the half that :func:`chosen_on` names.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.pooling import FACTS, POOLINGS
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.kg.tables import CategoryTable
from kgvad.vectors import unit

Floats = NDArray[np.float32]
# Sentences that a language model adds about the anomaly itself: its presence, its name, its reasons.
NAMING = re.compile(
    r"anomal\w+ (\w+ )?(exist|in the|is (named|specific))|is an anomaly|exists|name|basis for|judg", re.I
)


def chosen_on(video: str) -> bool:
    """Whether a video may be used for choices: half of them, by a hash of the name."""
    return int(hashlib.sha256(video.encode()).hexdigest(), 16) % 2 == 0


@dataclass(frozen=True)
class Described:
    """Descriptions of one source: unit vectors [N, d], categories [N], videos [N], whether choices may look [N]."""

    name: str
    vectors: Floats
    category: NDArray[np.int64]
    video: NDArray[np.str_]
    choosing: NDArray[np.bool_]

    def hits(self, anchors: Floats, top: int) -> NDArray[np.float64]:
        """Whether the right one of the first ``len(anchors)`` categories is among the nearest; [N]."""
        order = np.argsort(-(self.vectors @ anchors.T), axis=1)[:, :top]
        return np.asarray((order == self.category[:, None]).any(1), np.float64)

    def share(self, hits: NDArray[np.float64], choosing: bool) -> tuple[float, float]:
        """Mean of a half, and its standard error; sentences of one video stand or fall together."""
        mask = self.choosing == choosing
        _, owner = np.unique(self.video[mask], return_inverse=True)
        off = np.bincount(owner, hits[mask] - hits[mask].mean())
        return float(hits[mask].mean()), float(np.sqrt((off**2).sum()) / mask.sum())


def described(shared: Path, table: CategoryTable, encoder: TextEncoder) -> list[Described]:
    """The sources: one sentence a video; all sentences of a video; its sentences about the event; event summaries."""
    refs = shared / "data/refs"
    names = [category.name for category in table.categories if not category.normal]

    def category(video: str) -> int | None:
        found = re.match(r"[A-Za-z]+", video)
        return names.index(found.group()) if found and found.group() in names else None

    def read(name: str) -> dict[str, dict]:  # type: ignore[type-arg]
        return json.loads((refs / name).read_text("utf-8"))  # type: ignore[no-any-return]

    one: list[tuple[str, list[str]]] = []
    for row in json.loads((refs / "ucfar_train_dedup.json").read_text("utf-8")):
        one.append((Path(row["Video Name"]).stem, [row["English Text"]]))
    events = {**read("hivau_new_train.json"), **read("hivau_ucf_test.json")}
    uca = {**read("uca_Train.json"), **read("uca_Val.json"), **read("uca_Test.json")}
    whole = [(video, [text.strip() for text in found["sentences"]]) for video, found in uca.items()]
    inside = []
    for video, found in uca.items():
        for text, (start, end) in zip(found["sentences"], found["timestamps"], strict=True):
            overlaps = [min(end, e) - max(start, s) for s, e in events.get(video, {}).get("events", [])]
            if end > start and max(overlaps, default=0) >= (end - start) / 2:
                inside.append((video, [text.strip()]))
    told = []
    for video, found in events.items():
        texts = found.get("events_summary") or [found["video_summary"]]
        plain = [" ".join(s for s in re.split(r"(?<=[.!?])\s+", t) if not NAMING.search(s)) for t in texts]
        told.append((video, [text for text in plain if len(text) > 20]))
    sources = []
    for name, rows in (("ucfar", one), ("UCA, videos", whole), ("UCA, events", inside), ("HIVAU", told)):
        rows = [(video, texts) for video, texts in rows if category(video) is not None and texts]
        flat = encoder.encode([text for _, texts in rows for text in texts])
        ends = np.cumsum([len(texts) for _, texts in rows])[:-1]
        means = np.stack([part.mean(0) for part in np.split(flat, ends)])
        videos = np.array([video for video, _ in rows])
        truth = np.array([category(video) for video in videos])
        sources.append(Described(name, unit(means), truth, videos, np.array([chosen_on(video) for video in videos])))
    return sources


def loss(anchors: Floats, sources: list[Described], temperature: float = 0.08) -> float:
    """Cross entropy on the choosing half, mean over the sources; the sentences count half."""
    total = 0.0
    for source in sources:
        mask = source.choosing
        logs = log_softmax(source.vectors[mask] @ anchors.T / temperature, axis=1)
        share = 0.5 if source.name == "UCA, events" else 1.0
        total -= share * logs[np.arange(len(logs)), source.category[mask]].mean()
    return float(total / (len(sources) - 0.5))


def random_phrases(encoder: TransformersEncoder, count: int, seed: int) -> list[str]:
    """Phrases of three random words from the vocabulary of the encoder."""
    words = sorted(word for word in encoder._tokenizer.get_vocab() if re.fullmatch(r"[a-z]{4,}", word))
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=3)) for _ in range(count)]


def choose_facts(bank: AnchorBank, sources: list[Described], least: float = 5e-4) -> Iterator[str]:
    """Facts to exclude from the anchors, or to include again: each lowers the loss on the choosing half by ``least``.

    The loss is that of the default pooling plus half of that without cues. The search is greedy. The key
    ``exclude_from_anchor`` of the UCF-Crime table was chosen this way, before the wording of related items was final;
    see docs/notebook/anchors.md.
    """
    relations = [concept.relation for concept in bank.concepts]
    pool, count = POOLINGS["balanced"], len(bank.categories) - 1

    def value(weight: Floats) -> float:
        total = 0.0
        for share, without in ((1.0, ""), (0.5, "cue")):
            rows = []
            for index in range(count):
                own = [i for i in np.flatnonzero(bank.concept_category == index) if relations[i] != without]
                rows.append(pool(bank.concept_vectors[own], weight[own], [relations[i] for i in own]))
            total += share * loss(np.stack(rows), sources)
        return total

    weight = (bank.concept_weight > 0).astype(np.float32)
    facts = [i for i, relation in enumerate(relations) if relation in FACTS and bank.concept_category[i] < count]

    def flipped(index: int) -> Floats:
        other = weight.copy()
        other[index] = 1 - other[index]
        return other

    best = value(weight)
    gains = sorted(((best - value(flipped(i)), i) for i in facts), reverse=True)
    for gain, index in gains:
        now = value(flipped(index)) if gain > least else best
        if best - now > least:
            best, weight = now, flipped(index)
            concept, own = bank.concepts[index], bank.categories[bank.concept_category[index]]
            yield f"{'include' if weight[index] else 'exclude'}\t{own}\t{concept.qid}\t{concept.prompt}\t{best:.4f}"
