"""``kgvad score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import MEASURE, Device, Temperature


def score(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="Feature store.")],
    run: Annotated[Path, typer.Option("--run", "-r", help="Trained run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the scores, one file per video.")],
    form: Annotated[str, typer.Option("--format", help="npz, csv or json.")] = "npz",
    videos: Annotated[list[str] | None, typer.Option("--video", help="Only this video; may be repeated.")] = None,
    open_: Annotated[
        list[str] | None,
        typer.Option("--open", help="Also name this, without training: words, or an item such as Q4654740."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Store of caption embeddings, for a run that reads them.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option("--chunk", min=2, help="Rows to look at at once; default: what the detector takes.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Also write class probabilities: softmax, or dsanet (its paper's rule)."),
    ] = None,
    temperature: Temperature = 1.0,
    device: Device = None,
) -> None:
    """Score the videos of a feature store with a trained run."""
    from kgvad.errors import FeatureError, RunError, UsageError
    from kgvad.given import must_exist

    if form not in ("npz", "csv", "json"):
        raise UsageError(f"--format {form!r} is unknown", "use npz, csv or json")
    must_exist(features, FeatureError, "make some with: kgvad extract")
    must_exist(run, RunError, "make one with: kgvad train")
    must_exist(text, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")

    from kgvad.detector.scoring.class_probabilities import ClassRule
    from kgvad.detector.scoring.infer import score_store
    from kgvad.session import Session

    if classes is None and temperature != 1:
        raise UsageError("--temperature is for class probabilities", "add --classes softmax or dsanet")
    session = Session(device=device)
    settings = session.settings
    for path in score_store(
        features,
        run,
        output,
        form=form,
        videos=videos,
        queries=open_ or (),
        text=text,
        chunk=chunk,
        classes=None if classes is None else ClassRule(classes, temperature),
        device=session.device,
        settings=settings,
    ):
        print(path)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=MEASURE)(score)
