"""Commands of ``video``."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import INPUTS, OUTPUTS, Dataset, Device

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
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="Folder of .npy files, npz archive of segments, lists of .npy files (.csv, .list, .txt), or, with "
            "--to, a file of captions (.json, .json.gz).",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="STORE",
            help="SOURCE is a file of captions: embed it for the videos and snippets of this feature store.",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    dataset: Dataset = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            "--lists", help="Folder of the dataset's official lists. Default: beside SOURCE.", rich_help_panel=INPUTS
        ),
    ] = None,
    frames: Annotated[
        list[Path] | None,
        typer.Option("--frames", help="Table of frame counts (CSV, TSV, JSON); repeatable.", rich_help_panel=INPUTS),
    ] = None,
    listing: Annotated[
        Path | None,
        typer.Option("--list", help="With a folder: list of the files to take (CSV or .list).", rich_help_panel=INPUTS),
    ] = None,
    fps: Annotated[
        float, typer.Option(min=0.1, help="With a folder: frames per second of the videos.", rich_help_panel=INPUTS)
    ] = 30.0,
    stride: Annotated[int, typer.Option(min=1, help="With a folder: frames per snippet.", rich_help_panel=INPUTS)] = 16,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder",
            help="With --to: text encoder; use that of the anchor bank. Default: blip, else minilm.",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="Name of the encoder that made the features. Default: c3d for an archive, imported for lists.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Root of the feature stores. Default: the data folder of the user, by dataset; with --to, the root of "
            "STORE.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Import features or captions made by another program, and print the folder of the store."""
    from kgvad.errors import UsageError
    from kgvad.session import Session

    session = Session(dataset=dataset, device=device)
    if to is not None:
        from kgvad.detector.data.caption_features import import_captions
        from kgvad.video.feature_store import FeatureStore

        store = FeatureStore.open(to)
        one = _only(sources, "captions are imported from one file")
        print(import_captions(one, store, output or store.root.parent, session.text_encoder(text_encoder)).root)
        return
    if any(path.suffix.lower() in (".json", ".gz") for path in sources):
        raise UsageError("captions are imported to the videos of a feature store", "name it with --to STORE")
    if session.settings.dataset is None and output is None:
        raise UsageError("nothing says which dataset the features belong to", "name it with --dataset")
    root = output or session.settings.features_root(session.dataset)
    if any(path.is_dir() for path in sources):
        from kgvad.video.feature_import import import_features

        if encoder is None:
            raise UsageError("nothing says which encoder made the features", "name it with --encoder")
        folder = _only(sources, "folders are imported one by one")
        print(import_features(folder, root, encoder, listing=listing, fps=fps, stride=stride).root)
        return
    from kgvad.detector.data.feature_lists import import_any

    if session.settings.dataset is None:
        raise UsageError("nothing says which dataset labels the videos", "name it with --dataset")
    print(import_any(sources, session.dataset, root, lists=lists, frames=frames or [], encoder=encoder))


def _only(paths: list[Path], rule: str) -> Path:
    from kgvad.errors import UsageError

    if len(paths) > 1:
        raise UsageError(f"{len(paths)} sources were named; {rule}", "name one")
    return paths[0]


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
