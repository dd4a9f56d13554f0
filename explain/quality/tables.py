"""Tables of the quality of explanations, for ``kgvad explain-eval``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.console import track
from kgvad.errors import ReportError, UsageError
from kgvad.explain.quality.faithfulness import Faithfulness, examine
from kgvad.explain.quality.text_quality import (
    Figure,
    TextQuality,
    mean_figure,
    read_references,
    resamples,
    text_quality,
)
from kgvad.explain.report import Report
from kgvad.video.video_ids import VideoNames, video_id

logger = logging.getLogger(__name__)

SAID = (
    "summary_caption", "summary_category", "summary_category_hint", "summary_category_unclear",
    "summary_category_single", "summary_resembles",
)  # fmt: skip
PAIRS = (  # each figure and its random baseline
    ("score, snippets masked", "score_drop", "score_drop_random"),
    ("category, snippets masked", "category_drop", "category_drop_random"),
    ("category, concepts removed", "concept_drop", "concept_drop_random"),
    ("category, columns removed", "column_drop", "column_drop_random"),
    ("category with the columns alone", "columns_kept", "columns_kept_random"),
    ("score, only cited snippets kept", "sufficiency", "sufficiency_random"),
)


def text_table(sources: Sequence[Path], references: Path, seed: int = 0) -> str:
    """Markdown table: explanation sentences of JSON reports against references of the same videos.

    Raises
    ------
    UsageError, ReportError
        A source is missing or is not a report, or no report has a reference.
    """
    known = read_references(references)
    names = VideoNames(known)
    candidates, targets = [], []
    for path in _report_files(sources):
        report = Report.read(path)
        text = explanation(report)
        video = names.find(report.video.name)
        if text and video is not None:
            candidates.append(text)
            targets.append(known[video])
    if not candidates:
        raise ReportError("no report with an event has a reference text", "check the names of the videos")
    return quality_table({"reports": text_quality(candidates, targets, seed=seed)})


def explanation(report: Report) -> str:
    """What the summary says of the events: caption and category, and the concepts behind the category."""
    return " ".join(sentence.text for sentence in report.sentences if sentence.key in SAID)


def _report_files(sources: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if not source.exists():
            raise UsageError(f"{source} does not exist", "give reports in JSON format, or folders of them")
        found += sorted(p for p in source.rglob("*.json") if p.name != "index.json") if source.is_dir() else [source]
    return found


def quality_table(rows: dict[str, TextQuality]) -> str:
    """Markdown table, one row per method."""
    lines = ["| text | n | BLEU-4 | ROUGE-L | METEOR | cosine |", "|---|--:|---|---|---|---|"]
    for name, row in rows.items():
        cosine = "–" if row.cosine is None else str(row.cosine)
        lines.append(f"| {name} | {row.texts} | {row.bleu4} | {row.rouge_l} | {row.meteor} | {cosine} |")
    about = "METEOR on words and stems, without WordNet synonyms. In parentheses: 95% bootstrap confidence intervals."
    return "\n".join([*lines, "", about]) + "\n"


def deletion_table(run: Path, features: Path, videos: Path | None, seed: int = 0) -> str:
    """Markdown table: drop of score and category when the cited evidence is removed, against random removal.

    Raises
    ------
    KgvadError
        The run or the store cannot be read, or no video has an event.
    """
    from kgvad.detector.run import Run
    from kgvad.video.feature_store import FeatureStore

    loaded = Run.load(run)
    store = FeatureStore.open(features, None if (features / "manifest.json").is_file() else loaded.config.encoder)
    chosen = store.ids()
    if videos is not None:
        wanted = {video_id(line) for line in videos.read_text("utf-8").splitlines() if line.strip()}
        chosen = [video for video in chosen if video_id(video) in wanted]
    found: list[Faithfulness] = []
    for number, video in enumerate(track(chosen, "removing evidence")):
        result = examine(loaded, store.load(video), store.info(video), video, seed=seed + number)
        if result is not None:
            found.append(result)
    if not found:
        raise ReportError("no video has an event", "give other videos")
    logger.info("%d of %d videos have an event", len(found), len(chosen))
    return faithfulness_table(found, seed)


def faithfulness_table(found: Sequence[Faithfulness], seed: int = 0) -> str:
    """Markdown table over the videos, with 95 % bootstrap intervals."""

    def mean(figures: NDArray[np.float64]) -> Figure:
        return mean_figure(figures, resamples(len(figures), seed))

    values = {f.name: [getattr(one, f.name) for one in found] for f in fields(Faithfulness)}
    lines = ["| drop of | n | cited | random | difference |", "|---|--:|---|---|---|"]
    for name, cited, random in PAIRS:
        pairs = [(a, b) for a, b in zip(values[cited], values[random], strict=True) if a is not None and b is not None]
        if pairs:
            a, b = np.array(pairs, float).T
            lines.append(f"| {name} | {len(a)} | {mean(a)} | {mean(b)} | {mean(a - b)} |")
    same = np.array([value for value in values["same_category"] if value is not None], float)
    overlap = np.array(values["overlap"], float)
    lines.append(f"| events after noise: temporal IoU | {len(found)} | {mean(overlap)} | | |")
    if len(same):
        lines.append(f"| category unchanged after noise | {len(same)} | {mean(same)} | | |")
    return "\n".join(lines) + "\n"
