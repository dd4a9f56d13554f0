"""Commands of ``video``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


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
    from kgvad.console import note
    from kgvad.settings import default_features, load_settings
    from kgvad.video.encoders import load_visual_encoder
    from kgvad.video.extract import extract_folder, find_videos

    find_videos(source)  # before the weights are fetched
    root = output or default_features(source.absolute().name if source.is_dir() else source.stem)
    chosen = load_visual_encoder(
        encoder,
        device or load_settings().device or "cpu",
        crop=crop.value,
        temporal=temporal.value if temporal else None,
        stride=stride,
    )
    done = extract_folder(source, root, chosen, workers=workers, encoder_name=encoder)
    print(done.store.root)
    note(f"{len(done.made)} videos extracted, {len(done.reused)} reused, {len(done.failed)} failed")
    if done.failed:
        names = ", ".join(sorted(done.failed))
        note(f"failed: {names}")
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(extract)
