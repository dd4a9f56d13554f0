"""``kgvad features import|list|check|compare``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.help import App
from kgvad.cli.options import DATA, INPUTS, OUTPUTS, Dataset, Device, example

logger = logging.getLogger(__name__)


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
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
            help="Root of the feature stores. Default: the place of the dataset's features in the home folder; with "
            "--to, the root of STORE.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Import features or captions made by another program, and print the folder of the store."""
    from kgvad.errors import FeatureError, UsageError
    from kgvad.given import must_exist
    from kgvad.session import Session

    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(to, FeatureError, "make features with: kgvad extract")
    session = Session(dataset=dataset, device=device)
    if to is not None:
        from kgvad.detector.data.caption_features import import_captions
        from kgvad.video.feature_store import FeatureStore

        captions = _only(sources, "captions are imported from one file")
        store = FeatureStore.open(to)
        encoder_of_text = session.text_encoder(text_encoder)
        print(import_captions(captions, store, output or store.root.parent, encoder_of_text).root)
        return
    if any(path.suffix.lower() in (".json", ".gz") for path in sources):
        raise UsageError("captions are imported for the videos of a feature store", "name the store with --to STORE")
    folders = any(path.is_dir() for path in sources)
    if session.settings.dataset is None and not (folders and output):
        raise UsageError("the dataset of these features is unknown", "name it with --dataset")
    if folders:
        from kgvad.video.feature_import import import_features

        if encoder is None:
            raise UsageError("the encoder that made these features is unknown", "name it with --encoder")
        folder, root = _only(sources, "folders are imported one at a time"), output or session.features_root
        print(import_features(folder, root, encoder, listing=listing, fps=fps, stride=stride).root)
    else:
        from kgvad.detector.data.feature_lists import import_any

        name, root = session.dataset_ref.name, output or session.features_root
        print(import_any(sources, name, root, lists=lists, frames=frames or [], encoder=encoder))


def _only(paths: list[Path], rule: str) -> Path:
    from kgvad.errors import UsageError

    if len(paths) > 1:
        raise UsageError(f"{len(paths)} sources were named; {rule}", "name one")
    return paths[0]


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="FEATURES", help="Feature store, folder of .npy files, or .npy file.")
    ],
    second: Annotated[Path, typer.Argument(metavar="FEATURES", help="The features to compare them with.")],
) -> None:
    """Compare two sets of features video by video, by the cosine of each pair of snippets."""
    from kgvad.errors import FeatureError
    from kgvad.given import must_exist

    must_exist([first, second], FeatureError, "name a feature store, a folder of .npy files, or a .npy file")

    from kgvad.console import print_table
    from kgvad.video.feature_comparison import compare_features

    rows = [("video", "snippets", "mean_cosine", "min_cosine", "worst_snippet", "length_ratio", "verdict")]
    for one in compare_features(first, second):
        snippets = str(one.rows_a) if one.rows_a == one.rows_b else f"{one.rows_a}/{one.rows_b}"
        cosines = f"{one.mean_cosine:.4f}", f"{one.min_cosine:.4f}"
        rows.append((one.video, snippets, *cosines, str(one.worst_row), f"{one.length_ratio:.3f}", one.verdict))
    print_table(rows)


def list_(
    root: Annotated[
        Path | None,
        typer.Argument(metavar="ROOT", help="Root of feature stores. Default: those of every dataset."),
    ] = None,
) -> None:
    """List the feature stores: dataset, encoder, videos, snippets, dimensions, and folder."""
    from kgvad.console import print_table
    from kgvad.errors import FeatureError
    from kgvad.given import must_exist
    from kgvad.inventory import store_rows
    from kgvad.session import Session

    must_exist(root, FeatureError, "name the folder that holds feature stores")
    print_table(store_rows(Session(), root))


def check(store: Annotated[Path, typer.Argument(metavar="STORE", help="Feature store.")]) -> None:
    """Show how the features of a store were made, and read every array; exit with 1 if one is damaged."""
    from kgvad.errors import FeatureError
    from kgvad.given import must_exist

    must_exist(store, FeatureError, "make some with: kgvad extract")

    from kgvad.inventory import check_store
    from kgvad.video.feature_store import FeatureStore

    lines, faults = check_store(FeatureStore.open(store))
    print("\n".join(lines))
    for fault in faults:
        logger.error(fault)
    if faults:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = App(help="Import, list, check and compare stored features.")
    group.command("import", epilog=example("kgvad features import c3d.npz --dataset ucf --lists LISTS"))(import_)
    group.command("list", epilog=example("kgvad features list"))(list_)
    group.command(epilog=example("kgvad features check features/ucf/i3d"))(check)
    group.command(epilog=example("kgvad features compare features/ucf/i3d mine/i3d"))(compare)
    app.add_typer(group, name="features", rich_help_panel=DATA)
