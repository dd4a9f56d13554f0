"""Tables of ``benchmarks/tracks.py``. Every function scores stored runs and returns Markdown."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from track_data import Track, list_duplicates
from track_runs import SHARES, Method, Runs, finished_runs, halves, with_categories, with_share, without_videos

from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.caption_features import embed_captions
from kgvad.detector.data.resample import resample_captions
from kgvad.detector.evaluation.evaluator import EvaluationOptions, evaluate_runs
from kgvad.detector.evaluation.frame_metrics import Metrics, measure, roc_auc
from kgvad.detector.evaluation.report import COMPARED, METRIC_TITLES, EvaluationReport, MetricSummary
from kgvad.detector.evaluation.scored_method import match_all, score_split
from kgvad.detector.evaluation.tables import ResultTable
from kgvad.detector.run import MODEL, Run
from kgvad.detector.scoring.infer import infer
from kgvad.files import read_json, sha256, write_json
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_store import FeatureStore

logger = logging.getLogger(__name__)

SHOWN = {
    "frame_auc": "AUC",
    "ano_auc": "Ano-AUC",
    "video_auc": "video AUC",
    "category_top1": "top-1",
    "category_top3": "top-3",
}
CAPTION_SETS = {"SHTech": "ShanghaiTech", "UBNormal": "UBnormal", "avenue": "Avenue", "ped2": "Ped2"}


def main_table(runs: Runs, track: Track, methods: Sequence[Method], resamples: int) -> str:
    """All metrics of a track with intervals, and the paired differences from its first method."""
    found = [folder for method in methods if (folder := runs.of(track, method)) is not None]
    if not found:
        return ""
    models = [run / MODEL for folder in found for run in finished_runs(folder)]
    key = hashlib.sha256("".join([str(resamples), *map(sha256, models)]).encode()).hexdigest()
    file = runs.folder / "results" / f"{track.name}.json"
    stored = read_json(file, RuntimeError, "delete it") if file.is_file() else {}
    if stored.get("key") != key:
        options = EvaluationOptions(features=track.features, text=track.captions, resamples=resamples)
        report = evaluate_runs(found, options).report()
        stored = {"key": key, "report": report.model_dump(mode="json")}
        write_json(file, stored)
    report = EvaluationReport.model_validate(stored["report"])
    names = {method.folder: method.name for method in methods}
    return "\n".join(table.as_markdown() for table in report_tables(report, names)).strip()


def report_tables(report: EvaluationReport, names: Mapping[str, str]) -> list[ResultTable]:
    """Localisation, categories, and paired differences, narrow enough for a page of 120 characters."""
    tables = []
    for columns in (("frame_auc", "frame_ap", "ano_auc", "video_auc"), ("category_top1", "category_top3", "map")):
        rows = [
            [names[one.name], str(len(one.seeds)), *(_summary(one.summary[column]) for column in columns)]
            for one in report.methods
            if one.summary[columns[0]].mean is not None
        ]
        header = ["method", "seeds", *(METRIC_TITLES[column] for column in columns)]
        if rows:
            tables.append(ResultTable("", header, rows))
    if report.differences:
        baseline = names[report.differences[0].baseline]
        title = f"Difference from `{baseline}` in points, with 95 % interval and adjusted p value"
        for columns in (COMPARED[:2], COMPARED[2:]):
            cells = zip(*(report.difference_cells(column, ", ") for column in columns), strict=True)
            rows = [[names[one.method], *own] for one, own in zip(report.differences, cells, strict=True)]
            tables.append(ResultTable(title, ["method", *(METRIC_TITLES[column] for column in columns)], rows))
            title = ""
    return tables


def _summary(one: MetricSummary) -> str:
    if one.mean is None or one.std is None:
        return "n/a"
    interval = "" if one.low is None or one.high is None else f" [{100 * one.low:.0f}, {100 * one.high:.0f}]"
    return f"{100 * one.mean:.1f} ± {100 * one.std:.1f}{interval}"


def configurations(runs: Runs, track: Track, methods: Sequence[Method]) -> str:
    """What differs from the detector's own settings in each tuned method, and how many configurations were tried."""
    rows = []
    for method in methods:
        source = method.carried or track.name
        file = runs.folder / "tuned" / source / f"{method.detector}.tried.json"
        if not (method.tuned or method.carried) or not file.is_file():
            continue
        tried = json.loads(file.read_text("utf-8"))
        chosen = next(trial for trial in tried["trials"] if trial["chosen"])
        complete = sum(trial["complete"] for trial in tried["trials"])
        minutes = sum(fold["cpu_s"] for trial in tried["trials"] for fold in trial["folds"]) / 60
        words = ", ".join(re.sub(r"^(recipe|options)\.", "", change) for change in chosen["changes"]) or "none"
        words = re.sub(r"normal_batch=(\d+), abnormal_batch=\1\b", r"batches of \1", words)
        rows.append([method.name, words, str(complete), str(tried["folds"]), f"{minutes:.0f}"])
    header = ["method", "changes chosen", "configurations", "folds", "CPU min"]
    return ResultTable("", header, rows, text_columns=2).as_markdown().strip() if rows else ""


def curve_table(runs: Runs, track: Track, methods: Sequence[Method]) -> str:
    """Learning curves: metrics by the share of training videos. Smaller shares are drawn anew for every seed."""
    truth = Truth.load(track.features)
    present = FeatureStore.open(track.features).ids()
    rows = []
    for share in SHARES:
        for method in methods:
            folders = [runs.of(track, method)] if share == 1 else _drawn(runs, track, method, share, truth, present)
            found = [one for folder in folders if folder is not None for one in _measured(folder, track, truth)]
            if found:
                rows.append([f"{100 * share:.0f} %", method.name, str(len(found)), *_cells(found)])
    return _table(["training videos", "method", "runs"], rows)


def _drawn(
    runs: Runs, track: Track, method: Method, share: float, truth: Truth, present: Sequence[str]
) -> list[Path | None]:
    """Folders of one run for each draw of training videos; the draws are the same for every method."""
    single = replace(runs, seeds=1)
    return [
        single.of(
            track,
            method,
            "curves",
            f"share-{100 * share:.0f}",
            f"draw-{draw}",
            truth=with_share(truth, share, present, draw),
        )
        for draw in range(runs.count(method))
    ]


def transfer_table(runs: Runs, track: Track, methods: Sequence[Method]) -> str:
    """Metrics on each half of the categories, of runs trained on the other half and, behind a stroke, on all."""
    truth = Truth.load(track.features)
    parts = halves(truth, FeatureStore.open(track.features).ids())
    rows = []
    for method in methods:
        for index, tested in enumerate(parts):
            kept = with_categories(truth, parts[1 - index], "train")
            other = runs.of(track, method, "transfer", f"half-{1 - index}", truth=kept)
            every = runs.of(track, method)
            if other is not None and every is not None:
                of_half = with_categories(truth, tested, "test")
                found = [_cells(_measured(folder, track, of_half)) for folder in (other, every)]
                rows.append([method.name, str(index + 1), *(" / ".join(cells) for cells in zip(*found, strict=True))])
    listed = "\n".join(f"* Half {index + 1}: {', '.join(names)}" for index, names in enumerate(parts))
    table = _table(["method", "half tested"], [row[:5] for row in rows], columns=3)
    return f"{listed}\n\n{table}" if table else ""


def duplicates_table(runs: Runs, track: Track, methods: Sequence[Method]) -> str:
    """Test metrics with and without the test videos that equal training videos."""
    truth, store = Truth.load(track.features), FeatureStore.open(track.features)
    groups, across = list_duplicates(store, truth)
    text = f"{len(groups)} groups of identical videos, {len(across)} of them across the splits"
    if not across:
        return text + "."
    listed = "\n".join(f"* {' = '.join(group)}" for group in across)
    rows = []
    without = without_videos(truth, [video for group in across for video in group])
    for method in methods:
        folder = runs.of(track, method)
        if folder is not None:
            rows.append([method.name, "with", *_cells(_measured(folder, track, truth))])
            rows.append([method.name, "without", *_cells(_measured(folder, track, without))])
    return f"{text}:\n\n{listed}\n\n" + _table(["method", "duplicates"], rows)


def caption_sets_table(runs: Runs, track: Track, methods: Sequence[Method]) -> str:
    """Frame AUC of runs trained on UCF-Crime captions, on captions of four other datasets."""
    folders = {method.name: folder for method in methods if (folder := runs.of(track, method)) is not None}
    if not folders:
        return ""
    encoder = load_text_encoder("minilm")
    rows: dict[str, list[str]] = {name: [] for name in folders}
    for file in CAPTION_SETS:
        path = runs.shared / "data" / "captions" / "anomalyruler" / f"{file}.json.gz"
        with gzip.open(path, "rt", encoding="utf-8") as source:
            videos = json.load(source)
        made = [caption_video(entry, encoder) for entry in videos.values()]
        for name, folder in folders.items():
            aucs = [caption_auc(Run.load(run), made) for run in finished_runs(folder)]
            rows[name].append(_cell(aucs))
    table = [[name, *cells] for name, cells in rows.items()]
    return ResultTable("", ["method", *CAPTION_SETS.values()], table).as_markdown().strip()


def caption_video(entry: dict[str, list], encoder: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors [T, d] of the snippets of a video, their positive frames [T] and their negative frames [T]."""
    texts = [text for text, count in entry["captions"] for _ in range(count)]
    labels = np.array([label for label, count in entry["labels"] for _ in range(count)])
    frames = min(len(texts), len(labels))
    edges = np.append(np.arange(0, frames, SNIPPET_FRAMES), frames)
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    vectors = embed_captions(list(enumerate(texts[:frames])), spans, encoder)
    positive = np.add.reduceat(labels[:frames] > 0, edges[:-1])
    return vectors, positive, np.diff(edges) - positive


def caption_auc(run: Run, videos: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """Frame AUC over all videos."""
    scores = np.concatenate([infer(run.detector, vectors)["scores"] for vectors, _, _ in videos]).astype(np.float64)
    positive, negative = (np.concatenate([video[part] for video in videos]) for part in (1, 2))
    return roc_auc(scores, positive, negative)


def _measured(folder: Path, track: Track, truth: Truth) -> list[Metrics]:
    """Metrics of every run of a folder on the test videos of ``truth``."""
    store = FeatureStore.open(track.features)
    found = []
    for path in finished_runs(folder):
        run = Run.load(path)
        captions = None
        if track.captions is not None and run.config.caption_dim is not None:
            captions = resample_captions(FeatureStore.open(track.captions), store, truth.split("test"))
        videos = match_all(score_split(run, store, truth, captions), truth)
        found.append(measure(videos, run.config.categories, run.config.normal))
    return found


def _cells(metrics: Sequence[Metrics]) -> list[str]:
    return [_cell([getattr(one, name) for one in metrics]) for name in SHOWN]


def _cell(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    if np.isnan(values).any():
        return "n/a"
    deviation = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{deviation}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], columns: int = len(SHOWN)) -> str:
    header = [*names, *list(SHOWN.values())[:columns]]
    return ResultTable("", header, rows, text_columns=len(names)).as_markdown().strip() if rows else ""
