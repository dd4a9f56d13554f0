"""``kgvad score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.addresses import read_here, write_there
from kgvad.cli.options import INPUTS, MEASURE, OUTPUTS, PERFORMANCE, Device, Temperature, example
from kgvad.given import run_folder

Features = Annotated[
    Path, typer.Argument(metavar="FEATURES", callback=read_here, help="Feature store, or its address.")
]
Run = Annotated[Path, typer.Option("--run", "-r", callback=run_folder, help="Trained run.", rich_help_panel=INPUTS)]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        callback=write_there,
        help="Folder for the scores, one file per video, or its address.",
        rich_help_panel=OUTPUTS,
    ),
]
Videos = Annotated[
    list[str] | None, typer.Option("--video", help="Score only this video; repeatable.", rich_help_panel=INPUTS)
]
Text = Annotated[
    Path | None,
    typer.Option(
        "--captions", help="Store of caption embeddings, for a run trained with captions.", rich_help_panel=INPUTS
    ),
]
Open = Annotated[
    list[str] | None,
    typer.Option(
        "--open",
        help="Add a category without training: words, or a Wikidata item such as Q4654740; repeatable.",
        rich_help_panel=INPUTS,
    ),
]
Form = Annotated[str, typer.Option("--format", "-f", help="File format: npz, csv or json.", rich_help_panel=OUTPUTS)]
ScoreClassRule = Annotated[
    str | None,
    typer.Option(
        "--class-probabilities",
        metavar="RULE",
        help="Also write class probabilities: softmax, or dsanet (the rule of the DSANet paper).",
        rich_help_panel=OUTPUTS,
    ),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        min=2,
        help="Snippets scored together; longer videos are scored in overlapping chunks. Default: the detector's limit.",
        rich_help_panel=PERFORMANCE,
    ),
]


def score(
    features: Features,
    run: Run,
    output: Output,
    videos: Videos = None,
    text: Text = None,
    open_: Open = None,
    form: Form = "npz",
    class_rule: ScoreClassRule = None,
    temperature: Temperature = 1.0,
    chunk: Chunk = None,
    device: Device = None,
) -> None:
    """Score the videos of a feature store with a trained run, and print the files."""
    from kgvad.errors import FeatureError, RunError, UsageError
    from kgvad.given import must_exist

    if form not in ("npz", "csv", "json"):
        raise UsageError(f"unknown --format {form!r}", "use npz, csv or json")
    if class_rule is None and temperature != 1:
        raise UsageError("--temperature needs class probabilities", "add --class-probabilities softmax or dsanet")
    must_exist(features, FeatureError, "make some with: kgvad extract")
    must_exist(run, RunError, "make one with: kgvad train")
    must_exist(text, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")

    from kgvad.detector.scoring.class_probabilities import ClassRule
    from kgvad.detector.scoring.infer import ScoreJob, score_store
    from kgvad.session import Session

    session = Session(device=device)
    job = ScoreJob(
        features=features,
        run=run,
        output=output,
        format=form,
        videos=videos,
        queries=open_ or (),
        knowledge_graph=session.settings.store,
        text=text,
        chunk=chunk,
        class_rule=None if class_rule is None else ClassRule(class_rule, temperature),
        device=session.device,
    )
    for path in score_store(job):
        print(path)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=MEASURE, epilog=example("kgvad score STORE --run RUN --output scores/"))(score)
