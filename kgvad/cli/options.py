"""Options and help panels that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgvad.cli.addresses import read_here
from kgvad.given import run_folder

if TYPE_CHECKING:
    from kgvad.ray_cluster import RayOptions

# Panels of `kgvad --help`, in this order.
MAIN_PATH = "Main path"
DATA = "Data"
OPERATE = "Operate"
MEASURE = "Measure"
LOOK = "Look"

# Panels of `kgvad kg COMMAND --help`.
SERVICE = "Service"

# Panels of options within `kgvad COMMAND --help`.
INPUTS = "Inputs"
OUTPUTS = "Outputs"
TRAINING = "Training"
EVENTS = "Events"
REPORT = "Report"
PERFORMANCE = "Performance"

Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "-d",
        help="A bundled name such as ucf, a category table (my.toml), or a folder with one sub-folder of videos per "
        "category.",
        rich_help_panel=INPUTS,
    ),
]
FeatureRoot = Annotated[
    Path | None,
    typer.Option(
        "--features", callback=read_here, help="Root of the feature stores, or its address.", rich_help_panel=INPUTS
    ),
]
Anchors = Annotated[Path | None, typer.Option("--anchors", help="Anchor bank.", rich_help_panel=INPUTS)]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run",
        "-r",
        callback=run_folder,
        help="Folder of the run; 'shipped' is the one that comes with kgvad.",
        rich_help_panel=INPUTS,
    ),
]
Lists = Annotated[
    Path | None, typer.Option("--lists", help="Folder of the dataset's official lists.", rich_help_panel=INPUTS)
]
TrainingFeatures = Annotated[
    Path | None,
    typer.Option(
        "--features",
        callback=read_here,
        help="Root of the feature stores, or its address (s3://bucket/features), or a list of .npy files to import.",
        rich_help_panel=INPUTS,
    ),
]
FeatureEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Visual encoder, also for a folder of videos.",
        rich_help_panel=INPUTS,
    ),
]
CaptionStore = Annotated[
    Path | None,
    typer.Option(
        "--captions",
        help="Store of caption embeddings, for detectors that read captions (kgvad features import --to).",
        rich_help_panel=INPUTS,
    ),
]
CaptionTexts = Annotated[
    Path | None,
    typer.Option(
        "--caption-texts",
        help="The captions themselves (JSON: {video: {frame: caption}}), for detectors that read their words.",
        rich_help_panel=INPUTS,
    ),
]
PromptEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder",
        help="Name or folder of the bank's text encoder, for learn=context and learn=adapters. Default: the "
        "one recorded in the bank.",
        rich_help_panel=INPUTS,
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Run to start from: its weights replace the prior, with the same ridge penalty, and its detector, "
        "options and encoder are used. 'shipped' is the run that comes with kgvad. The gain on held-out videos "
        "is measured.",
        rich_help_panel=INPUTS,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Training configuration (TOML or JSON): detector, options, recipe, seed. Command-line options "
        "take precedence.",
        rich_help_panel=TRAINING,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Published settings: vadclip-ucf, vadclip-xd, semvad-ucf, semvad-xd; with -released, those of the "
        "authors' code (semvad). --config and options take precedence.",
        rich_help_panel=TRAINING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", help="Torch device: auto, cpu, cuda, cuda:1, mps. Default: auto.", rich_help_panel=PERFORMANCE
    ),
]


class EngineName(str, Enum):
    local = "local"
    ray = "ray"


CLUSTER = "Cluster"
Engine = Annotated[
    EngineName,
    typer.Option(help="Where the work is done: this process, or Ray (kgvad[ray]).", rich_help_panel=CLUSTER),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Ray cluster: auto, or HOST:PORT. Default: one on this machine for this command.",
        rich_help_panel=CLUSTER,
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus",
        min=0,
        help="GPUs for each copy of the model on the Ray cluster, such as 0.25. Default: 1 if there are any.",
        rich_help_panel=CLUSTER,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Maximum copies of the model on the Ray cluster. Default: as many as fit.",
        rich_help_panel=CLUSTER,
    ),
]
ImageRate = Annotated[
    float | None,
    typer.Option(
        "--fps",
        min=0.1,
        help="Frames per second of videos given as folders or zip archives of images. Default: 25.",
        rich_help_panel=INPUTS,
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature",
        help="Temperature of --class-probabilities; higher is flatter. DSANet: 5 on ucf, 1 on xd.",
        rich_help_panel=OUTPUTS,
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="SQLAlchemy URL of the knowledge-graph cache. Default: a file in the cache folder.",
        rich_help_panel=INPUTS,
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="SPARQL 1.1 service. Default: the query service of Wikidata.",
        rich_help_panel=SERVICE,
    ),
]
Contact = Annotated[
    str | None,
    typer.Option("--contact", help="Your e-mail address or web page, sent to the service.", rich_help_panel=SERVICE),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Send no request; fail if something is not in the cache.", rich_help_panel=SERVICE),
]
Tries = Annotated[
    int, typer.Option("--tries", min=1, help="Attempts per request before giving up.", rich_help_panel=SERVICE)
]


def ray_options(
    engine: EngineName, address: str | None, gpus: float | None, models: int | None, *, workers_here: bool = False
) -> RayOptions | None:
    """What the options of the panel Cluster say; ``None``: the work is done in this process.

    ``workers_here``: whether ``--workers`` also works without Ray.

    Raises
    ------
    UsageError
        An option of the cluster without ``--engine ray``.
    """
    from kgvad.errors import UsageError
    from kgvad.ray_cluster import RayOptions

    if engine is EngineName.ray:
        return RayOptions(address, gpus, models)
    if address is not None or gpus is not None:
        raise UsageError("--address and --gpus are for --engine ray", "add it, or leave them out")
    if models is not None and not workers_here:
        raise UsageError("--workers is for --engine ray", "add it, or leave --workers out")
    return None


def example(command: str) -> str:
    """Epilog of a command's ``--help``: one line that works as it stands or with the reader's own names."""
    return f"Example: {command}"
