"""What a search tried and chose: a table, a file of all results, and a configuration for ``kgvad train --config``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from kgvad.detector.evaluation.tables import ResultTable
from kgvad.detector.training.tune import Search, TrialResult, choose
from kgvad.files import write_json, write_text

COLUMNS = {"video_auc": "video AUC", "frame_auc": "AUC", "ano_auc": "Ano-AUC", "category_top1": "top-1"}


def write_report(search: Search, results: Sequence[TrialResult], folder: Path) -> ResultTable:
    """Write ``NAME.json`` (chosen), ``NAME.tried.json`` and ``NAME.md`` for detector NAME; return the table."""
    name = search.training.config.detector
    chosen = choose(results)
    table = tried_table(search, results, chosen)
    write_json(folder / f"{name}.json", chosen.trial.config.model_dump(mode="json"))
    tried = [
        {
            "changes": list(result.trial.changes),
            "config": result.trial.config.model_dump(mode="json"),
            "folds": [fold.model_dump() for fold in result.folds],
            "criterion": None if math.isnan(result.criterion) else result.criterion,
            "complete": result.complete,
            "chosen": result is chosen,
        }
        for result in results
    ]
    facts = {"version": 1, "detector": name, "folds": search.folds, "seeds": search.seeds, "budget_s": search.budget_s}
    facts |= {"dataset": search.training.data.dataset, "features": search.training.data.store.fingerprint}
    write_json(folder / f"{name}.tried.json", facts | {"trials": tried})
    write_text(folder / f"{name}.md", table.as_markdown().lstrip() + "\n")
    return table


def tried_table(search: Search, results: Sequence[TrialResult], chosen: TrialResult) -> ResultTable:
    """Every trial in its order, in percent, means over folds and seeds; the chosen one is marked."""
    rows = []
    for result in results:
        words = ", ".join(result.trial.changes) or "as given"
        mark = (
            "chosen" if result is chosen else "" if result.complete else "not finished" if result.folds else "not tried"
        )
        values = [result.mean(metric) for metric in COLUMNS]
        cells = ["" if math.isnan(value) else f"{100 * value:.1f}" for value in values]
        rows.append([words, mark, *cells, f"{result.cpu_s / 60:.1f}"])
    title = f"{search.training.config.detector}: {search.folds}-fold cross-validation on the training videos"
    if search.seeds > 1:
        title += f", {search.seeds} seeds"
    return ResultTable(title, ["changes", "", *COLUMNS.values(), "CPU min"], rows, text_columns=2)
