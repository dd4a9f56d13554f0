"""Measure the text of explanations against what people wrote, on the abnormal UCF-Crime test videos.

    python benchmarks/explain.py SHARED [--videos N]

SHARED is the folder of research data (see docs/notebook/reports.md): captions of the test videos by a model, human sentences
with times (UCA), event summaries (HIVAU, partly by a model) and PEL4VAD's concept lists. For every annotated event the
same protocol makes one sentence a method; the event's place in time is given (oracle), the category is given or
predicted from the captions. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.anchors.bank import AnchorBank, build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.console import track
from kgvad.detector.data.captions import read_captions
from kgvad.detector.scoring.caption_scorer import CaptionRule
from kgvad.explain.analysis.evidence import Rises, distinct, rises
from kgvad.explain.quality.tables import quality_table
from kgvad.explain.quality.text_quality import text_quality
from kgvad.kg.store.cache import Store
from kgvad.kg.tables import load_table

INSIDE, OUTSIDE = 8, 8  # captions looked at, during the event and in the rest
CITED = 3  # concepts in a sentence
DRAWS = 20  # random concepts, for the deletion


class Encoder:
    """Text encoder that remembers what it has encoded."""

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


def changes(inside: np.ndarray, outside: np.ndarray, bank: AnchorBank) -> Rises:
    """Evidence arithmetic of the reports on caption vectors."""
    similarity = np.concatenate([inside, outside]) @ bank.concept_vectors.T
    weights = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    return rises(similarity, bank, weights, weights == 0)


def graph_sentence(text: str, category: str, change: Rises, bank: AnchorBank) -> str:
    """As the reports write it: the category, its broader term, and the concepts that rise most."""
    own = [c for c, k in zip(bank.concepts, bank.concept_category, strict=True) if bank.categories[k] == category]
    broader = next((c.text for c in own if c.relation == "superclass"), None)
    chosen = [bank.concepts[i].text for i in distinct(bank, change, category, 12)]
    cited = [t for t in chosen if t not in (text, broader)][:CITED]
    return (
        f"The video shows {text}{f', a kind of {broader}' if broader else ''}{': ' + listed(cited) if cited else ''}."
    )


def peer_sentence(text: str, concepts: dict[str, float], inside: np.ndarray, encode: Encoder) -> str:
    """The same form with PEL4VAD's concepts of the category, those nearest to the captions."""
    names = [name for name in concepts if name != text] or [text]
    order = np.argsort(-(encode(names) @ inside.mean(axis=0)), kind="stable")
    return f"The video shows {text}: {listed([names[i] for i in order[:CITED]])}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--videos", type=int, default=None, help="only so many, evenly spaced")
    options = parser.parse_args()
    data = options.shared / "data"
    table = load_table("ucf")
    encode = Encoder()
    bank = build_bank(table, Store.open(None), encode.encoder)
    peer = json.loads((options.shared / "kg/refkg/pel4vad-ucf-concept.json").read_text())
    hivau = json.loads((data / "refs/hivau_ucf_test.json").read_text())
    uca: dict[str, Any] = {}
    for part in ("Train", "Val", "Test"):
        uca |= json.loads((data / f"refs/uca_{part}.json").read_text())
    videos = spread([v for v in hivau if "Normal" not in v and v in uca and hivau[v]["events"]], options.videos or 1000)
    texts: dict[str, list[str]] = {}
    humans: list[list[str]] = []
    summaries: list[list[str]] = []
    right = events = 0
    falls: list[tuple[float, float]] = []
    rng = np.random.default_rng(0)
    for video in track(videos, "reading captions"):
        captions = read_captions(data / "captions/ucf_test_videollama3.json.gz", video)
        fps = hivau[video]["fps"]
        category = next(c.name for c in table.categories if video.startswith(c.name))
        for number, (start, end) in enumerate(hivau[video]["events"]):
            during = [text for frame, text in captions if start <= frame / fps <= end]
            rest = [text for frame, text in captions if not start <= frame / fps <= end]
            near = zip(uca[video]["timestamps"], uca[video]["sentences"], strict=True)
            told = [s.strip() for (a, b), s in near if min(b, end) - max(a, start) > 0.3 * (b - a)]
            if not (during and rest and told):
                continue
            inside, outside = encode(spread(during, INSIDE)), encode(spread(rest, OUTSIDE))
            change = changes(inside, outside, bank)
            concepts = (inside @ bank.concept_vectors.T).mean(axis=0, keepdims=True)
            near = inside.mean(axis=0) @ bank.anchors.T  # as the reports name an event by its captions
            near[bank.normal] = -np.inf
            predicted = bank.categories[int(near.argmax())]
            events += 1
            right += predicted == category
            humans.append(told)
            summaries.append([hivau[video]["events_summary"][number]])
            caption = during[int((inside @ inside.mean(axis=0)).argmax()) * len(during) // len(inside)]
            for kind, name in (("given", category), ("predicted", predicted)):
                words = table.category(name).text
                add = texts.setdefault
                add(f"label only, category {kind}", []).append(f"The video shows {words}.")
                lists = peer["accident" if name == "RoadAccidents" else name.lower()]
                add(f"label and PEL4VAD's concepts, {kind}", []).append(peer_sentence(words, lists, inside, encode))
                graph = graph_sentence(words, name, change, bank)
                add(f"label and graph evidence, {kind}", []).append(graph)
                add(f"label, graph evidence and caption, {kind}", []).append(f"{graph} {caption}")
            add("caption only (a model's)", []).append(caption)
            falls.append(deletion(concepts, change, predicted, bank, rng))
    encoded = lambda sentences: encode(list(sentences))  # noqa: E731
    print(f"\n{events} events of {len(videos)} videos; predicted category right for {right / events:.0%}\n")
    print("Against human sentences (UCA) that overlap the event:\n")
    several = [told for told in humans if len(told) > 1]  # one person's sentence against the others of the same event
    person = text_quality([told[0] for told in several], [told[1:] for told in several], encoded)
    rows = {name: text_quality(sentences, humans, encoded) for name, sentences in texts.items()}
    print(quality_table(rows | {"one human sentence, against the others": person}))
    print("Against the event summary (HIVAU, partly by a language model):\n")
    print(quality_table({name: text_quality(rows, summaries, encoded) for name, rows in texts.items()}))
    cited, chance = np.array([pair for pair in falls if np.isfinite(pair).all()]).T
    draws = rng.integers(0, len(cited), (1000, len(cited)))
    low, high = np.quantile((cited - chance)[draws].mean(axis=1), [0.025, 0.975])
    print(
        f"Deletion of the cited concepts (similarity of the named category, n = {len(cited)}): "
        f"falls by {cited.mean():.4f}, "
        f"by {chance.mean():.4f} for random concepts of the category; difference {(cited - chance).mean():.4f} "
        f"({low:.4f} to {high:.4f})"
    )


def deletion(
    concepts: np.ndarray, change: Rises, category: str, bank: AnchorBank, rng: np.random.Generator
) -> tuple[float, float]:
    """Fall of the category's similarity without the cited concepts, and without random others."""
    index = bank.categories.index(category)
    own = np.flatnonzero(bank.concept_category == index)
    cited = np.array(distinct(bank, change, category, CITED), dtype=int)
    others = np.setdiff1d(own, cited)
    if not len(cited) or len(others) < len(cited):
        return float("nan"), float("nan")

    def similarity(left: np.ndarray) -> float:
        values = concepts[0, left] / CaptionRule().temperature
        return CaptionRule().temperature * float(np.log(np.mean(np.exp(values - values.max()))) + values.max())

    whole = similarity(own)
    random = [
        whole - similarity(np.setdiff1d(own, rng.choice(others, len(cited), replace=False))) for _ in range(DRAWS)
    ]
    return whole - similarity(np.setdiff1d(own, cited)), float(np.mean(random))


if __name__ == "__main__":
    main()
