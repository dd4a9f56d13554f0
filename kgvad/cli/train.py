"""``kgvad train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import (
    INPUTS,
    MAIN_PATH,
    OUTPUTS,
    PERFORMANCE,
    TRAINING,
    Anchors,
    Dataset,
    Device,
    Lists,
    RunFolder,
    example,
)


def train(
    dataset: Dataset = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", help="Root of the feature stores, or a list of .npy files to import.", rich_help_panel=INPUTS
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", "-e", help="Which features; of a folder of videos, what to extract.", rich_help_panel=INPUTS
        ),
    ] = None,
    anchors: Anchors = None,
    captions: Annotated[
        Path | None,
        typer.Option(
            "--captions",
            help="Store of caption embeddings, for detectors that read captions (kgvad features import --to).",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    lists: Lists = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder",
            help="Name or folder of the bank's text encoder, for learn=context and learn=adapters. Default: as the "
            "bank records it.",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Training configuration (TOML or JSON): detector, options, recipe, seed. Options of the command line "
            "take precedence.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            help="Name of the detector (kgvad detectors). Default: anchor-aligned.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: an option of the detector; may be repeated.", rich_help_panel=TRAINING),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Default: the detector's.", rich_help_panel=TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Default: the detector's.", rich_help_panel=TRAINING)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            help="Normal videos in a step, and abnormal ones in equal number.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise",
            help="Centre the features and scale them to unit standard deviation.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    selection_noise: Annotated[
        float | None,
        typer.Option(
            "--selection-noise",
            min=0.0,
            help="Standard deviation of top-k selection noise, annealed to 0. Default: 0.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    validation_share: Annotated[
        float | None,
        typer.Option(
            "--validation-share",
            min=0.0,
            max=0.5,
            help="Share of the training videos held out for early stopping; the best epoch is kept. Default: 0.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            min=1,
            help="Epochs without improvement before early stopping. Default: 5.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Random seed. Default: 0.", rich_help_panel=TRAINING)
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of seeds to train.", rich_help_panel=TRAINING)
    ] = 1,
    run: RunFolder = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run with other settings.", rich_help_panel=OUTPUTS)
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Log the metrics for TensorBoard, in the run.", rich_help_panel=OUTPUTS),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=1, help="Parallel processes, one per seed.", rich_help_panel=PERFORMANCE),
    ] = 1,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            min=1,
            help="Videos in memory at a time; the gradients are those of the whole batch.",
            rich_help_panel=PERFORMANCE,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="fp32, or bf16 for mixed precision. Default: fp32.", rich_help_panel=PERFORMANCE
        ),
    ] = None,
    threshold_folds: Annotated[
        int | None,
        typer.Option(
            "--threshold-folds",
            min=0,
            help="Folds of training videos held out in turn to measure the onset threshold; each is one more training. "
            "0: none. Default: 4 for up to 300 videos, else 0.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Train a detector on videos with video-level labels.

    The same command resumes an interrupted training.
    """
    from kgvad.errors import AnchorError, FeatureError, UsageError
    from kgvad.given import must_exist
    from kgvad.settings import load_settings

    named = dataset or load_settings().dataset
    if named is None or not Path(named).expanduser().is_dir():  # of a folder of videos, both are made
        must_exist(features, FeatureError, "make features with: kgvad extract VIDEOS --output FOLDER")
        must_exist(anchors, AnchorError, "make it with: kgvad build-anchors --dataset NAME")
    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(captions, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")
    must_exist(config, UsageError, "name a TOML or JSON file")

    from kgvad.detector.registry import detector_names
    from kgvad.detector.training.options import parse_options

    options = parse_options(option or [])
    if detector is not None and detector not in detector_names():
        raise UsageError(f"unknown detector {detector!r}", f"choose one of {', '.join(detector_names())}")

    from kgvad.detector.data.folder_dataset import FolderTools
    from kgvad.detector.training.config import load_train_config
    from kgvad.detector.training.distributed import ProcessGroup
    from kgvad.detector.training.inputs import Sources, find_training_data
    from kgvad.detector.training.seeds import Training, train_seeds
    from kgvad.session import Session

    recipe = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "normal_batch": batch,
        "abnormal_batch": batch,
        "standardise": standardise or None,
        "micro_batch": micro_batch,
        "precision": precision,
        "selection_noise": selection_noise,
        "validation_share": validation_share,
        "patience": patience,
    }
    chosen = load_train_config(config, {"detector": detector, "options": options, "recipe": recipe, "seed": seed})
    with Session(dataset=dataset, features=features, anchors=anchors, run=run, device=device) as session:
        sources = Sources(
            session.features_root,
            session.settings.features_root(session.dataset_ref.name),
            session.bank_path,
            session.settings.anchors is not None,
            lists,
            encoder,
            captions,
            text_encoder,
        )
        tools = FolderTools(session.visual_encoder, session.text_encoder, lambda: session.graph)
        with ProcessGroup(session.device).main_process_first():
            data = find_training_data(session.dataset_ref, sources, chosen, tools)
        training = Training(chosen, data, session.run_folder, session.device, overwrite, tensorboard, threshold_folds)
        for folder in train_seeds(training, seeds, jobs):
            print(folder)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(
        rich_help_panel=MAIN_PATH, epilog=example("kgvad train --dataset ucf --detector vadclip --epochs 5 --seeds 3")
    )(train)
