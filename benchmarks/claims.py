"""Measure the claim check with true sentences and injected false ones, on the UCF-Crime test videos.

    python benchmarks/claims.py SHARED [--pixels] [--videos N] [--examples N]

SHARED is the folder of research data (see docs/notebook/claims.md). Evidence: captions by VideoLLaMA3. Sentences that
are checked are of other authors: people (UCA) and event summaries (HIVAU, a language model over UCA). Every true claim
has one false counterpart: another category, another time, another actor, another number, a sentence of another video,
an absence of what is there. The bounds are chosen on one half of the videos and measured on the other. With --pixels
the evidence is a report by the shipped run alone, from published I3D logits, and no bound is chosen. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_shipped import ARCHIVE, FPS, ROWS, read_logits

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.console import track
from kgvad.detector.data.annotations import read_truth
from kgvad.detector.data.captions import caption_tracks
from kgvad.detector.models.additive import standardise_columns
from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.explain.analysis.analyse import analyse
from kgvad.explain.analysis.build_report import build_report
from kgvad.explain.analysis.events import Thresholds
from kgvad.explain.claims.check import ClaimChecker, ClaimRule
from kgvad.explain.claims.evidence import Evidence, TimedCaption
from kgvad.explain.claims.extract import CategoryWords, counts
from kgvad.explain.claims.names import category_names
from kgvad.explain.claims.vocabulary import entities, mentions, named
from kgvad.explain.report import Report
from kgvad.explain.scorers.base import ScoredVideo
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import CategoryTable, load_table
from kgvad.video.feature_store import VideoEntry

PER_VIDEO = 3  # sentences of each kind
EVERY = 6  # captions: one in 3.2 seconds
ACTORS = [one.name for one in entities().values() if one.group in ("person", "vehicle", "animal")]
KINDS = (
    "category",
    "category, unrelated",
    "category, no time",
    "event time",
    "sentence time",
    "actor",
    "count",
    "absence",
    "statement",
)
GRID: dict[str, dict[str, list[float]]] = {
    "category": {"category": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7]},
    "event time": {"time": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]},
    "actor": {"tolerance_s": [1.0, 3.0, 6.0]},
    "statement": {"statement": [0.25, 0.3, 0.35, 0.4, 0.45, 0.5]},
}
CLAIM_KIND = {
    "actor": "entity",
    "category, unrelated": "category",
    "category, no time": "category",
    "event time": "time",
    "sentence time": "time",
}


class Encoder:
    """A text encoder that remembers."""

    def __init__(self) -> None:
        self.encoder = load_text_encoder("minilm")
        self.name, self.dim, self.joint = self.encoder.name, self.encoder.dim, self.encoder.joint
        self.fingerprint = self.encoder.fingerprint
        self.known: dict[str, np.ndarray] = {}

    def encode(self, texts: Any) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, self.encoder.encode(new), strict=True))
        return np.stack([self.known[text] for text in texts])


@dataclass(frozen=True)
class Case:
    """A sentence, the kind of claim in it that is judged, and whether that claim is true."""

    kind: str
    sentence: str
    value: str  # of the claim
    true: bool


@dataclass(frozen=True)
class Video:
    name: str
    duration_s: float
    human: list[tuple[float, float, str]]  # UCA: start, end, sentence
    events: list[tuple[float, float, str]]  # HIVAU: start, end, summary
    category: str


def load(data: Path, names: list[str]) -> Iterator[tuple[Video, list[TimedCaption]]]:
    uca: dict[str, Any] = {}
    for part in ("Train", "Val", "Test"):
        uca |= json.loads((data / f"refs/uca_{part}.json").read_text())
    hivau = json.loads((data / "refs/hivau_ucf_test.json").read_text())
    for name, own in caption_tracks(data / "captions/ucf_test_videollama3.json.gz").items():
        if name not in uca:
            continue
        about, duration = uca[name], float(uca[name]["duration"])
        spans = [
            (max(0.0, a), b, s.strip())
            for (a, b), s in zip(about["timestamps"], about["sentences"], strict=True)
            if s.strip() and b > a
        ]
        step = max(EVERY, len(own.items) // 60)
        captions = [TimedCaption(frame / 30, int(frame), text) for frame, text in own.items[::step]]
        about = hivau.get(name, {"events": [], "events_summary": []})
        events = [(*span, text) for span, text in zip(about["events"], about["events_summary"], strict=True)]
        category = next((one for one in names if name.startswith(one)), "Normal")
        yield Video(name, duration, spans, events, category), captions


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def cases(
    video: Video, others: list[str], words: CategoryWords, table: CategoryTable, rng: random.Random
) -> Iterator[Case]:
    yield from category_cases(video, words, table, rng)
    chosen = rng.sample(video.human, min(PER_VIDEO, len(video.human)))
    for start, end, sentence in chosen:
        yield from time_cases(video, start, end, sentence, rng)
        yield from actor_cases(video, start, end, sentence, rng)
        yield from count_cases(start, end, sentence, rng)
        yield Case("statement", sentence, "", True)
        yield Case("statement", rng.choice(others), "", False)
    said = set().union(*(named(text) for _, _, text in video.human)) if video.human else set()
    things = sorted(set(entities()) - {"person", "road", "shop", "vehicle", "animal", "weapon"})
    absent, present = [one for one in things if one not in said], [one for one in things if one in said]
    for one in rng.sample(absent, min(PER_VIDEO, len(absent), len(present))):
        yield Case("absence", f"There is no {entities()[one].words['en'][0]} in the video.", one, True)
    for one in rng.sample(present, min(PER_VIDEO, len(absent), len(present))):
        yield Case("absence", f"There is no {entities()[one].words['en'][0]} in the video.", one, False)


def category_cases(video: Video, words: CategoryWords, table: CategoryTable, rng: random.Random) -> Iterator[Case]:
    texts = {one.name: one.text for one in table.categories}
    for start, end, summary in video.events[:PER_VIDEO] if video.category != "Normal" else ():
        sentence = summary.split(". ")[0] + "."
        if re.search(r"\bno\b", sentence, re.IGNORECASE):
            continue  # errors of the summaries
        when = f"From {clock(start)} to {clock(end)}, "
        for values, match, last in words.find(sentence):
            if video.category in values:
                wrong = rng.choice([one for one in texts if one not in (*values, "Normal")])
                near = (*values, *table.category(video.category).confused_with, "Normal")
                far = rng.choice([one for one in texts if one not in near])
                kinds = (
                    ("category", when, wrong),
                    ("category, no time", "", wrong),
                    ("category, unrelated", when, far),
                )
                for kind, before, other in kinds:
                    false = f"{sentence[: match.start()]}{texts[other]}{sentence[last:]}"
                    yield Case(kind, before + sentence, "/".join(values), True)
                    yield Case(kind, before + false, other, False)
                break
        yield from event_time_cases(video, start, end, summary, rng)


def event_time_cases(video: Video, start: float, end: float, summary: str, rng: random.Random) -> Iterator[Case]:
    """What the summary describes, at the time of the event and at one of the same length outside all events."""
    length, about = end - start, summary.split(". ")[1] if ". " in summary else summary
    free = [
        at
        for at in np.arange(0, video.duration_s - length, 1.0)
        if all(at >= b + 5 or at + length <= a - 5 for a, b, _ in video.events)
    ]
    if free:
        for at, is_true in ((start, True), (float(rng.choice(free)), False)):
            yield Case("event time", f"From {clock(at)} to {clock(at + length)}, {about}", "", is_true)


def time_cases(video: Video, start: float, end: float, sentence: str, rng: random.Random) -> Iterator[Case]:
    length = end - start
    places = [(a, b) for a, b, text in video.human if (a > end + 5 or b < start - 5) and text != sentence]
    if not places:
        return
    at = rng.choice(places)[0]
    for shown, is_true in ((start, True), (at, False)):
        yield Case("sentence time", f"From {clock(shown)} to {clock(shown + length)}, {sentence}", "", is_true)


def actor_cases(video: Video, start: float, end: float, sentence: str, rng: random.Random) -> Iterator[Case]:
    own = [one for one in mentions(sentence, "en") if one.entity in ACTORS]
    if not own:
        return
    around = [text for a, b, text in video.human if a < end + 3 and b > start - 3]
    there = set().union(*(named(text) for text in around))
    wrong = [one for one in ACTORS if one not in there]
    if not wrong:
        return
    one, other = own[0], rng.choice(wrong)
    when = f"From {clock(start)} to {clock(end)}, "
    word = entities()[other].words["en"][0]
    yield Case("actor", when + sentence, one.entity, True)
    yield Case("actor", f"{when}{sentence[: one.start]}{word}{sentence[one.end :]}", other, False)


def count_cases(start: float, end: float, sentence: str, rng: random.Random) -> Iterator[Case]:
    for entity, number, text in counts(sentence, "en"):
        wrong = rng.choice([n for n in (2, 3, 4, 5, 6) if n != number])
        first = text.split()[0]
        word = dict(enumerate("zero one two three four five six".split()))[wrong]  # noqa: SIM905
        when = f"From {clock(start)} to {clock(end)}, "
        yield Case("count", when + sentence, f"{number} {entity}", True)
        false = re.sub(rf"\b{re.escape(first)}\b", word, sentence, count=1)
        yield Case("count", when + false, f"{wrong} {entity}", False)
        return


def verdict(checker: ClaimChecker, case: Case) -> str:
    """Verdict on the claim of a case; "missed" where it is not found in the sentence."""
    checked = checker.check_sentence(1, case.sentence, "en")
    kind = CLAIM_KIND.get(case.kind, case.kind)
    own = [one for one in checked.claims if one.kind == kind and (not case.value or one.value == case.value)]
    return own[0].verdict if own else "missed"


@dataclass
class Table:
    """Counts of verdicts for true and false claims."""

    rows: list[tuple[bool, str]]

    def figures(self) -> dict[str, float]:
        false = [v for true, v in self.rows if not true]
        true = [v for is_true, v in self.rows if is_true]
        flagged, kept = sum(v != "supported" for v in false), sum(v == "supported" for v in true)
        wrong = len(true) - kept
        contradicted = sum(v == "contradicted" for v in false), sum(v == "contradicted" for v in true)
        precision, recall = flagged / max(1, flagged + wrong), flagged / max(1, len(false))
        kept_precision = kept / max(1, kept + len(false) - flagged)
        kept_recall = kept / max(1, len(true))
        f = lambda p, r: 2 * p * r / max(1e-9, p + r)  # noqa: E731
        return {
            "claims": len(self.rows),
            "precision": precision,
            "recall": recall,
            "F1": f(precision, recall),
            "F1 of supported": f(kept_precision, kept_recall),
            "macro": (f(precision, recall) + f(kept_precision, kept_recall)) / 2,
            "contradicted and false": contradicted[0] / max(1, sum(contradicted)),
            "contradicted": sum(contradicted) / max(1, len(self.rows)),
        }


def choose(run: Callable[[str, ClaimRule], Table], kinds: list[str]) -> ClaimRule:
    """The bounds with the best macro F1 on the first half, one kind after the other."""
    rule = ClaimRule()
    for kind, grid in GRID.items():
        if kind not in kinds:
            continue
        tried = []
        for values in itertools.product(*grid.values()):
            one = replace(rule, **dict(zip(grid, values, strict=True)))
            tried.append((run(kind, one).figures()["macro"], one))
        rule = max(tried, key=lambda pair: pair[0])[1]
    return rule


def half(video: str) -> int:
    return int(hashlib.sha256(video.encode()).hexdigest(), 16) % 2


def pixel_reports(shared: Path, texts: dict[str, str]) -> dict[str, Report]:
    """Reports by the shipped run on the official test videos that have logits.

    The logits are of another program than kgvad's own I3D, so the run is centred on those of the training videos.
    """
    logits, truth, run = read_logits(shared / ARCHIVE), read_truth("ucf", shared / "data/ucf"), Run.load(UCF_ACTIONS)
    train = [logits[name] for name in truth.split("train") if name in logits]
    centre = standardise_columns(torch.from_numpy(np.concatenate(train))).mean(0)
    run.detector.load_state_dict({**run.detector.state_dict(), "centre": centre})
    with (shared / "data/ucf/gt_ucf_index_rebuilt.csv").open() as file:
        frames = {row["video"]: int(row["n_frames"]) for row in csv.DictReader(file)}
    reports = {}
    for name in truth.split("test"):
        if name in logits:
            entry = VideoEntry(frame_count=frames[name], fps=FPS, rows=ROWS, layout="even")
            scored = ScoredVideo(scores=score_features(run, logits[name], entry, video=name), bank=run.bank)
            reports[name] = build_report(scored, analyse(scored, Thresholds(), texts))
    return reports


def build(
    shared: Path, most: int | None, pixels: bool
) -> tuple[dict[str, ClaimChecker], dict[str, list[Case]], AnchorBank]:
    encoder, table = Encoder(), load_table("ucf")
    bank = build_bank(table, GraphStore.open(None), encoder.encoder)
    words = CategoryWords(category_names(table, bank))
    loaded = list(load(shared / "data", bank.categories))
    reports = pixel_reports(shared, {one.name: one.text for one in table.categories}) if pixels else None
    if reports is not None:
        loaded = [(video, captions) for video, captions in loaded if video.name in reports]
    loaded = loaded if most is None else loaded[:: max(1, len(loaded) // most)]
    sentences = {video.name: [text for _, _, text in video.human] for video, _ in loaded}
    checkers, all_cases = {}, {}
    for video, captions in track(loaded, "reading captions"):
        rng = random.Random(video.name)
        others = [text for name, own in sentences.items() if name[:4] != video.name[:4] for text in own]
        if reports is None:
            evidence = Evidence(video.duration_s, FPS, captions, bank, encoder)
        else:
            evidence = Evidence(video.duration_s, FPS, [], bank, encoder, reports[video.name])
        checkers[video.name] = ClaimChecker(evidence, words)
        all_cases[video.name] = list(cases(video, others, words, table, rng))
    return checkers, all_cases, bank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--pixels", action="store_true", help="no captions: a report by the shipped run")
    parser.add_argument("--videos", type=int, default=None, help="use this many videos, evenly spaced")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help="measure these kinds only")
    parser.add_argument("--examples", type=int, default=0, help="print this many wrong verdicts of each kind")
    options = parser.parse_args()
    checkers, all_cases, _ = build(options.shared, options.videos, options.pixels)

    def run(kind: str, rule: ClaimRule, part: int = 0) -> Table:
        rows = []
        for name, checker in checkers.items():
            if half(name) == part:
                checker.rule = rule
                rows += [(case.true, verdict(checker, case)) for case in all_cases[name] if case.kind == kind]
        return Table(rows)

    rule = ClaimRule() if options.pixels else choose(run, options.kinds)
    print(f"{'Used' if options.pixels else 'Chosen on the first half'}: {rule}\n")
    print("| kind | claims | precision | recall | F1 | F1 of supported | contradicted | of these, false |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    tables = {kind: run(kind, rule, 1) for kind in options.kinds}
    tables["all"] = Table([row for table in tables.values() for row in table.rows])
    for kind, table in tables.items():
        row = table.figures()
        print(
            f"| {kind} | {row['claims']} | {row['precision']:.2f} | {row['recall']:.2f} | {row['F1']:.2f} | "
            f"{row['F1 of supported']:.2f} | {row['contradicted']:.0%} | {row['contradicted and false']:.0%} |"
        )
    for kind in options.kinds if options.examples else ():
        wrong = [
            (name, case, found)
            for name, checker in checkers.items()
            for case in all_cases[name]
            if half(name) == 1 and case.kind == kind and ((found := verdict(checker, case)) == "supported") != case.true
        ]
        for name, case, found in wrong[:: max(1, len(wrong) // options.examples)][: options.examples]:
            print(f"{kind}: {name}: {'true' if case.true else 'false'} but {found}: {case.sentence}")


if __name__ == "__main__":
    main()
