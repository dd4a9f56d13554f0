"""Measure explanation texts against human-written ones, on the abnormal UCF-Crime test videos.

    python benchmarks/explain.py SHARED [--videos N] [--half 0|1] [--texts FILE...]

SHARED is the folder of research data (see docs/notebook/reports.md): captions of the test videos by a model, human
sentences with times (UCA), event summaries (HIVAU, partly by a model), I3D logits, and PEL4VAD's concept lists. For
every annotated event every method writes one sentence under the same protocol. The time span of the event is given
(oracle); the category is given, or predicted from the captions or by the shipped run. A FILE of texts, JSON
{video: text} or {video: [text of each event]}, is a further method: so texts of any language model, with and without
the graph in its prompt (kgvad explain --narrate), stand beside. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from explain_pixels import Pixels

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.console import track
from kgvad.detector.data.captions import read_captions
from kgvad.detector.scoring.caption_scorer import anchor_coefficients
from kgvad.explain.analysis.caption_choice import typical_caption
from kgvad.explain.analysis.evidence import ConceptRises, distinct, rises
from kgvad.explain.quality.tables import quality_table
from kgvad.explain.quality.text_quality import TextQuality, text_quality
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import load_table

INSIDE, OUTSIDE = 8, 8  # captions used, during the event and in the rest of the video
CITED = 3  # concepts in a sentence
DRAWS = 20  # random deletions
PIXEL_TEXTS = ("label only", "label and cited actions", "label and concepts of cited actions")


class Encoder:
    """Text encoder with a cache."""

    def __init__(self) -> None:
        self.encoder = load_text_encoder("minilm")
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, self.encoder.encode(new), strict=True))
        return np.stack([self.known[text] for text in texts])


def spread(items: list[Any], count: int) -> list[Any]:
    """At most ``count`` of ``items``, evenly spaced."""
    return items if len(items) <= count else [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def listed(items: list[str]) -> str:
    return " and ".join(items) if len(items) < 3 else f"{', '.join(items[:-1])} and {items[-1]}"


def changes(inside: np.ndarray, outside: np.ndarray, bank: AnchorBank) -> ConceptRises:
    """The evidence arithmetic of the reports, on caption vectors."""
    similarity = np.concatenate([inside, outside]) @ bank.concept_vectors.T
    weights = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    return rises(similarity, bank, weights, weights == 0)


def graph_sentence(text: str, category: str, change: ConceptRises, bank: AnchorBank) -> str:
    """As in the reports: the category, its broader term, and the concepts with the largest rise."""
    own = [c for c, k in zip(bank.concepts, bank.concept_category, strict=True) if bank.categories[k] == category]
    broader = next((c.text for c in own if c.relation == "superclass"), None)
    chosen = [bank.concepts[i].text for i in distinct(bank, change, category, 12)]
    cited = [t for t in chosen if t not in (text, broader)][:CITED]
    return (
        f"The video shows {text}{f', a kind of {broader}' if broader else ''}{': ' + listed(cited) if cited else ''}."
    )


def peer_sentence(text: str, concepts: dict[str, float], inside: np.ndarray, encode: Encoder) -> str:
    """The same form with PEL4VAD's concepts of the category, those most similar to the captions."""
    names = [name for name in concepts if name != text] or [text]
    order = np.argsort(-(encode(names) @ inside.mean(axis=0)), kind="stable")
    return f"The video shows {text}: {listed([names[i] for i in order[:CITED]])}."


@dataclass(frozen=True)
class Event:
    """One annotated event with everything that a method may read."""

    video: str
    number: int  # from 0, in its video
    span_s: tuple[float, float]
    duration_s: float  # of the video
    category: str
    during: list[str]  # captions
    human: list[str]  # sentences that overlap it
    summary: str
    inside: np.ndarray  # caption vectors during the event [N, d]
    outside: np.ndarray  # in the rest of the video [M, d]


@dataclass
class Results:
    """Texts of every method and their references, event by event."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    humans: list[list[str]] = field(default_factory=list)
    summaries: list[list[str]] = field(default_factory=list)
    pixel_texts: dict[str, list[str]] = field(default_factory=dict)  # of the shipped run, where there are logits
    pixel_events: list[int] = field(default_factory=list)  # which events these are
    correct: list[bool] = field(default_factory=list)  # whether the predicted category is right
    drops: list[tuple[float, float]] = field(default_factory=list)  # without cited, and without random concepts


def read_events(
    data: Path, names: list[str], most: int | None, encode: Encoder, half: int | None = None
) -> Iterator[Event]:
    """Annotated events of the abnormal test videos that have captions and human sentences."""
    hivau = json.loads((data / "refs/hivau_ucf_test.json").read_text())
    uca: dict[str, Any] = {}
    for part in ("Train", "Val", "Test"):
        uca |= json.loads((data / f"refs/uca_{part}.json").read_text())
    videos = [v for v in hivau if "Normal" not in v and v in uca and hivau[v]["events"]]
    read = -1  # videos with an event that can be used
    for video in track(spread(videos, most or len(videos)), "reading captions"):
        captions = read_captions(data / "captions/ucf_test_videollama3.json.gz", video)
        fps, kept = hivau[video]["fps"], []
        for number, (start, end) in enumerate(hivau[video]["events"]):
            during = [text for frame, text in captions if start <= frame / fps <= end]
            rest = [text for frame, text in captions if not start <= frame / fps <= end]
            annotated = zip(uca[video]["timestamps"], uca[video]["sentences"], strict=True)
            human = [s.strip() for (a, b), s in annotated if min(b, end) - max(a, start) > 0.3 * (b - a)]
            if during and rest and human:
                kept.append((number, (start, end), during, rest, human))
        read += bool(kept)
        if half is not None and read % 2 != half:
            continue
        for number, span_s, during, rest, human in kept:
            category = next(name for name in names if video.startswith(name))
            inside, outside = encode(spread(during, INSIDE)), encode(spread(rest, OUTSIDE))
            about = (video, number, span_s, hivau[video]["n_frames"] / fps)
            yield Event(*about, category, during, human, hivau[video]["events_summary"][number], inside, outside)


def asked(category: str) -> str:
    """The category as the summary of a report names a hint."""
    return f"{category[:1].upper()}{category[1:]}?"


def predict(event: Event, bank: AnchorBank) -> str:
    """The category, as reports name it from captions: the anchor most similar to their mean."""
    similarity = event.inside.mean(axis=0) @ bank.anchors.T
    similarity[bank.normal] = -np.inf
    return bank.categories[int(similarity.argmax())]


def write_texts(results: Results, event: Event, peer: dict[str, Any], bank: AnchorBank, encode: Encoder) -> None:
    """Add one sentence per method on ``event``."""
    table, add = load_table("ucf"), results.texts.setdefault
    change = changes(event.inside, event.outside, bank)
    predicted = predict(event, bank)
    middle = int((event.inside @ event.inside.mean(axis=0)).argmax())
    caption = event.during[middle * len(event.during) // len(event.inside)]
    for kind, name in (("given", event.category), ("predicted", predicted)):
        words = table.category(name).text
        add(f"label only, category {kind}", []).append(f"The video shows {words}.")
        lists = peer["accident" if name == "RoadAccidents" else name.lower()]
        add(f"label and PEL4VAD's concepts, {kind}", []).append(peer_sentence(words, lists, event.inside, encode))
        graph = graph_sentence(words, name, change, bank)
        add(f"label and graph evidence, {kind}", []).append(graph)
        add(f"label, graph evidence and caption, {kind}", []).append(f"{graph} {caption}")
    add("caption only (a model's)", []).append(caption)
    typical = event.during[typical_caption(event.during)]
    add("typical caption only", []).append(typical)
    said = f"{typical} {asked(table.category(predicted).text)}"
    add("as a report: typical caption, category predicted", []).append(said)
    results.correct.append(predicted == event.category)
    results.humans.append(event.human)
    results.summaries.append([event.summary])


def read_texts(paths: list[Path]) -> dict[str, dict[str, list[str] | str]]:
    """Texts of other programs by the name of the file, and by video."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in paths}
    for name, texts in found.items():
        if not isinstance(texts, dict) or not all(isinstance(text, str | list) for text in texts.values()):
            raise SystemExit(f"{name} is not {{video: text}} or {{video: [text of each event]}}")
    return found


def given_text(texts: dict[str, list[str] | str], event: Event) -> str:
    """The text on an event; empty where there is none, which counts as a text without a match."""
    own = texts.get(event.video, "")
    return own if isinstance(own, str) else own[event.number] if event.number < len(own) else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--videos", type=int, default=None, help="use this many videos, evenly spaced")
    parser.add_argument("--half", type=int, choices=(0, 1), help="every second video: 0 chose, 1 is held out")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="texts of other programs, JSON")
    options = parser.parse_args()
    encode, given = Encoder(), read_texts(options.texts)
    bank = build_bank(load_table("ucf"), GraphStore.open(None), encode.encoder)
    peer = json.loads((options.shared / "kg/refkg/pel4vad-ucf-concept.json").read_text())
    results, rng, pixels = Results(), np.random.default_rng(0), Pixels.load(options.shared)
    words = {name: load_table("ucf").category(name).text for name in bank.categories}
    events = read_events(options.shared / "data", bank.categories, options.videos, encode, options.half)
    for number, event in enumerate(events):
        write_texts(results, event, peer, bank, encode)
        said = pixels.sentences(event.video, event.span_s, event.duration_s, words)
        if said is not None:
            results.pixel_events.append(number)
            for kind, text in zip(PIXEL_TEXTS, said, strict=True):
                results.pixel_texts.setdefault(f"{kind}, shipped run", []).append(text)
        for name, texts in given.items():
            results.texts.setdefault(name, []).append(given_text(texts, event))
        concepts = (event.inside @ bank.concept_vectors.T).mean(axis=0, keepdims=True)
        change = changes(event.inside, event.outside, bank)
        results.drops.append(deletion(concepts, change, predict(event, bank), bank, rng))
    print_tables(results, encode, rng)


def print_tables(results: Results, encode: Encoder, rng: np.random.Generator) -> None:
    encoded = lambda sentences: encode(list(sentences))  # noqa: E731
    texts, humans = results.texts, results.humans
    print(f"\n{len(humans)} events; predicted category correct for {np.mean(results.correct):.0%}\n")
    print("Against human sentences (UCA) that overlap the event:\n")
    several = [human for human in humans if len(human) > 1]  # one annotator against the others of the same event
    person = text_quality([human[0] for human in several], [human[1:] for human in several], encoded)

    def measured(references: list[list[str]]) -> dict[str, TextQuality]:
        found = {name: text_quality(sentences, references, encoded) for name, sentences in texts.items()}
        chosen = [references[number] for number in results.pixel_events]
        for name, sentences in results.pixel_texts.items():
            found[name] = text_quality(sentences, chosen, encoded)
        return found

    print(quality_table(measured(humans) | {"one human sentence, against the others": person}))
    print("Against the event summary (HIVAU, partly by a language model):\n")
    print(quality_table(measured(results.summaries)))
    cited, chance = np.array([pair for pair in results.drops if np.isfinite(pair).all()]).T
    draws = rng.integers(0, len(cited), (1000, len(cited)))
    low, high = np.quantile((cited - chance)[draws].mean(axis=1), [0.025, 0.975])
    print(
        f"Deletion of the cited concepts (similarity of the named category, n = {len(cited)}): "
        f"drops by {cited.mean():.4f}, "
        f"by {chance.mean():.4f} for random concepts of the category; difference {(cited - chance).mean():.4f} "
        f"({low:.4f} to {high:.4f})"
    )


def deletion(
    concepts: np.ndarray, change: ConceptRises, category: str, bank: AnchorBank, rng: np.random.Generator
) -> tuple[float, float]:
    """Drop of the category's similarity without the cited concepts, and without random others."""
    index = bank.categories.index(category)
    own = np.flatnonzero(bank.concept_category == index)
    cited = np.array(distinct(bank, change, category, CITED), dtype=int)
    others = np.setdiff1d(own, cited)
    if not len(cited) or len(others) < len(cited):
        return float("nan"), float("nan")

    terms = concepts[0] * anchor_coefficients(bank)

    def similarity(left: np.ndarray) -> float:
        return float(terms[left].sum())

    whole = similarity(own)
    random = [
        whole - similarity(np.setdiff1d(own, rng.choice(others, len(cited), replace=False))) for _ in range(DRAWS)
    ]
    return whole - similarity(np.setdiff1d(own, cited)), float(np.mean(random))


if __name__ == "__main__":
    main()
