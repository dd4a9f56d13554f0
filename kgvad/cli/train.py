"""``kgvad train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import MAIN_PATH, Dataset, Device, FeatureRoot, Lists


def train(
    dataset: Dataset = None,
    features: FeatureRoot = None,
    anchors: Annotated[Path | None, typer.Option("--anchors", help="Anchor bank.")] = None,
    run: Annotated[Path | None, typer.Option("--run", "-r", help="Folder of the run.")] = None,
    detector: Annotated[str, typer.Option("--detector", help="Name of the detector.")] = "anchor-aligned",
    option: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: an option of the detector; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs; default: the detector's.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: the detector's.")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Normal and as many abnormal videos in a step.")
    ] = None,
    standardise: Annotated[
        bool, typer.Option("--standardise", help="Centre the features and bring them to unit deviation.")
    ] = False,
    micro_batch: Annotated[
        int | None,
        typer.Option("--micro-batch", min=1, help="Videos in memory at once; gradients stay those of the whole batch."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp32 or bf16 (half precision where it is safe). Default: fp32.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option("--sigma", min=0.0, help="Noise in the choice of rows; it fades out. Default: none.")
    ] = None,
    validate: Annotated[
        float | None,
        typer.Option(
            "--validate", min=0.0, max=0.5, help="Keep this share of the training videos back and keep the best epoch."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", min=1, help="With --validate: epochs without a better one; default 5.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Train so many runs, seed after seed.")] = 1,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="With --seeds: so many at once.")] = 1,
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="Which features; for a folder of videos, what to extract.")
    ] = None,
    lists: Lists = None,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text",
            help="Store of caption embeddings, for detectors that read them (kgvad features import --to).",
        ),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder", help="With --set learn=context or adapters: the bank's text encoder, a name or a folder."
        ),
    ] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run with other settings.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write the losses for TensorBoard, into the run.")
    ] = False,
) -> None:
    """Train a detector on videos with video-level labels; run it again to go on where it stopped."""
    from kgvad.errors import AnchorError, FeatureError, UsageError
    from kgvad.given import must_exist

    must_exist(features, FeatureError, "make features with: kgvad extract VIDEOS --output FOLDER")
    must_exist(anchors, AnchorError, "make it with: kgvad build-anchors --dataset NAME")
    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(text, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")

    from contextlib import nullcontext

    from kgvad.detector.data.training_inputs import Choices, find_inputs
    from kgvad.detector.training.distributed import Team
    from kgvad.detector.training.seeds import Order, parse_options, train_seeds, wants_anchors
    from kgvad.detector.training.tensorboard import mirrored
    from kgvad.session import Session

    session = Session(device=device)

    settings = session.settings
    options = parse_options(option or [])
    device = session.device
    with Team(device).after_first():
        inputs = find_inputs(
            Choices(dataset, features, anchors, run, lists, encoder),
            settings,
            needs_anchors=wants_anchors(detector, options),
        )
    changes = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "normal_batch": batch,
        "abnormal_batch": batch,
        "standardise": standardise or None,
        "micro_batch": micro_batch,
        "precision": precision,
        "sigma": sigma,
        "validation": validate,
        "patience": patience,
    }
    order = Order(
        inputs,
        detector,
        options,
        {name: value for name, value in changes.items() if value is not None},
        text,
        device,
        overwrite,
        text_encoder,
    )
    chosen = range(seed, seed + seeds)
    folders = [inputs.run] if seeds == 1 else [inputs.run / f"seed-{one}" for one in chosen]
    with mirrored(folders) if tensorboard and Team(device).first else nullcontext():
        for folder in train_seeds(order, chosen, jobs):
            print(folder)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=MAIN_PATH)(train)
