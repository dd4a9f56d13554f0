"""``kgvad train``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgvad.cli.options import (
    INPUTS,
    MAIN_PATH,
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
    RunFolder,
    Start,
    TrainingFeatures,
    example,
)
from kgvad.cli.training_inputs import TrainingInputs

if TYPE_CHECKING:
    from kgvad.types import Fields

logger = logging.getLogger(__name__)


Detector = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="Name of the detector (kgvad detectors). Default: anchor-aligned.",
        rich_help_panel=TRAINING,
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE: an option of the detector; may be repeated.", rich_help_panel=TRAINING),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Default: the detector's.", rich_help_panel=TRAINING)
]
LearningRate = Annotated[
    float | None, typer.Option("--learning-rate", help="Default: the detector's.", rich_help_panel=TRAINING)
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=1,
        help="Normal videos per step, with the same number of abnormal ones.",
        rich_help_panel=TRAINING,
    ),
]
Standardise = Annotated[
    bool,
    typer.Option(
        "--standardise",
        help="Centre the features and scale them to unit standard deviation.",
        rich_help_panel=TRAINING,
    ),
]
SigmaGreedy = Annotated[
    float | None,
    typer.Option(
        "--sigma-greedy",
        min=0.0,
        max=1.0,
        metavar="DECAY",
        help="At first, select the snippets of abnormal videos by distance from normal ones (SemVAD: 0.99). "
        "Default: 0, never.",
        rich_help_panel=TRAINING,
    ),
]
ValidationShare = Annotated[
    float | None,
    typer.Option(
        "--validation-share",
        min=0.0,
        max=0.5,
        help="Share of the training videos held out for early stopping; the best epoch is kept. Default: 0.",
        rich_help_panel=TRAINING,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=1,
        help="Epochs without improvement before early stopping. Default: 5.",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed. Default: 0.", rich_help_panel=TRAINING)]
DataSeed = Annotated[
    int | None,
    typer.Option(
        "--data-seed",
        min=0,
        help="Seed for the order of the training videos, shared by all seeds. Default: the value of --seed.",
        rich_help_panel=TRAINING,
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds to train.", rich_help_panel=TRAINING)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing run that has other settings.", rich_help_panel=OUTPUTS)
]
Tensorboard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Log the metrics for TensorBoard in the run folder.", rich_help_panel=OUTPUTS),
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", "-j", min=1, help="Parallel processes, one per seed.", rich_help_panel=PERFORMANCE),
]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        "--micro-batch",
        min=1,
        help="Videos in memory at a time; the gradients are those of the whole batch.",
        rich_help_panel=PERFORMANCE,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="fp32, or bf16 for mixed precision. Default: fp32.", rich_help_panel=PERFORMANCE),
]
ThresholdFolds = Annotated[
    int | None,
    typer.Option(
        "--threshold-folds",
        min=0,
        help="Folds of training videos held out in turn to measure the onset threshold; each adds one training run. "
        "0: none. Default: 4 for up to 300 videos, else 0.",
        rich_help_panel=TRAINING,
    ),
]
Fetch = Annotated[
    bool,
    typer.Option("--fetch", help="If a dataset has no features yet, download published ones.", rich_help_panel=INPUTS),
]


def train(
    dataset: Dataset = None,
    features: TrainingFeatures = None,
    encoder: FeatureEncoder = None,
    anchors: Anchors = None,
    captions: CaptionStore = None,
    caption_texts: CaptionTexts = None,
    lists: Lists = None,
    text_encoder: PromptEncoder = None,
    start: Start = None,
    config: ConfigFile = None,
    preset: Preset = None,
    detector: Detector = None,
    option: Option = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch: Batch = None,
    standardise: Standardise = False,
    sigma_greedy: SigmaGreedy = None,
    validation_share: ValidationShare = None,
    patience: Patience = None,
    seed: Seed = None,
    data_seed: DataSeed = None,
    seeds: Seeds = 1,
    run: RunFolder = None,
    overwrite: Overwrite = False,
    tensorboard: Tensorboard = False,
    jobs: Jobs = 1,
    micro_batch: MicroBatch = None,
    precision: Precision = None,
    threshold_folds: ThresholdFolds = None,
    fetch: Fetch = False,
    device: Device = None,
) -> None:
    """Train a detector on videos with video-level labels.

    The same command resumes interrupted training.
    """
    inputs = TrainingInputs(dataset, features, encoder, anchors, captions, caption_texts, lists, text_encoder, config)
    inputs.check()
    start = _start_folder(start, {"--config": config, "--preset": preset})
    options = _options(detector, option)

    from kgvad.detector.run import Run, read_config
    from kgvad.detector.training.config import load_train_config, with_start
    from kgvad.detector.training.inputs import can_score_video
    from kgvad.detector.training.seeds import Training, train_seeds
    from kgvad.session import Session
    from kgvad.sources.get import NEVER_SCORES, require_features

    recipe = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "normal_batch": batch,
        "abnormal_batch": batch,
        "standardise": standardise or None,
        "micro_batch": micro_batch,
        "precision": precision,
        "sigma_decay": sigma_greedy,
        "validation_share": validation_share,
        "patience": patience,
    }
    given = {"detector": detector, "options": options, "recipe": recipe, "seed": seed, "data_seed": data_seed}
    if start is not None:
        begin = read_config(start)
        inputs, given = replace(inputs, encoder=encoder or begin.encoder), with_start(given, begin)
    chosen = load_train_config(config, given, preset)
    with Session(dataset=dataset, features=features, anchors=anchors, run=run, device=device) as session:
        if session.settings.features is None and session.dataset_ref.kind != "folder":
            require_features(session.dataset_ref.name, session.settings, download=fetch)
        data = inputs.load(session, chosen)
        if not can_score_video(data.store):
            logger.info(NEVER_SCORES)
        first = None if start is None else Run.load(start, session.device)
        training = Training(
            chosen,
            data,
            session.run_folder,
            session.device,
            overwrite,
            tensorboard,
            threshold_folds,
            first,
            keep_epochs=epochs is not None,
        )
        for folder in train_seeds(training, seeds, jobs):
            print(folder)


def _start_folder(start: Path | None, others: Mapping[str, Path | str | None]) -> Path | None:
    """The folder of the run that ``--from`` names; ``others`` name settings too."""
    from kgvad.errors import RunError, UsageError
    from kgvad.given import must_exist, run_folder

    start = run_folder(start)
    must_exist(start, RunError, "name a run, or 'shipped'")
    for option, value in others.items():
        if start is not None and value is not None:
            raise UsageError("--from takes detector, options and recipe from a run", f"leave out {option} or --from")
    return start


def _options(detector: str | None, option: list[str] | None) -> Fields:
    """The options of ``--set``, once the detector is known to exist."""
    from kgvad.detector.registry import detector_names
    from kgvad.detector.training.options import parse_options
    from kgvad.errors import UsageError

    options = parse_options(option or [])
    if detector is not None and detector not in detector_names():
        raise UsageError(f"unknown detector {detector!r}", f"choose one of {', '.join(detector_names())}")
    return options


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(
        rich_help_panel=MAIN_PATH, epilog=example("kgvad train --dataset ucf --detector vadclip --epochs 5 --seeds 3")
    )(train)
