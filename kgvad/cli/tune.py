"""``kgvad tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import (
    INPUTS,
    MEASURE,
    OUTPUTS,
    PERFORMANCE,
    TRAINING,
    Anchors,
    CaptionStore,
    CaptionTexts,
    ConfigFile,
    Dataset,
    Device,
    FeatureEncoder,
    Lists,
    Preset,
    PromptEncoder,
    TrainingFeatures,
    example,
)
from kgvad.cli.training_inputs import TrainingInputs

Detectors = Annotated[
    list[str], typer.Argument(metavar="DETECTOR...", help="Detectors to tune, each by the same rule.")
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder for the results; the same folder resumes the search.", rich_help_panel=OUTPUTS
    ),
]
Annotations = Annotated[
    Path | None,
    typer.Option(
        "--annotations",
        help="Abnormal times of training videos, in any format that kgvad evaluate --annotations reads, for the "
        "frame-level AUC of held-out videos. They are not used for training.",
        rich_help_panel=INPUTS,
    ),
]
Grid = Annotated[
    Path | None,
    typer.Option("--grid", help="Table of configurations (TOML). Default: the bundled one.", rich_help_panel=TRAINING),
]
Folds = Annotated[
    int, typer.Option("--folds", min=2, help="Folds of training videos held out in turn.", rich_help_panel=TRAINING)
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        min=0.01,
        help="CPU minutes for each detector, after which no fold is started. Default: no limit.",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of every training run, or of the first.", rich_help_panel=TRAINING)
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds",
        min=1,
        help="Training runs per fold, with successive seeds; use several if results vary with the seed.",
        rich_help_panel=TRAINING,
    ),
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", "-j", min=1, help="Configurations tried in parallel.", rich_help_panel=PERFORMANCE),
]


def tune(
    detectors: Detectors,
    output: Output,
    dataset: Dataset = None,
    features: TrainingFeatures = None,
    encoder: FeatureEncoder = None,
    anchors: Anchors = None,
    captions: CaptionStore = None,
    caption_texts: CaptionTexts = None,
    lists: Lists = None,
    text_encoder: PromptEncoder = None,
    annotations: Annotations = None,
    config: ConfigFile = None,
    preset: Preset = None,
    grid: Grid = None,
    folds: Folds = 5,
    budget: Budget = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    jobs: Jobs = 1,
    device: Device = None,
) -> None:
    """Choose the configuration of detectors by cross-validation on the training videos.

    Every detector has its own grid and the same rule: the highest video-level AUC on held-out videos, or its mean with
    frame-level AUC if --annotations gives frame labels. Test videos are never read. The chosen configuration is written
    to OUTPUT/DETECTOR.json, which kgvad train --config reads, and everything that was tried to
    OUTPUT/DETECTOR.tried.json and DETECTOR.md.
    """
    inputs = TrainingInputs(dataset, features, encoder, anchors, captions, caption_texts, lists, text_encoder, config)
    inputs.check()

    from kgvad.errors import UsageError
    from kgvad.given import must_be_folder, must_exist

    must_be_folder(output, "--output")
    must_exist(annotations, UsageError, "name a table of events, or a folder of 0/1 arrays")
    must_exist(grid, UsageError, "name a TOML file")

    from kgvad.cli.evaluate import show
    from kgvad.detector.training.config import load_train_config
    from kgvad.detector.training.grid import make_trials, read_grid
    from kgvad.detector.training.seeds import Training
    from kgvad.detector.training.tune import Search, read_times, tune
    from kgvad.detector.training.tune_report import write_report
    from kgvad.session import Session

    # the mistakes of all detectors before the first search, which may take hours
    bases = [load_train_config(config, {"detector": name, "seed": seed}, preset) for name in detectors]
    grids = [tuple(make_trials(base, read_grid(base.detector, grid))) for base in bases]
    with Session(dataset=dataset, features=features, anchors=anchors, device=device) as session:
        for base, trials in zip(bases, grids, strict=True):
            data = inputs.load(session, base)
            known = {} if annotations is None else read_times(annotations, data)
            training = Training(base, data, output, session.device, threshold_folds=0)
            search = Search(training, trials, output, folds, seeds, None if budget is None else 60 * budget, known)
            report = write_report(search, tune(search, jobs), output)
            show([report.as_rich()])
            print(output / f"{base.detector}.json")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(
        rich_help_panel=MEASURE,
        epilog=example("kgvad tune sultani anchor-aligned --dataset ucf --output tuned --jobs 2"),
    )(tune)
