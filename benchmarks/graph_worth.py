"""What the knowledge graph is worth to a trained detector: the table ``graph`` of ``benchmarks/tracks.py``.

The same detector is trained with anchors from different sources. Every source has the concepts of the bank that are
allowed, pooled as in the bank:

* random words: as many random words as the bank has concepts, drawn anew for every run;
* labels: the label of each category;
* facts: labels and facts of the graph, without visual cues;
* facts and cues: the bank as it is.

Normal keeps its scenes in all of them but the first, so that only the abnormal categories differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from anchors_text import random_phrases
from track_data import Track
from track_runs import SHARES, Method, Runs, finished_runs, halves, with_categories, with_share

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import assemble
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.data.annotations import Truth
from kgvad.detector.evaluation.frame_metrics import category_rank
from kgvad.detector.evaluation.scored_method import match_all, score_split
from kgvad.detector.evaluation.tables import ResultTable
from kgvad.detector.run import Run
from kgvad.video.feature_store import FeatureStore

SOURCES = ("random words", "labels", "facts", "facts and cues")


def graph_table(runs: Runs, track: Track, methods: Sequence[Method]) -> str:
    """Top-1 and top-3 by source of the anchors, for shares of the training videos and for categories left out of them.

    Every source sees the same draws of training videos. A category that was left out is chosen among those left out.
    """
    header = ["anchors", *(f"{100 * share:.0f} %" for share in SHARES), "left out"]
    tables = []
    for method in methods:
        config = runs.config(track, method)
        if config is None or not config.uses_anchors:
            continue
        rows = []
        for source in SOURCES:
            cells = [_learned(runs, track, method, source, share) for share in SHARES]
            cells.append(_left_out(runs, track, method, source))
            if any(cells):
                rows.append([source, *(cell or "n/a" for cell in cells)])
        if rows:
            tables.append(ResultTable(f"`{method.name}`", header, rows).as_markdown().strip())
    return "\n\n".join(tables)


def _learned(runs: Runs, track: Track, method: Method, source: str, share: float) -> str:
    truth, present = Truth.load(track.features), FeatureStore.open(track.features).ids()
    found = []
    for draw in range(runs.count(method)):
        kept = with_share(truth, share, present, draw)
        folder = _trained(runs, track, method, source, draw, kept, f"share-{100 * share:.0f}")
        if folder is not None:
            found.append(_hits(folder, track, truth, None))
    return _cell(found)


def _left_out(runs: Runs, track: Track, method: Method, source: str) -> str:
    truth = Truth.load(track.features)
    parts = halves(truth, FeatureStore.open(track.features).ids())
    found = []
    for draw in range(runs.count(method)):
        ranks: list[int] = []
        for index, tested in enumerate(parts):
            kept = with_categories(truth, parts[1 - index], "train")
            folder = _trained(runs, track, method, source, draw, kept, f"without-half-{index + 1}")
            if folder is not None:
                ranks += _hits(folder, track, with_categories(truth, tested, "test"), tested)
        if ranks:
            found.append(ranks)
    return _cell(found)


def _trained(runs: Runs, track: Track, method: Method, source: str, draw: int, truth: Truth, name: str) -> Path | None:
    """Folder with the run of one draw, whose seed is the draw."""
    single = replace(runs, seeds=1, bank=_bank(runs, source, draw))
    seeded = replace(method, changes={**method.changes, "seed": draw})
    return single.of(track, seeded, "graph", source.replace(" ", "-"), name, f"draw-{draw}", truth=truth)


def _hits(folder: Path, track: Track, truth: Truth, among: Sequence[str] | None) -> list[int]:
    """Ranks of the true category of the abnormal test videos, among all categories or some."""
    run = Run.load(finished_runs(folder)[0])
    videos = match_all(score_split(run, FeatureStore.open(track.features), truth, None), truth)
    names, normal = run.config.categories, run.config.normal
    if among is not None:
        chosen = [names.index(name) for name in among]
        videos = [
            replace(video, category_scores=video.category_scores[:, chosen])
            for video in videos
            if video.category_scores is not None
        ]
        names, normal = tuple(among), None
    return [rank for video in videos if (rank := category_rank(video, names, normal)) is not None]


def _cell(draws: Sequence[Sequence[int]]) -> str:
    """Top-1 and top-3 in percent, mean over the draws, with the standard deviation of top-1."""
    if not draws:
        return ""
    first, third = (100 * np.array([np.mean(np.array(ranks) < count) for ranks in draws]) for count in (1, 3))
    deviation = f" ± {first.std(ddof=1):.1f}" if len(draws) > 1 else ""
    return f"{first.mean():.1f}{deviation}/{third.mean():.1f}"


def _bank(runs: Runs, source: str, draw: int) -> Path:
    """File of the bank of a source, made once."""
    suffix = f"-{draw}" if source == "random words" else ""
    path = runs.folder / "banks" / f"{source.replace(' ', '-')}{suffix}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        bank = AnchorBank.load(runs.bank)
        made = random_words(bank, draw) if source == "random words" else selected(bank, source)
        made.save(path)
    return path


def selected(bank: AnchorBank, source: str) -> AnchorBank:
    """The bank with the concepts of a source only; Normal keeps its own."""
    allowed = {"labels": {"label"}, "facts": {concept.relation for concept in bank.concepts} - {"cue"}}.get(source)
    kept = [
        index
        for index, concept in enumerate(bank.concepts)
        if allowed is None or concept.relation in allowed or bank.concept_category[index] == bank.normal
    ]
    header = bank.header.model_copy(update={"concepts": [bank.concepts[index] for index in kept]})
    return assemble(header, bank.concept_vectors[kept], bank.concept_category[kept], bank.concept_weight[kept])


def random_words(bank: AnchorBank, seed: int) -> AnchorBank:
    """The bank with three random words of the encoder's vocabulary in place of every concept."""
    encoder = load_text_encoder(bank.encoder.source)
    vectors = encoder.encode(random_phrases(encoder, len(bank.concepts), seed))
    return assemble(bank.header, vectors, bank.concept_category, bank.concept_weight)
