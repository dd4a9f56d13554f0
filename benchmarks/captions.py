"""The caption rule on several captioners: ``python benchmarks/captions.py SHARED CACHE``.

Prints frame AUC, Ano-AUC, alarms and categories of the shipped rule; then, for each side, the settings that the one
captioner alone would choose and what they give on the other (``--choose``); then the deletion of cited concepts.
CACHE is a folder for the vectors of clauses. Nothing is trained.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from caption_sets import COGVLM, IMITATIONS, SNIPPET, LabelledVideo, hits, labelled, mean_matrix
from numpy.typing import NDArray
from scipy.sparse import csr_array

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import TextEncoder, load_text_encoder
from kgvad.detector.evaluation.frame_metrics import roc_auc
from kgvad.detector.scoring.caption_scorer import CaptionRule, CaptionScores, score_clauses
from kgvad.detector.scoring.clauses import clauses, snippet_captions
from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.explain.analysis.events import EventRule
from kgvad.explain.quality.faithfulness import concept_figures
from kgvad.explain.scorers.from_video import concept_terms
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import load_table

SETS = (*IMITATIONS, "human", *COGVLM)
GRID = {"temperature": (0.05, 0.1, 0.2), "power": (1.0, 2.0, 3.0, 6.0)}
FALSE_ALARMS = 0.05  # share of the normal UCF-Crime videos of the selection half, by which the midpoint was set


@dataclass(frozen=True)
class Prepared:
    """A set with the vectors of its clauses."""

    videos: list[LabelledVideo]
    vectors: list[NDArray[np.float32]]
    means: list[tuple[csr_array, csr_array]]
    bank: AnchorBank

    def scored(self, rule: CaptionRule) -> list[CaptionScores]:
        return [score_clauses(v, *m, self.bank, rule) for v, m in zip(self.vectors, self.means, strict=True)]

    def auc(self, totals: list[NDArray[np.float64]], *, abnormal: bool = False) -> float:
        """Frame AUC over all videos, or over the abnormal ones."""
        use = [i for i, video in enumerate(self.videos) if video.abnormal or not abnormal]
        if not use:
            return float("nan")
        joined = [np.concatenate([values[i] for i in use]) for values in (totals, self.positives, self.negatives)]
        return roc_auc(*joined) if joined[2].any() else float("nan")

    @property
    def positives(self) -> list[NDArray[np.int64]]:
        return [video.positives for video in self.videos]

    @property
    def negatives(self) -> list[NDArray[np.int64]]:
        return [video.negatives for video in self.videos]


class VectorFile:
    """Vectors of texts, kept in one file."""

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        self.path, self.encoder = folder / "clauses.npz", encoder
        self.texts: dict[str, int] = {}
        self.vectors = np.zeros((0, encoder.dim), np.float16)
        if self.path.is_file():
            with np.load(self.path) as file:
                self.texts = {text: i for i, text in enumerate(json.loads(str(file["texts"])))}
                self.vectors = file["vectors"]

    def add(self, texts: list[str]) -> None:
        new = sorted({text for text in texts if text not in self.texts}, key=len)
        if not new:
            return
        self.texts |= {text: len(self.texts) + i for i, text in enumerate(new)}
        self.vectors = np.concatenate([self.vectors, self.encoder.encode(new).astype(np.float16)])
        np.savez(self.path, texts=json.dumps(list(self.texts)), vectors=self.vectors)


def prepare(shared: Path, name: str, file: VectorFile, bank: AnchorBank) -> Prepared:
    videos = labelled(shared, name)
    own = [snippet_captions(video.captions, len(video.positives)) for video in videos]
    pieces = {caption: clauses(caption) for rows in own for row in rows for caption in row}
    file.add([text for parts in pieces.values() for text in parts])
    vectors, means = [], []
    for rows in own:
        distinct = {caption: i for i, caption in enumerate(dict.fromkeys(caption for row in rows for caption in row))}
        texts = {text: i for i, text in enumerate(dict.fromkeys(t for caption in distinct for t in pieces[caption]))}
        vectors.append(file.vectors[[file.texts[text] for text in texts]].astype(np.float32))
        caption_mean = mean_matrix([[texts[text] for text in pieces[caption]] for caption in distinct], len(texts))
        means.append(
            (caption_mean, mean_matrix([[distinct[caption] for caption in row] for row in rows], len(distinct)))
        )
    return Prepared(videos, vectors, means, bank)


def totals(found: list[CaptionScores]) -> list[NDArray[np.float64]]:
    return [scores.contributions.sum(1, dtype=np.float64) for scores in found]


def chosen_on(video: str) -> bool:
    """Whether a video is of the selection half."""
    return int(hashlib.sha256(video.encode()).hexdigest(), 16) % 2 == 0


def shipped(sets: dict[str, Prepared]) -> None:
    """Figures of the rule as it is."""
    rule = CaptionRule()
    found = {name: one.scored(rule) for name, one in sets.items()}
    normal = [
        scores.contributions.sum(1).max()
        for scores, video in zip(found["ucf"], sets["ucf"].videos, strict=True)
        if not video.abnormal and chosen_on(video.name)
    ]
    print(f"evidence that {FALSE_ALARMS:.0%} of the normal videos of the selection half reach: ", end="")
    print(f"{np.quantile(normal, 1 - FALSE_ALARMS):.3f} (the midpoint is {rule.midpoint})\n")
    print("| captions | frame AUC | Ano-AUC | alarm, abnormal | alarm, normal | top-1 / top-3 | by evidence |")
    print("|---|--:|--:|--:|--:|---|---|")
    for name, one in sets.items():
        sums, bank = totals(found[name]), one.bank
        alarm = np.array([(scores.scores >= 0.5).any() for scores in found[name]])
        abnormal = np.array([video.abnormal for video in one.videos])
        shares = [f"{alarm[mask].mean():.2f}" if mask.any() else "" for mask in (abnormal, ~abnormal)]
        named = []
        for scores, video in zip(found[name], one.videos, strict=True):
            if video.category in bank.categories and video.abnormal:
                at = bank.categories.index(video.category)
                by_category = np.stack(
                    [scores.contributions[:, bank.concept_category == c].sum(1) for c in range(len(bank.categories))], 1
                )
                pair = [hits(values, scores, bank.normal, at) for values in (scores.alignment, by_category)]
                named.append(np.ravel(pair))
        cells = ["{:.3f} / {:.3f}".format(*np.mean(named, 0)[i : i + 2]) if named else "" for i in (0, 2)]
        ano = one.auc(sums, abnormal=True)
        print(f"| {name} | {one.auc(sums):.3f} | {ano:.3f} | {' | '.join(shares + cells)} |", flush=True)


def choose(sets: dict[str, Prepared]) -> None:
    """What each captioner alone would choose of the grid, and what that gives on all."""
    figures = {}
    for temperature, power in itertools.product(*GRID.values()):
        rule = replace(CaptionRule(), temperature=temperature, power=power)
        figures[temperature, power] = {name: one.auc(totals(one.scored(rule))) for name, one in sets.items()}
        print(f"{temperature} {power} ", {name: round(value, 3) for name, value in figures[temperature, power].items()})
    best = {
        "UCF-Crime, VideoLLaMA3": max(figures, key=lambda key: figures[key]["ucf"]),
        "CogVLM, mean of four": max(figures, key=lambda key: np.mean([figures[key][name] for name in COGVLM])),
    }
    print(f"\n| chosen on | temperature | power | {' | '.join(sets)} |\n|---|--:|--:|{'--:|' * len(sets)}")
    for name, key in best.items():
        print(f"| {name} | {key[0]} | {key[1]:g} | {' | '.join(f'{figures[key][one]:.3f}' for one in sets)} |")


def deletion(sets: dict[str, Prepared]) -> None:
    """Share of the category without the five cited concepts, or with them alone, against five random ones."""
    print(
        "| captions | videos | without cited | without random | difference | cited alone | random alone | difference |"
    )
    print("|---|--:|--:|--:|---|--:|--:|---|")
    for name, one in sets.items():
        figures = []
        for scores, video in zip(one.scored(CaptionRule()), one.videos, strict=True):
            steps = np.arange(len(scores.scores) + 1) * SNIPPET
            made = Scores(
                video=video.name,
                fps=30.0,
                frame_count=int(steps[-1]),
                spans=np.stack([steps[:-1], steps[1:]], 1),
                scores=scores.scores,
                origin=Origin(scorer="training-free", names_categories="hint"),
                alignment=scores.alignment,
                categories=list(one.bank.categories),
                normal=one.bank.normal,
                concept_alignment=scores.concept_alignment,
            )
            terms = concept_terms(made, one.bank)
            if terms is not None:
                figures.append(concept_figures(made, terms, one.bank, EventRule()))
        values = np.array([astuple(found) for found in figures if found is not None])  # [videos, 4]
        if len(values) < 2:
            continue
        cells = []
        for cited, random in ((0, 1), (2, 3)):
            difference = values[:, cited] - values[:, random]
            rng = np.random.default_rng(0)
            means = [rng.choice(difference, len(difference)).mean() for _ in range(2000)]
            low, high = np.quantile(means, (0.025, 0.975))
            cells += [f"{values[:, cited].mean():.3f}", f"{values[:, random].mean():.3f}"]
            cells.append(f"{difference.mean():.3f} ({low:.3f} to {high:.3f})")
        print(f"| {name} | {len(values)} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--choose", action="store_true", help="also the choice of each side")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    encoder = load_text_encoder("minilm")
    file, store = VectorFile(options.cache, encoder), GraphStore.open()
    banks = {table: build_bank(load_table(table), store, encoder) for table in ("ucf", *sorted(set(COGVLM.values())))}
    sets = {name: prepare(options.shared, name, file, banks[COGVLM.get(name, "ucf")]) for name in SETS}
    shipped(sets)
    print()
    deletion(sets)
    if options.choose:
        choose(sets)


if __name__ == "__main__":
    main()
