"""What an evaluation found, as JSON, as Markdown and as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from kgvad.detector.evaluation.bootstrap import Difference, Interval
from kgvad.detector.evaluation.frame_metrics import Metrics, Track, length_alone
from kgvad.detector.scoring.class_probabilities import ClassRule

if TYPE_CHECKING:
    from rich.table import Table

HEADS = {
    "frame_auc": "AUC",
    "frame_ap": "AP",
    "ano_auc": "Ano-AUC",
    "video_auc": "video AUC",
    "category_top1": "top-1",
    "category_top3": "top-3",
    "map": "mAP",
}
COMPARED = ("frame_auc", "ano_auc", "category_top1")


@dataclass(frozen=True, eq=False)
class Method:
    """One detector: a run, or the runs of several seeds.

    Attributes
    ----------
    name
        Shortest end of the path that tells it from the others.
    detector, encoder, text
        What it is, the features it was given, and the captions (``None`` without).
    folders
        Its runs.
    categories, normal
        Names of its categories and the place of Normal.
    metrics, details, tracks
        Of each run: figures, what else the JSON holds, and the scored test videos.
    intervals
        Of each figure, over videos and seeds; empty without draws.
    """

    name: str
    detector: str
    encoder: str
    text: str | None
    folders: tuple[str, ...]
    seeds: tuple[int, ...]
    categories: tuple[str, ...]
    normal: int
    metrics: tuple[Metrics, ...]
    details: tuple[dict[str, Any], ...]
    tracks: tuple[list[Track], ...]
    intervals: dict[str, Interval]

    def columns(self) -> dict[str, list[float]]:
        """Figure to its value in each run; ``map`` is the corrected detection mAP as a share."""
        rows = [
            (*astuple(metrics), details.get("map_corrected", {}).get("mean", math.nan) / 100)
            for metrics, details in zip(self.metrics, self.details, strict=True)
        ]
        return {name: list(column) for name, column in zip(HEADS, zip(*rows, strict=True), strict=True)}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Methods measured on the test videos of one dataset.

    ``differences`` holds, for each method after the first, its figures minus those of the first.
    """

    dataset: str
    smooth: int
    rule: ClassRule
    draws: int
    methods: tuple[Method, ...]
    differences: tuple[dict[str, Difference], ...]

    def report(self) -> Report:
        """The figures without the tracks: what is printed and written."""
        differences = [
            {
                "method": method.name,
                "minus": self.methods[0].name,
                "figures": {name: asdict(difference) for name, difference in found.items()},
            }
            for method, found in zip(self.methods[1:], self.differences, strict=False)
        ]
        about: dict[str, Any] = {"dataset": self.dataset, "smooth": self.smooth, "draws": self.draws}
        about |= {"classes": self.rule.name, "temperature": self.rule.temperature}
        about["length_alone"] = asdict(length_alone(self.methods[0].tracks[0]))
        methods = [_method_report(method) for method in self.methods]
        return Report.model_validate(plain(about | {"methods": methods, "differences": differences}))


def _method_report(method: Method) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, values in method.columns().items():
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": float(np.mean(values)), "std": deviation}
        if name in method.intervals:
            summary[name] |= asdict(method.intervals[name])
    tracks = method.tracks[0]
    return {
        "name": method.name,
        "detector": method.detector,
        "encoder": method.encoder,
        "text": method.text,
        "seeds": method.seeds,
        "videos": len(tracks),
        "abnormal_videos": sum(track.abnormal for track in tracks),
        "categories_present": len({label for track in tracks for label in track.labels}),
        "summary": summary,
        "runs": [
            {"run": folder, "seed": seed, **asdict(metrics), **details}
            for folder, seed, metrics, details in zip(
                method.folders, method.seeds, method.metrics, method.details, strict=True
            )
        ],
    }


class Figure(BaseModel):
    """Mean and standard deviation over seeds of one figure, 0..1, and its interval; ``None`` where there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    std: float | None
    low: float | None = None
    high: float | None = None


class Change(BaseModel):
    """A difference between two methods, its interval and p value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    low: float | None
    high: float | None
    p: float | None


class MethodReport(BaseModel):
    """Figures of one method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    detector: str
    encoder: str
    text: str | None
    seeds: tuple[int, ...]
    videos: int
    abnormal_videos: int
    categories_present: int
    summary: dict[str, Figure]
    runs: list[dict[str, Any]] = []  # everything measured of each run


class DifferenceReport(BaseModel):
    """Figures of ``method`` minus those of ``minus``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    minus: str
    figures: dict[str, Change]


class Report(BaseModel):
    """What ``kgvad evaluate --json`` writes and ``kgvad results`` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    dataset: str
    smooth: int
    classes: str = "softmax"
    temperature: float = 1.0
    draws: int
    length_alone: dict[str, float | None] = {}
    methods: list[MethodReport]
    differences: list[DifferenceReport] = []

    def lines(self) -> list[str]:
        """What a reader must know about the figures, a sentence or two a line."""
        found = []
        for videos, abnormal, categories in sorted(
            {(m.videos, m.abnormal_videos, m.categories_present) for m in self.methods}
        ):
            found.append(f"{self.dataset}: {videos} test videos, {abnormal} abnormal, {categories} categories present.")
        found.append(
            "Scores as the detector gives them, not smoothed."
            if self.smooth == 1
            else f"Scores smoothed: mean over {self.smooth} rows."
        )
        found.append("In percent. Categories of abnormal videos; mAP over IoU 0.1 to 0.5, corrected.")
        if (self.classes, self.temperature) != ("softmax", 1.0):
            found.append(f"mAP of class probabilities by the rule {self.classes}, temperature {self.temperature:g}.")
        if any(len(method.seeds) > 1 for method in self.methods):
            found.append("± is the standard deviation over seeds.")
        if self.draws:
            found.append(f"In brackets the 95 % interval over videos and seeds ({self.draws} bootstrap draws).")
        if self.length_alone:
            blind = [
                f"{_percent(self.length_alone[name])} {HEADS[name]}" for name in ("frame_auc", "ano_auc", "video_auc")
            ]
            found.append(f"Without looking, minus the length of the video as its score has {', '.join(blind)}.")
        return found

    def rows(self) -> list[list[str]]:
        """Name, number of seeds, and mean, deviation and interval of each figure, one method a row."""
        return [
            [method.name, str(len(method.seeds)), *(_figure(method, name) for name in HEADS)] for method in self.methods
        ]

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Title, heads and rows: the methods, and their differences from the first."""
        tables = [("", ["run", "seeds", *HEADS.values()], self.rows())]
        if self.differences:
            rows = [[one.method, *(_change(one.figures[name]) for name in COMPARED)] for one in self.differences]
            title = f"Difference from {self.differences[0].minus}, in points"
            tables.append((title, ["run", *(HEADS[name] for name in COMPARED)], rows))
        return tables

    def as_markdown(self) -> str:
        """The tables of the terminal, for a document."""
        return "\n".join([" ".join(self.lines()), *(markdown_table(*table) for table in self.tables())]) + "\n"

    def as_rich(self) -> list[Table | str]:
        """Tables and sentences for a rich console."""
        return [*(rich_table(*table) for table in self.tables()), "\n".join(self.lines())]


def _figure(method: MethodReport, name: str) -> str:
    found = method.summary[name]
    text = _percent(found.mean)
    if found.mean is not None and len(method.seeds) > 1:
        text += f" ± {_percent(found.std)}"
    if found.low is not None:
        text += f"\n[{_percent(found.low)}, {_percent(found.high)}]"
    return text


def _change(found: Change) -> str:
    if found.mean is None or found.low is None or found.high is None:
        return "n/a"
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]\np {found.p:.3f}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


def markdown_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are text, the others figures."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (heads, *rows)]
    ruler = "|" + "---|" * left + "---:|" * (len(heads) - left)
    return "\n".join(["", *([f"{title}:", ""] if title else []), lines[0], ruler, *lines[1:]])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def rich_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """The same table for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_lines=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def plain(value: Any) -> Any:
    """``value`` for JSON, which has no NaN."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
