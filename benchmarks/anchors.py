"""What anchors are worth, measured on real text: run ``python benchmarks/anchors.py ../shared``.

1. ``descriptions``: one human sentence for each abnormal training video of UCF-Crime: is its nearest anchor the
   right one of 13? Choices were made on the half with an even hash of the video's name, figures are of both halves.
2. ``captions``: the model-written captions of all 290 official test videos scored by anchors alone.
3. ``time``: building the bank of every bundled dataset, cold and warm.

Vectors are kept in ``--vectors`` between runs. Nothing is trained.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from kgvad.anchors.bank import AnchorBank, build_bank
from kgvad.anchors.pool import POOLINGS, unit
from kgvad.anchors.text import HubEncoder, load_text_encoder
from kgvad.detector.captions import CaptionRule, per_snippet, smoothed_margin
from kgvad.detector.metrics import roc_auc
from kgvad.kg.store import Store
from kgvad.kg.tables import CategoryTable, bundled_tables, load_table

Floats = NDArray[np.float32]
SNIPPET = 16
PEL_NAMES = {"roadaccidents": "accident", "normal": "normalevent"}  # as PEL4VAD's list spells them


class Vectors:
    """Text vectors kept in a folder, keyed by the encoder's fingerprint and the text."""

    def __init__(self, encoder: HubEncoder, folder: Path) -> None:
        self.encoder, self.folder = encoder, folder
        self.row: dict[str, int] = {}
        self.table = np.zeros((0, encoder.dim), np.float16)
        self._names = folder / f"{encoder.fingerprint}.json"
        if self._names.is_file():
            self.row = {text: i for i, text in enumerate(json.loads(self._names.read_text("utf-8")))}
            self.table = np.load(self._names.with_suffix(".npy"))

    def __call__(self, texts: Sequence[str]) -> Floats:
        """float32 [N, d]; unknown texts are encoded and kept."""
        missing = list(dict.fromkeys(text for text in texts if text not in self.row))
        for start in range(0, len(missing), 2048):
            some = missing[start : start + 2048]
            self.table = np.concatenate([self.table, self.encoder.encode(some).astype(np.float16)])
            self.row.update({text: len(self.row) + i for i, text in enumerate(some)})
            if len(missing) > 500:
                print(f"encoded {start + len(some)} of {len(missing)}", flush=True)
        if len(missing) > 500:
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(self._names.with_suffix(".npy"), self.table)
            self._names.write_text(json.dumps(list(self.row)), "utf-8")
        return self.table[[self.row[text] for text in texts]].astype(np.float32)


@dataclass(frozen=True)
class Source:
    """Concepts of every category: vectors [P, d], category [P], anchors [C, d]."""

    name: str
    vectors: Floats
    category: NDArray[np.int64]
    anchors: Floats


def sources(
    shared: Path, table: CategoryTable, bank: AnchorBank, chosen: AnchorBank, encoder: HubEncoder
) -> list[Source]:
    """Every way to fill and pool the anchors that is compared."""
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
    found.append(pooled("graph without cues, mean", "mean", relations != "cue"))
    found.append(pooled("graph without cues, balanced", "balanced", relations != "cue"))
    found.append(pooled("labels and cues, mean", "mean", np.isin(relations, ["label", "cue"])))
    found += [pooled(f"all, {pooling}", pooling, everything) for pooling in POOLINGS if pooling != "label"]
    found.append(
        pooled("all, contrastive selection, balanced", "balanced", np.ones(len(chosen.concepts), bool), chosen)
    )
    return found


def nonsense(bank: AnchorBank, encoder: HubEncoder) -> Floats:
    """Vectors of as many random dictionary words (seed 0) as there are concepts; labels stay."""
    words = sorted(word for word in encoder._tokenizer.get_vocab() if re.fullmatch(r"[a-z]{4,}", word))
    draw = random.Random(0)
    texts = [c.prompt if c.relation == "label" else " ".join(draw.choices(words, k=3)) for c in bank.concepts]
    return encoder.encode(texts)


def pel4vad(shared: Path, table: CategoryTable, encoder: HubEncoder) -> Source:
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


def descriptions(shared: Path, table: CategoryTable, vectors: Vectors, every: list[Source]) -> None:
    """Table 1."""
    names, texts, truth, half = table.names, [], [], []
    for row in json.loads((shared / "data/refs/ucfar_train_dedup.json").read_text("utf-8")):
        category, video = row["Video Name"].split("/")[:2]
        if category in names and category != table.normal.name:
            texts.append(row["English Text"])
            truth.append(names.index(category))
            half.append(int(hashlib.sha256(Path(video).stem.encode()).hexdigest(), 16) % 2)
    x, y, second = vectors(texts), np.array(truth), np.array(half, bool)
    abnormal = [i for i in range(len(names)) if i != names.index(table.normal.name)]
    print(f"\n{len(texts)} descriptions; chosen on {int((~second).sum())}, reported on {int(second.sum())}\n")
    print("| anchors | choosing half: top-1 / top-3 | reported half: top-1 / top-3 |\n|---|---|---|")
    for source in every:
        order = np.array(abnormal)[np.argsort(-(x @ source.anchors[abnormal].T), axis=1)]
        hit = order == y[:, None]
        parts = [f"{hit[m, 0].mean():.3f} / {hit[m, :3].any(1).mean():.3f}" for m in (~second, second)]
        print(f"| {source.name} | {parts[0]} | {parts[1]} |")


def captions(shared: Path, table: CategoryTable, vectors: Vectors, every: list[Source], stride: int) -> None:
    """Table 2."""
    with gzip.open(shared / "data/captions/ucf_test_videollama3.json.gz") as file:
        said = json.load(file)
    labels = np.load(shared / "data/ucf/gt_ucf_frames_rebuilt.npy")
    with (shared / "data/ucf/gt_ucf_index_rebuilt.csv").open() as file:
        index = list(csv.DictReader(file))
    normal = table.names.index(table.normal.name)
    videos = []
    for row in index:
        frames, offset = int(row["n_frames"]), int(row["offset"])
        rows = max(1, frames // SNIPPET)
        own = sorted((int(f), text) for f, text in said[row["video"]].items() if int(f) // SNIPPET % stride == 0)
        starts = np.arange(rows) * SNIPPET
        abnormal = np.add.reduceat(labels[offset : offset + frames].astype(np.int64), starts)
        total = np.diff(np.append(starts, frames))
        videos.append((row["class"], per_snippet(own, rows), abnormal, total - abnormal))
    texts = list(dict.fromkeys(text for video in videos for text in video[1]))
    x = vectors(texts)
    row_of = {text: i for i, text in enumerate(texts)}
    rows_of = [np.array([row_of[text] for text in video[1]]) for video in videos]
    positives, negatives = (np.concatenate([video[i] for video in videos]) for i in (2, 3))
    inside = np.concatenate([np.full(len(video[1]), video[0] != table.normal.name) for video in videos])
    rule = CaptionRule()
    print(f"\n{len(videos)} videos, {len(inside)} snippets, every {stride}. caption, {len(texts)} distinct\n")
    print("| anchors | frame AUC | Ano-AUC | category top-1 / top-3 (140 videos) |\n|---|---|---|---|")
    for source in every:
        close = np.stack([soft(x @ source.vectors[source.category == c].T, rule) for c in range(len(table.names))], 1)
        near = x @ source.anchors.T
        scores, hits = [], []
        for (category, *_), rows in zip(videos, rows_of, strict=True):
            margin = smoothed_margin(close[rows], normal, rule)
            scores.append(margin)
            if category != table.normal.name:
                share = np.exp((margin - margin.max()) / rule.scale)
                mean = np.average(near[rows], axis=0, weights=share)
                mean[normal] = -np.inf
                place = list(np.argsort(-mean)).index(table.names.index(category))
                hits.append((place < 1, place < 3))
        s = np.concatenate(scores)
        top = np.mean(hits, axis=0)
        print(
            f"| {source.name} | {roc_auc(s, positives, negatives):.4f} | "
            f"{roc_auc(s[inside], positives[inside], negatives[inside]):.4f} | {top[0]:.3f} / {top[1]:.3f} |"
        )


def soft(similarity: Floats, rule: CaptionRule) -> NDArray[np.float64]:
    """Soft maximum over the concepts of one category, as the scorer takes it; [N]."""
    t = rule.temperature
    return np.asarray(t * (logsumexp(similarity / t, axis=1) - np.log(similarity.shape[1])))


def times(encoder: HubEncoder) -> None:
    """Table 3."""
    spent = 0.0
    plain: Callable[[Sequence[str]], Floats] = encoder.encode

    def timed(texts: Sequence[str]) -> Floats:
        nonlocal spent
        start = time.perf_counter()
        vectors = plain(texts)
        spent += time.perf_counter() - start
        return vectors

    encoder.encode = timed  # type: ignore[method-assign]
    print("\n| dataset | concepts | cold, s | warm, s | in the text encoder (warm) |\n|---|---|---|---|---|")
    for name in bundled_tables():
        with tempfile.TemporaryDirectory() as folder:
            took = []
            for _ in range(2):
                spent, start = 0.0, time.perf_counter()
                bank = build_bank(load_table(name), Store.open(f"sqlite:///{folder}/kg.sqlite"), encoder)
                took.append(time.perf_counter() - start)
            share = spent / took[1]
            print(f"| {name} | {len(bank.concepts)} | {took[0]:.1f} | {took[1]:.1f} | {share:.0%} |", flush=True)


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="folder with data/ and kg/")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--vectors", type=Path, default=Path(tempfile.gettempdir()) / "kgvad-vectors")
    parser.add_argument("--every", type=int, default=1, help="read every Nth caption only")
    parser.add_argument("--only", choices=("descriptions", "captions", "time"))
    options = parser.parse_args()
    encoder = load_text_encoder(options.encoder)
    assert isinstance(encoder, HubEncoder)
    if options.only in (None, "time"):
        times(load_text_encoder(options.encoder))  # type: ignore[arg-type]
    if options.only == "time":
        return
    table, store = load_table("ucf"), Store.open()
    bank, chosen = build_bank(table, store, encoder), build_bank(table, store, encoder, contrast=True)
    every = sources(options.shared, table, bank, chosen, encoder)
    vectors = Vectors(encoder, options.vectors)
    if options.only in (None, "descriptions"):
        descriptions(options.shared, table, vectors, every)
    if options.only in (None, "captions"):
        captions(options.shared, table, vectors, every, options.every)


if __name__ == "__main__":
    main()
