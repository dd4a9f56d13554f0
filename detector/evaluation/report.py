"""Results of an evaluation, as JSON, as Markdown and as a table for the terminal."""

from __future__ import annotations

import math
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from kgvad.detector.evaluation.bootstrap import ConfidenceInterval, Difference, holm
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.frame_metrics import Metrics, length_only_baseline
from kgvad.detector.evaluation.tables import ResultTable
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.types import Fields

if TYPE_CHECKING:
    from rich.table import Table

METRIC_TITLES = {
    "frame_auc": "AUC",
    "frame_ap": "AP",
    "ano_auc": "Ano-AUC",
    "video_auc": "video AUC",
    "category_top1": "top-1",
    "category_top3": "top-3",
    "map": "mAP",
    "calibration": "ECE",
    "calibration_with_temperature": "ECE, T",
}
COMPARED = ("frame_auc", "ano_auc", "video_auc", "category_top1")


@dataclass(frozen=True, eq=False)
class Method:
    """One detector: a run, or the runs of several seeds.

    Attributes
    ----------
    name
        Shortest end of the path that no other method has.
    detector, encoder, text
        Name of the detector, encoder of its features, and store of its captions (``None`` without).
    folders
        Its runs.
    categories, normal
        Names of its categories and the index of Normal.
    metrics, details, videos
        Of each run: metrics, further results for the JSON, and the scored test videos.
    intervals
        Of each metric, over videos and seeds; empty without resamples.
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
    details: tuple[Fields, ...]
    videos: tuple[list[EvaluatedVideo], ...]
    intervals: dict[str, ConfidenceInterval]

    def columns(self) -> dict[str, list[float]]:
        """Values of each metric, one for each run; ``map`` is the corrected detection mAP, 0..1."""
        rows = []
        for metrics, details in zip(self.metrics, self.details, strict=True):
            calibration = details.get("calibration", {})
            errors = (calibration.get(name, math.nan) for name in ("error", "error_with_temperature"))
            mean_precision = details.get("map_corrected", {}).get("mean", math.nan) / 100
            rows.append((*astuple(metrics), mean_precision, *errors))
        return {name: list(column) for name, column in zip(METRIC_TITLES, zip(*rows, strict=True), strict=True)}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Methods measured on the test videos of one dataset.

    ``differences`` has, for each method after the first, its metrics minus those of the first.
    """

    dataset: str
    smooth: int
    rule: ClassRule
    resamples: int
    methods: tuple[Method, ...]
    differences: tuple[dict[str, Difference], ...]

    def report(self) -> EvaluationReport:
        """The results without the scored videos, to be printed and written."""
        differences = [
            {
                "method": method.name,
                "baseline": self.methods[0].name,
                "metrics": {name: asdict(difference) for name, difference in found.items()},
            }
            for method, found in zip(self.methods[1:], self.differences, strict=False)
        ]
        about: Fields = {"dataset": self.dataset, "smooth": self.smooth, "resamples": self.resamples}
        about |= {"class_rule": self.rule.name, "temperature": self.rule.temperature}
        about["length_only_baseline"] = asdict(length_only_baseline(self.methods[0].videos[0]))
        methods = [_method_results(method) for method in self.methods]
        return EvaluationReport.model_validate(json_safe(about | {"methods": methods, "differences": differences}))


def _method_results(method: Method) -> Fields:
    summary: Fields = {}
    for name, values in method.columns().items():
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": float(np.mean(values)), "std": deviation}
        if name in method.intervals:
            summary[name] |= asdict(method.intervals[name])
    videos = method.videos[0]
    return {
        "name": method.name,
        "detector": method.detector,
        "encoder": method.encoder,
        "text": method.text,
        "seeds": method.seeds,
        "videos": len(videos),
        "abnormal_videos": sum(video.abnormal for video in videos),
        "categories_present": len({label for video in videos for label in video.labels}),
        "summary": summary,
        "runs": [
            {"run": folder, "seed": seed, **asdict(metrics), **details}
            for folder, seed, metrics, details in zip(
                method.folders, method.seeds, method.metrics, method.details, strict=True
            )
        ],
    }


class MetricSummary(BaseModel):
    """Mean and standard deviation over seeds of one metric, 0..1, and its confidence interval (``None``: undefined)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    std: float | None
    low: float | None = None
    high: float | None = None


class MetricDifference(BaseModel):
    """Difference of one metric between two methods, its confidence interval, and its own p value, not adjusted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    low: float | None
    high: float | None
    p: float | None


class MethodResults(BaseModel):
    """Results of one method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    detector: str
    encoder: str
    text: str | None
    seeds: tuple[int, ...]
    videos: int
    abnormal_videos: int
    categories_present: int
    summary: dict[str, MetricSummary]
    runs: list[Fields] = []  # all results of each run


class MethodComparison(BaseModel):
    """Metrics of ``method`` minus those of ``baseline``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    baseline: str
    metrics: dict[str, MetricDifference]


class EvaluationReport(BaseModel):
    """What ``kgvad evaluate --json`` writes and ``kgvad results`` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    dataset: str
    smooth: int
    class_rule: str = "softmax"
    temperature: float = 1.0
    resamples: int
    length_only_baseline: dict[str, float | None] = {}
    methods: list[MethodResults]
    differences: list[MethodComparison] = []

    def notes(self) -> list[str]:
        """What a reader must know about the results, one or two sentences a line."""
        found = []
        for videos, abnormal, categories in sorted(
            {(m.videos, m.abnormal_videos, m.categories_present) for m in self.methods}
        ):
            present = f"{categories} {'category' if categories == 1 else 'categories'} present"
            found.append(f"{self.dataset}: {videos} test videos, {abnormal} abnormal, {present}.")
        found.append(
            "Scores are not smoothed."
            if self.smooth == 1
            else f"Scores are smoothed by a moving average over {self.smooth} snippets."
        )
        found.append(
            "All results in percent. Top-1 and top-3: over abnormal videos. mAP: mean over IoU 0.1 to 0.5, corrected."
        )
        if any(_known(m, "calibration") for m in self.methods):
            scaled = any(_known(m, "calibration_with_temperature") for m in self.methods)
            after = "; ECE, T: with the temperature of the run" if scaled else ""
            found.append(f"ECE: calibration error of the category{after}.")
        if (self.class_rule, self.temperature) != ("softmax", 1.0):
            found.append(f"mAP of class probabilities by {self.class_rule} with temperature {self.temperature:g}.")
        if any(len(method.seeds) > 1 for method in self.methods):
            found.append("± is the standard deviation over seeds.")
        if self.resamples:
            found.append(
                f"In brackets: 95 % bootstrap confidence interval over videos and seeds ({self.resamples} resamples)."
            )
        if self.length_only_baseline:
            names = ("frame_auc", "ano_auc", "video_auc")
            values = [f"{_percent(self.length_only_baseline[name])} {METRIC_TITLES[name]}" for name in names]
            found.append(f"Length-only baseline (score: minus the length of the video): {', '.join(values)}.")
        return found

    def rows(self) -> list[list[str]]:
        """Name, number of seeds, and mean, deviation and interval of each metric, one method a row."""
        return [
            [method.name, str(len(method.seeds)), *(_summary(method, name) for name in self._shown())]
            for method in self.methods
        ]

    def _shown(self) -> list[str]:
        """The metrics; the calibration error only where a method has one."""
        return [
            name for name in METRIC_TITLES if "calibration" not in name or any(_known(m, name) for m in self.methods)
        ]

    def tables(self) -> list[ResultTable]:
        """The methods, and their differences from the first."""
        titles = [METRIC_TITLES[name] for name in self._shown()]
        tables = [ResultTable("", ["run", "seeds", *titles], self.rows())]
        if self.differences:
            columns = [self.difference_cells(name, "\n") for name in COMPARED]
            rows = [[one.method, *cells] for one, *cells in zip(self.differences, *columns, strict=True)]
            title = f"Difference from {self.differences[0].baseline}, in percentage points"
            if len(rows) > 1:
                title += f"; p values are adjusted for {len(rows)} comparisons (Holm)"
            tables.append(ResultTable(title, ["run", *(METRIC_TITLES[name] for name in COMPARED)], rows))
        return tables

    def difference_cells(self, name: str, separator: str) -> list[str]:
        """The differences of one metric, with intervals and the p values adjusted for their number (:func:`.holm`)."""
        found = [one.metrics[name] for one in self.differences]
        adjusted = holm([one.p for one in found])
        return [_difference(one, separator, p) for one, p in zip(found, adjusted, strict=True)]

    def as_markdown(self) -> str:
        """Notes and tables for a document."""
        return "\n".join([" ".join(self.notes()), *(table.as_markdown() for table in self.tables())]) + "\n"

    def as_rich(self) -> list[Table | str]:
        """Tables and notes for a rich console."""
        return [*(table.as_rich() for table in self.tables()), "\n".join(self.notes())]


def _known(method: MethodResults, name: str) -> bool:
    return name in method.summary and method.summary[name].mean is not None


def _summary(method: MethodResults, name: str) -> str:
    found = method.summary.get(name, MetricSummary(mean=None, std=None))
    text = _percent(found.mean)
    if found.mean is not None and len(method.seeds) > 1:
        text += f" ± {_percent(found.std)}"
    if found.low is not None:
        text += f"\n[{_percent(found.low)}, {_percent(found.high)}]"
    return text


def _difference(found: MetricDifference, separator: str, p: float) -> str:
    if found.mean is None or found.low is None or found.high is None:
        return "n/a"
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]{separator}p {p:.3f}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


def json_safe(value: object) -> object:
    """``value`` with ``None`` for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: json_safe(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
