"""``kgvad features import|export|list|check|compare``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from kgvad.cli.addresses import read_here
from kgvad.cli.help import App
from kgvad.cli.options import DATA, INPUTS, OUTPUTS, example

if TYPE_CHECKING:
    from kgvad.anchors.text_encoders import TextEncoder as TextEncoderModel

logger = logging.getLogger(__name__)

READING = "Reading"  # panel of options
Choice = TypeVar("Choice", bound=str)


Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        help="Lists (.csv, .list, .txt), folders of arrays, npz archives. With lists, folders hold their files. "
        "With --to, captions.",
    ),
]
To = Annotated[
    Path | None,
    typer.Option("--to", metavar="STORE", help="Import SOURCE as captions for this store.", rich_help_panel=INPUTS),
]
Dataset = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Dataset; without it, no labels.", rich_help_panel=INPUTS),
]
Lists = Annotated[Path | None, typer.Option("--lists", help="Folder of the official lists.", rich_help_panel=INPUTS)]
Listing = Annotated[
    list[Path] | None, typer.Option("--list", help="Another list, in addition to SOURCE.", rich_help_panel=INPUTS)
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out videos without files.", rich_help_panel=INPUTS)
]
TextEncoder = Annotated[
    str | None,
    typer.Option("--text-encoder", help="For --to: the encoder of the anchor bank.", rich_help_panel=INPUTS),
]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="A=B", help="Meaning of a label: 0=Normal.", rich_help_panel=READING),
]
Frames = Annotated[
    list[Path] | None,
    typer.Option("--frames", help="Table of frame counts, or folder of videos.", rich_help_panel=READING),
]
Fps = Annotated[float | None, typer.Option(min=0.1, max=1000, help="Frames per second.", rich_help_panel=READING)]
Stride = Annotated[int, typer.Option(min=1, help="Frames per row.", rich_help_panel=READING)]
Layout = Annotated[str | None, typer.Option("--layout", help="uniform, even or segments.", rich_help_panel=READING)]
Spans = Annotated[
    list[Path] | None,
    typer.Option("--spans", help="Table of the start and end of each row.", rich_help_panel=READING),
]
Axes = Annotated[str | None, typer.Option("--axes", help="TD, DT, TCD or CTD (C: crops).", rich_help_panel=READING)]
Crops = Annotated[
    int | None, typer.Option("--crops", min=1, help="1: NAME_0 is a name, not a crop.", rich_help_panel=READING)
]
Stream = Annotated[str | None, typer.Option("--stream", help="rgb, flow, audio or both.", rich_help_panel=READING)]
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", "-e", help="Name of the encoder. [default: imported]", rich_help_panel=OUTPUTS),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Root of the feature stores.", rich_help_panel=OUTPUTS)
]
Device = Annotated[str | None, typer.Option("--device", help="For --to.", rich_help_panel=OUTPUTS)]


def import_(
    sources: Sources,
    to: To = None,
    dataset: Dataset = None,
    lists: Lists = None,
    listing: Listing = None,
    skip_missing: SkipMissing = False,
    text_encoder: TextEncoder = None,
    label: Label = None,
    frames: Frames = None,
    fps: Fps = None,
    stride: Stride = 16,
    layout: Layout = None,
    spans: Spans = None,
    axes: Axes = None,
    crops: Crops = None,
    stream: Stream = None,
    encoder: Encoder = None,
    output: Output = None,
    device: Device = None,
) -> None:
    """Import features or captions from another program, and print the folder of the store."""
    from kgvad.errors import FeatureError, UsageError
    from kgvad.given import must_exist
    from kgvad.session import Session

    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(frames, UsageError, "name a table of frame counts, or the folder of the videos")
    must_exist(spans, UsageError, "name a table with the start and end of each row")
    must_exist(to, FeatureError, "make features with: kgvad extract")
    if spans and layout is not None:
        raise UsageError("--spans says where each row lies, so --layout does not apply", "leave out one of them")
    session = Session(dataset=dataset, device=device)
    if to is not None:
        print(_import_captions(sources, to, output, session.text_encoder(text_encoder)))
        return
    if any(path.name.lower().endswith((".json", ".json.gz", ".srt", ".srt.gz", ".vtt", ".vtt.gz")) for path in sources):
        raise UsageError(
            "JSON and subtitles are read as captions of the videos of a feature store",
            "name the store with --to STORE; lists of features are .csv or .txt",
        )
    named = session.settings.dataset
    if named is None and output is None:
        raise UsageError(
            "the dataset of these features is unknown", "name it with --dataset, or a folder with --output"
        )

    from kgvad.detector.data.feature_import import ImportOptions, import_features

    options = ImportOptions(
        dataset=None if named is None else session.dataset_ref.name,
        lists=lists,
        frames=frames or (),
        encoder=encoder or "imported",
        stride=stride,
        layout=_one_of("--layout", layout, ("uniform", "even", "segments")),
        spans=spans or (),
        fps=fps,
        axes=_one_of("--axes", axes, ("TD", "DT", "TCD", "CTD")),
        crops=crops,
        stream=_one_of("--stream", stream, ("rgb", "flow", "audio", "both")),
        labels=_pairs(label or ()),
        skip_missing=skip_missing,
    )
    print(import_features([*sources, *(listing or ())], output or session.features_root, options).root)


def _import_captions(sources: list[Path], to: Path, output: Path | None, encoder: TextEncoderModel) -> Path:
    from kgvad.detector.data.caption_features import import_captions
    from kgvad.video.feature_store import FeatureStore

    store = FeatureStore.open(to)
    captions = _only(sources, "captions are imported from one file")
    return import_captions(captions, store, output or store.root.parent, encoder).root


def _one_of(option: str, value: str | None, known: tuple[Choice, ...]) -> Choice | None:
    from kgvad.errors import UsageError

    found = next((name for name in known if value is not None and name.casefold() == value.casefold()), None)
    if value is not None and found is None:
        raise UsageError(f"unknown {option} {value!r}", f"use one of {', '.join(known)}")
    return found


def _pairs(given: Sequence[str]) -> dict[str, str]:
    from kgvad.errors import UsageError

    pairs = {}
    for one in given:
        label, equals, meaning = one.partition("=")
        if not (equals and label.strip() and meaning.strip()):
            raise UsageError(
                f"--label {one!r} does not say what a label means", "write LABEL=CATEGORY, such as 0=Normal"
            )
        pairs[label.strip()] = meaning.strip()
    return pairs


def _only(paths: list[Path], rule: str) -> Path:
    from kgvad.errors import UsageError

    if len(paths) > 1:
        raise UsageError(f"{len(paths)} sources were named; {rule}", "name one")
    return paths[0]


First = Annotated[
    Path,
    typer.Argument(metavar="FEATURES", callback=read_here, help="Feature store, folder of .npy files, or .npy file."),
]
Second = Annotated[
    Path, typer.Argument(metavar="FEATURES", callback=read_here, help="The features to compare them with.")
]


def compare(
    first: First,
    second: Second,
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


Root = Annotated[
    Path | None,
    typer.Argument(metavar="ROOT", callback=read_here, help="Root of feature stores. Default: those of every dataset."),
]


def list_(
    root: Root = None,
) -> None:
    """List the feature stores: dataset, encoder, videos, snippets, dimensions, and folder."""
    from kgvad.console import print_table
    from kgvad.errors import FeatureError
    from kgvad.given import must_exist
    from kgvad.inventory import store_rows
    from kgvad.session import Session

    must_exist(root, FeatureError, "name the folder that holds feature stores")
    print_table(store_rows(Session(), root))


Store = Annotated[Path, typer.Argument(metavar="STORE", callback=read_here, help="Feature store.")]


def check(store: Store) -> None:
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


NewFolder = Annotated[Path, typer.Option("--output", "-o", help="New folder to write.", rich_help_panel=OUTPUTS)]
Form = Annotated[
    str,
    typer.Option(
        "--format",
        help="npy: one file per video, and lists. hdf5: one file. segments: an npz archive, 32 means per video.",
        rich_help_panel=OUTPUTS,
    ),
]


def export(store: Store, output: NewFolder, form: Form = "npy") -> None:
    """Write the features of a store for other programs, and print what "features import" reads back."""
    from kgvad.errors import FeatureError, UsageError
    from kgvad.given import must_exist

    must_exist(store, FeatureError, "make some with: kgvad extract")

    from kgvad.detector.data.feature_export import FORMS, export_features
    from kgvad.video.feature_store import FeatureStore

    chosen = _one_of("--format", form, FORMS)
    if chosen is None:
        raise UsageError("--format is empty", f"use one of {', '.join(FORMS)}")
    print(export_features(FeatureStore.open(store), output, chosen))


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = App(help="Import, export, list, check and compare stored features.")
    group.command("import", epilog=example("kgvad features import c3d.npz --dataset ucf --lists LISTS"))(import_)
    group.command(epilog=example("kgvad features export features/ucf/i3d --format hdf5 --output i3d-h5"))(export)
    group.command("list", epilog=example("kgvad features list"))(list_)
    group.command(epilog=example("kgvad features check features/ucf/i3d"))(check)
    group.command(epilog=example("kgvad features compare features/ucf/i3d mine/i3d"))(compare)
    app.add_typer(group, name="features", rich_help_panel=DATA)
