"""Commands that measure detectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgvad.cli.options import Device, FeatureRoot, Lists, Temperature

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Runs, or folders of runs of several seeds; compared with the first of them."
        ),
    ],
    features: FeatureRoot = None,
    lists: Lists = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Store of caption embeddings, for runs that read them.")
    ] = None,
    smooth: Annotated[
        int, typer.Option("--smooth", min=1, help="Mean of the score over so many rows before measuring; 1: none.")
    ] = 1,
    classes: Annotated[
        str, typer.Option("--classes", help="Class probabilities for mAP: softmax, or dsanet (its paper's rule).")
    ] = "softmax",
    temperature: Temperature = 1.0,
    draws: Annotated[
        int, typer.Option("--draws", min=0, help="Bootstrap draws for intervals and p values; 0: none.")
    ] = 1000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables as Markdown.")] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Draw ROC, precision-recall, categories and score curves into this folder."),
    ] = None,
    videos: Annotated[
        list[str] | None,
        typer.Option("--video", help="With --figures: score curves of this test video; repeatable. Default: a choice."),
    ] = None,
    device: Device = None,
) -> None:
    """Measure runs on the test videos of their dataset, and compare them."""
    from kgvad.errors import FeatureError, RunError, UsageError
    from kgvad.given import must_exist

    must_exist(runs, RunError, "make one with: kgvad train")
    must_exist(features, FeatureError, "make some with: kgvad extract")
    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(text, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")

    from kgvad.detector.evaluation.evaluator import evaluate_runs
    from kgvad.detector.evaluation.plots import draw_figures
    from kgvad.detector.scoring.class_probabilities import ClassRule
    from kgvad.errors import UsageError
    from kgvad.files import refuse_inputs, write_json, write_text
    from kgvad.session import Session

    if videos and figures is None:
        raise UsageError("--video chooses score curves to draw", "name a folder with --figures")
    session = Session(device=device)
    settings = session.settings
    sources = [*runs, features or settings.features, lists, text]
    refuse_inputs({"--json": json_file, "--markdown": markdown, "--figures": figures}, sources)
    found = evaluate_runs(
        runs,
        features or settings.features,
        lists,
        text=text,
        device=session.device,
        draws=draws,
        smooth=smooth,
        rule=ClassRule(classes, temperature),
    )
    report = found.report()
    if json_file is not None:
        write_json(json_file, report.model_dump(mode="json"))
    if markdown is not None:
        write_text(markdown, report.as_markdown())
    if figures is not None:
        for path in draw_figures(found, figures, videos or ()):
            logger.info(f"{path}")
    _show(report.as_rich())


def results(
    evaluations: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[EVALUATION...]",
            help="Files of kgvad evaluate --json; default: what was measured for this version.",
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="ucf, xd or shanghaitech; repeatable. Default: all.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Collect the evaluations in one file, which is an EVALUATION again.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables as Markdown.")] = None,
) -> None:
    """Show what others published and, apart from it, what was measured here."""
    from kgvad.detector.evaluation.published import FIGURES, as_markdown, collect, measured, pieces
    from kgvad.detector.evaluation.report import rich_table
    from kgvad.files import refuse_inputs, write_json, write_text

    refuse_inputs({"--json": json_file, "--markdown": markdown}, evaluations or ())
    collection = collect(evaluations) if evaluations else measured()
    datasets = dataset or [*FIGURES, *sorted({one.dataset for one in collection.evaluations} - set(FIGURES))]
    found = pieces(collection, datasets)
    if json_file is not None:
        write_json(json_file, collection.model_dump(mode="json"))
    if markdown is not None:
        write_text(markdown, as_markdown(found))
    _show([one if isinstance(one, str) else rich_table(*one) for one in found])


def _show(parts: Sequence[Table | str]) -> None:
    """Print tables and sentences; a pipe gets lines of any length instead of folded cells."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 240
    for part in parts:
        console.print(part, markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(evaluate)
    app.command()(results)
