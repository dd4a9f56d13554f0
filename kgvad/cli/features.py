"""Commands of ``video``."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

logger = logging.getLogger(__name__)


class Crop(str, Enum):
    plain = "plain"
    centre = "centre"
    ten = "ten"


class Temporal(str, Enum):
    mean16 = "mean16"
    mean4 = "mean4"
    centre = "centre"
    first = "first"


def extract(
    source: Annotated[
        Path, typer.Argument(metavar="VIDEOS", help="Folder of videos, searched with its sub-folders, or one video.")
    ],
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder", "-e", help="i3d, efficientnet-lite0, clip, blip, or the folder of a CLIP or BLIP model."
        ),
    ] = "i3d",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Root of the feature stores; default: the user's data folder, by the name of VIDEOS."
        ),
    ] = None,
    crop: Annotated[
        Crop, typer.Option(help="Part of a frame: the encoder's own, the middle, or ten crops.")
    ] = Crop.plain,
    temporal: Annotated[
        Temporal | None,
        typer.Option(help="Which frames of a snippet; default mean4 for EfficientNet, mean16 for CLIP and BLIP."),
    ] = None,
    stride: Annotated[
        int, typer.Option(min=1, help="Frames per row of features; 1 for footage with one frame a snippet.")
    ] = 16,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core, one on a GPU.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device; default: of kgvad.toml, else cpu.")] = None,
) -> None:
    """Turn videos into snippet features; run it again to go on where it stopped."""
    from kgvad.errors import UsageError
    from kgvad.given import must_exist

    must_exist(source, UsageError, "name a video or a folder of videos")

    from kgvad.session import Session
    from kgvad.settings import default_features
    from kgvad.video.encoders.base import load_visual_encoder
    from kgvad.video.extract import extract_folder, find_videos

    find_videos(source)  # before the weights are fetched
    root = output or default_features(source.absolute().name if source.is_dir() else source.stem)
    chosen = load_visual_encoder(
        encoder,
        Session(device=device).device,
        crop=crop.value,
        temporal=temporal.value if temporal else None,
        stride=stride,
    )
    done = extract_folder(source, root, chosen, workers=workers, encoder_name=encoder)
    print(done.store.root)
    logger.info(f"{len(done.made)} videos extracted, {len(done.reused)} reused, {len(done.failed)} failed")
    if done.failed:
        names = ", ".join(sorted(done.failed))
        logger.info(f"failed: {names}")
        raise typer.Exit(1)


def compare(
    a: Annotated[Path, typer.Argument(help="Feature store, folder of .npy files, or one .npy file.")],
    b: Annotated[Path, typer.Argument(help="The same, to compare with.")],
) -> None:
    """Say whether two sets of features are the same, video by video."""
    from kgvad.video.feature_comparison import compare_features

    print("video\trows\tmean_cosine\tmin_cosine\tworst_row\tlength_ratio\tverdict")
    for one in compare_features(a, b):
        rows = str(one.rows_a) if one.rows_a == one.rows_b else f"{one.rows_a}/{one.rows_b}"
        print(
            f"{one.video}\t{rows}\t{one.mean_cosine:.4f}\t{one.min_cosine:.4f}\t{one.worst_row}"
            f"\t{one.length_ratio:.3f}\t{one.verdict}"
        )


def import_(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of .npy files.")],
    encoder: Annotated[str, typer.Option("--encoder", "-e", help="Name for what made them, e.g. vadclip-vit-b16.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Root of the feature stores.")],
    listing: Annotated[
        Path | None, typer.Option("--list", help="VadCLIP's CSV, or the .list file of RTFM and DeepMIL.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, help="Frames a second of the videos.")] = 30.0,
    stride: Annotated[int, typer.Option(min=1, help="Frames per row.")] = 16,
) -> None:
    """Take features of another program into a feature store."""
    from kgvad.video.feature_import import import_features

    print(import_features(source, output, encoder, listing=listing, fps=fps, stride=stride).root)


def info(store: Annotated[Path, typer.Argument(help="Feature store.")]) -> None:
    """Say how the features of a store were made, and check every array."""
    from kgvad.video.feature_store import FeatureStore

    opened = FeatureStore.open(store)
    made = opened.manifest
    rows = sum(opened.load(video).shape[-2] for video in opened.ids())
    for name in ("encoder", "dim", "crop", "crops", "temporal", "stride", "weights", "fingerprint", "made_by", "note"):
        print(f"{name}: {getattr(made, name)}")
    print(f"videos: {len(opened.ids())}\nrows: {rows}")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(extract)
    features = typer.Typer(no_args_is_help=True, help="Look at, compare and import stored features.")
    features.command()(compare)
    features.command("import")(import_)
    features.command()(info)
    app.add_typer(features, name="features")
