"""Commands that measure detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli_detector import Device, FeatureRoot, Lists


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, or folders of runs of several seeds.")],
    features: FeatureRoot = None,
    lists: Lists = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table as Markdown.")] = None,
    draws: Annotated[
        int,
        typer.Option("--draws", min=0, help="Bootstrap draws over videos for the intervals in the JSON, e.g. 1000."),
    ] = 0,
    device: Device = None,
) -> None:
    """Measure runs on the test videos of their dataset."""
    from kgvad.detector.evaluate import evaluate_runs
    from kgvad.files import write_json, write_text
    from kgvad.settings import load_settings

    settings = load_settings()
    report = evaluate_runs(runs, features or settings.features, lists, device or settings.device or "cpu", draws)
    if json_file is not None:
        write_json(json_file, report.as_json())
    if markdown is not None:
        write_text(markdown, report.as_markdown())
    print(report.as_markdown(), end="")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(evaluate)
