"""Quality of anchors on real text: ``python benchmarks/anchors.py DATA``.

1. ``descriptions``: classification of human descriptions of UCF-Crime videos by the nearest of 13 anchors. Choices were
   made on one half of the videos; both halves are reported.
2. ``captions``: the model-written captions of all 290 official test videos scored by anchors alone.
3. ``time``: building the bank of every bundled dataset, with an empty and a full cache of text vectors.
4. ``facts``: facts that the choosing half would exclude from the anchors.

Text vectors are cached between runs. Nothing is trained.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from anchors_text import choose_facts, described, random_phrases
from caption_sets import category_hits, mean_matrix
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank
from kgvad.anchors.pooling import POOLINGS
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.anchors.vector_cache import FILE
from kgvad.detector.evaluation.frame_metrics import roc_auc
from kgvad.detector.scoring.caption_scorer import CaptionRule, score_clauses
from kgvad.detector.scoring.clauses import clauses, snippet_captions
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import CategoryTable, bundled_tables, load_table
from kgvad.vectors import unit

Floats = NDArray[np.float32]
SNIPPET = 16
PEL_NAMES = {"roadaccidents": "accident", "normal": "normalevent"}  # as PEL4VAD's list spells them


@dataclass(frozen=True)
class Source:
    """Concepts of every category: vectors [P, d], category [P], anchors [C, d]."""

    name: str
    vectors: Floats
    category: NDArray[np.int64]
    anchors: Floats

    def bank(self, normal: int) -> Any:
        """What the caption scorer reads of an anchor bank."""
        return SimpleNamespace(
            concept_vectors=self.vectors, concept_category=self.category, anchors=self.anchors, normal=normal
        )


def sources(
    shared: Path, table: CategoryTable, bank: AnchorBank, chosen: AnchorBank, encoder: TransformersEncoder
) -> list[Source]:
    """All compared sources and poolings of concepts."""
    relations = np.array([concept.relation for concept in bank.concepts])

    def pooled(
        name: str, pooling: str, keep: NDArray[np.bool_], of: AnchorBank = bank, vectors: Floats | None = None
    ) -> Source:
        vectors = of.concept_vectors if vectors is None else vectors
        kinds = [concept.relation for concept in of.concepts]
        anchors = []
        for index in range(len(of.categories)):
            own = np.flatnonzero((of.concept_category == index) & keep)
            anchors.append(POOLINGS[pooling](vectors[own], of.concept_weight[own], [kinds[i] for i in own]))
        return Source(name, vectors[keep], of.concept_category[keep], np.stack(anchors))

    everything = np.ones(len(relations), bool)
    cues = relations == "cue"
    labels = encoder.encode([category.text for category in table.categories])
    found = [Source("label only", labels, np.arange(len(labels)), labels)]
    rich = bank.concept_category == bank.normal
    plain = np.concatenate([np.delete(labels, bank.normal, 0), bank.concept_vectors[rich]])
    owner = np.concatenate([np.delete(np.arange(len(labels)), bank.normal), np.full(rich.sum(), bank.normal)])
    anchors = labels.copy()
    anchors[bank.normal] = bank.anchors[bank.normal]
    found.append(Source("label only, rich Normal", plain, owner, anchors))
    found.append(pel4vad(shared, table, encoder))
    found.append(pooled("random words for concepts, mean", "mean", everything, vectors=nonsense(bank, encoder)))
    found.append(pooled("random words for concepts, balanced", "balanced", everything, vectors=nonsense(bank, encoder)))
    found.append(pooled("facts without cues, mean", "mean", ~cues))
    found.append(pooled("facts without cues, balanced", "balanced", ~cues))
    found.append(pooled("cues alone", "mean", cues))
    found.append(pooled("labels and cues, balanced", "balanced", np.isin(relations, ["label", "cue"])))
    found += [
        pooled(f"all, {pooling}", pooling, everything) for pooling in POOLINGS if pooling not in ("label", "balanced")
    ]
    every = np.ones(len(chosen.concepts), bool)
    found.append(pooled("all, contrastive selection, balanced", "balanced", every, chosen))
    found.append(pooled("all, balanced (ours)", "balanced", everything))
    return found


def nonsense(bank: AnchorBank, encoder: TransformersEncoder) -> Floats:
    """Vectors of as many random dictionary words (seed 0) as there are concepts; labels stay."""
    labels = [concept.relation == "label" for concept in bank.concepts]
    phrases = iter(random_phrases(encoder, labels.count(False), seed=0))
    texts = [concept.prompt if label else next(phrases) for concept, label in zip(bank.concepts, labels, strict=True)]
    return encoder.encode(texts)


def pel4vad(shared: Path, table: CategoryTable, encoder: TransformersEncoder) -> Source:
    """PEL4VAD's published ConceptNet lists, weighted by their own relevance."""
    lists = json.loads((shared / "kg/refkg/pel4vad-ucf-concept.json").read_text("utf-8"))
    known = {_plain(name): words for name, words in lists.items()}
    vectors, owner, anchors = [], [], []
    for index, category in enumerate(table.categories):
        words = known[PEL_NAMES.get(_plain(category.name), _plain(category.name))]
        own = encoder.encode(list(words))
        vectors.append(own)
        owner += [index] * len(own)
        anchors.append(unit(np.array(list(words.values()), np.float32) @ own))
    return Source("PEL4VAD's lists, weighted", np.concatenate(vectors), np.array(owner), np.stack(anchors))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def descriptions(shared: Path, table: CategoryTable, encoder: TransformersEncoder, every: list[Source]) -> None:
    """Table 1: one for each half, then the differences to ours on the half that was not used for choices."""
    texts = described(shared, table, encoder)
    count = len(table.categories) - 1
    assert table.categories[-1].normal
    ours = every[-1]
    for choosing in (True, False):
        sizes = " | ".join(f"{text.name} ({int((text.choosing == choosing).sum())})" for text in texts)
        print(f"\n{'choosing' if choosing else 'reported'} half, top-1 / top-3, standard error of top-1 in brackets\n")
        print(f"| anchors | {sizes} |\n|---|{'---|' * len(texts)}")
        for source in every:
            cells = []
            for text in texts:
                first, error = text.share(text.hits(source.anchors[:count], 1), choosing)
                third, _ = text.share(text.hits(source.anchors[:count], 3), choosing)
                cells.append(f"{first:.3f} / {third:.3f} ({error:.3f})")
            print(f"| {source.name} | {' | '.join(cells)} |")
    print(f"\nours minus, top-1, reported half\n\n| anchors | {' | '.join(text.name for text in texts)} |")
    print(f"|---|{'---|' * len(texts)}")
    for source in every[:-1]:
        gains = [
            text.share(text.hits(ours.anchors[:count], 1) - text.hits(source.anchors[:count], 1), False)
            for text in texts
        ]
        print(f"| {source.name} | {' | '.join(f'{gain:+.3f} ({error:.3f})' for gain, error in gains)} |")


def captions(
    shared: Path, table: CategoryTable, encoder: TransformersEncoder, every: list[Source], stride: int
) -> None:
    """Table 2."""
    with gzip.open(shared / "data/captions/ucf_test_videollama3.json.gz") as file:
        by_frame = json.load(file)
    labels = np.load(shared / "data/ucf/gt_ucf_frames_rebuilt.npy")
    with (shared / "data/ucf/gt_ucf_index_rebuilt.csv").open() as file:
        index = list(csv.DictReader(file))
    normal = table.names.index(table.normal.name)
    videos = []
    for row in index:
        frames, offset = int(row["n_frames"]), int(row["offset"])
        rows = max(1, frames // SNIPPET)
        own = sorted((int(f), text) for f, text in by_frame[row["video"]].items() if int(f) // SNIPPET % stride == 0)
        starts = np.arange(rows) * SNIPPET
        abnormal = np.add.reduceat(labels[offset : offset + frames].astype(np.int64), starts)
        total = np.diff(np.append(starts, frames))
        videos.append((row["class"], [parts[-1] for parts in snippet_captions(own, rows)], abnormal, total - abnormal))
    pieces = {text: clauses(text) for video in videos for text in video[1]}
    texts = list(dict.fromkeys(text for own in pieces.values() for text in own))
    x, row_of = encoder.encode(texts), {text: i for i, text in enumerate(texts)}
    positives, negatives = (np.concatenate([video[i] for video in videos]) for i in (2, 3))
    inside = np.concatenate([np.full(len(video[1]), video[0] != table.normal.name) for video in videos])
    rule = CaptionRule()
    print(f"\n{len(videos)} videos, {len(inside)} snippets, every {stride}. caption, {len(texts)} distinct\n")
    print("| anchors | frame AUC | Ano-AUC | category top-1 / top-3 (140 videos) |\n|---|---|---|---|")
    for source in every:
        scores, hits = [], []
        for category, own, *_ in videos:
            distinct = list(dict.fromkeys(own))
            rows = [[row_of[text] for text in pieces[caption]] for caption in distinct]
            used = sorted({row for part in rows for row in part})
            place = {row: i for i, row in enumerate(used)}
            caption_mean = mean_matrix([[place[row] for row in part] for part in rows], len(used))
            order = {caption: i for i, caption in enumerate(distinct)}
            snippet_mean = mean_matrix([[order[caption]] for caption in own], len(distinct))
            found = score_clauses(x[used], caption_mean, snippet_mean, source.bank(normal), rule)
            scores.append(found.contributions.sum(1, dtype=np.float64))
            if category != table.normal.name:
                hits.append(category_hits(found, normal, table.names.index(category)))
        s = np.concatenate(scores)
        top = np.mean(hits, axis=0)
        print(
            f"| {source.name} | {roc_auc(s, positives, negatives):.4f} | "
            f"{roc_auc(s[inside], positives[inside], negatives[inside]):.4f} | {top[0]:.3f} / {top[1]:.3f} |"
        )


def times(name: str) -> None:
    """Table 3: ``cold``: no facts or vectors in the cache; ``warm``: both. Loading the encoder is not included."""
    spent = 0.0
    start = time.perf_counter()
    encoder = load_text_encoder(name)
    assert isinstance(encoder, TransformersEncoder)
    print(f"\nloading {name}: {time.perf_counter() - start:.1f} s\n")
    encode: Callable[[Sequence[str]], Floats] = encoder.encode

    def timed(texts: Sequence[str]) -> Floats:
        nonlocal spent
        start = time.perf_counter()
        vectors = encode(texts)
        spent += time.perf_counter() - start
        return vectors

    encoder.encode = timed  # type: ignore[method-assign]
    print("| dataset | concepts | cold, s | text encoder | warm, s | text encoder |\n|---|---|---|---|---|---|")
    for dataset in bundled_tables():
        with tempfile.TemporaryDirectory() as folder:
            assert encoder._cache is not None
            encoder._cache.path = Path(folder) / FILE
            cells = []
            for _ in range(2):
                spent, start = 0.0, time.perf_counter()
                bank = build_bank(load_table(dataset), GraphStore.open(f"sqlite:///{folder}/kg.sqlite"), encoder)
                elapsed = time.perf_counter() - start
                cells.append(f"{elapsed:.2f} | {spent / elapsed:.0%}")
            print(f"| {dataset} | {len(bank.concepts)} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="folder with data/ and kg/")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--every", type=int, default=1, help="read every Nth caption only")
    parser.add_argument("--only", choices=("descriptions", "captions", "time", "facts"))
    options = parser.parse_args()
    wanted = (options.only,) if options.only else ("descriptions", "captions", "time")
    if "time" in wanted:
        times(options.encoder)
    encoder = load_text_encoder(options.encoder)
    assert isinstance(encoder, TransformersEncoder)
    table, store = load_table("ucf"), GraphStore.open()
    bank = build_bank(table, store, encoder)
    if "facts" in wanted:
        for line in choose_facts(bank, described(options.shared, table, encoder)):
            print(line, flush=True)
    if {"descriptions", "captions"} & set(wanted):
        every = sources(options.shared, table, bank, build_bank(table, store, encoder, contrast=True), encoder)
        if "descriptions" in wanted:
            descriptions(options.shared, table, encoder, every)
        if "captions" in wanted:
            captions(options.shared, table, encoder, every, options.every)


if __name__ == "__main__":
    main()
