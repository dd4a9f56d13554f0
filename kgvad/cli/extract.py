"""``kgvad extract``."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.addresses import write_there
from kgvad.cli.options import (
    DATA,
    INPUTS,
    OUTPUTS,
    PERFORMANCE,
    Address,
    Dataset,
    Device,
    Engine,
    EngineName,
    Gpus,
    ImageRate,
    Lists,
    example,
    ray_options,
)

logger = logging.getLogger(__name__)

SAMPLING = "Sampling"


class Crop(str, Enum):
    plain = "plain"
    centre = "centre"
    five = "five"
    ten = "ten"


class Arithmetic(str, Enum):
    fp32 = "fp32"
    bf16 = "bf16"


class Temporal(str, Enum):
    mean16 = "mean16"
    mean4 = "mean4"
    centre = "centre"
    first = "first"


Source = Annotated[
    str,
    typer.Argument(
        metavar="VIDEOS",
        help="Folder of videos, searched with its sub-folders, one video, a glob in quotes, a list (.txt, one path per "
        "line), a file, folder or glob at s3:// or gs://, a stream (rtsp://, http://), or - for standard input. A "
        "video may be a folder of images.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Fail on damaged videos instead of using what can be decoded.", rich_help_panel=INPUTS
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        min=1, help="Longest recording of a stream, in seconds. Default: until the stream ends.", rich_help_panel=INPUTS
    ),
]
Encoder = Annotated[
    str,
    typer.Option(
        "--encoder",
        "-e",
        help="Visual encoder: i3d, i3d-actions, efficientnet-lite0, clip, blip, a plugin's, or the folder "
        "of a CLIP, BLIP or SigLIP model.",
        rich_help_panel=INPUTS,
    ),
]
ExtractCrop = Annotated[
    Crop,
    typer.Option(
        help="Part of the frame: the encoder's own, the centre, or five or ten crops.", rich_help_panel=SAMPLING
    ),
]
ExtractTemporal = Annotated[
    Temporal | None,
    typer.Option(
        help="Frames of a snippet that are encoded. Default: mean4 for EfficientNet, mean16 for CLIP, BLIP and SigLIP.",
        rich_help_panel=SAMPLING,
    ),
]
Stride = Annotated[
    int,
    typer.Option(
        min=1, help="Frames per snippet; 1 for videos that hold one frame per snippet.", rich_help_panel=SAMPLING
    ),
]
Step = Annotated[
    float | None,
    typer.Option(
        help="Seconds from one row of features to the next, for i3d-actions. Default: 1.6.",
        rich_help_panel=SAMPLING,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=write_there,
        help="Root of the feature stores, or its address (s3://bucket/features). Default: in the home folder, "
        "where kgvad train looks for the features of the dataset.",
        rich_help_panel=OUTPUTS,
    ),
]
Precision = Annotated[
    Arithmetic,
    typer.Option(
        help="Arithmetic of the encoder. bf16 is for GPUs; on CPUs with bf16 instructions it speeds up only I3D. "
        "bf16 and fp32 features are never mixed.",
        rich_help_panel=PERFORMANCE,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Parallel processes. Default: one per core on a CPU, one on a GPU. With --engine ray: maximum copies of "
        "the encoder.",
        rich_help_panel=PERFORMANCE,
    ),
]


def extract(
    source: Source,
    dataset: Dataset = None,
    lists: Lists = None,
    fps: ImageRate = None,
    strict: Strict = False,
    seconds: Seconds = None,
    encoder: Encoder = "i3d",
    crop: ExtractCrop = Crop.plain,
    temporal: ExtractTemporal = None,
    stride: Stride = 16,
    step: Step = None,
    precision: Precision = Arithmetic.fp32,
    output: Output = None,
    workers: Workers = None,
    device: Device = None,
    engine: Engine = EngineName.local,
    address: Address = None,
    gpus: Gpus = None,
) -> None:
    """Extract snippet features from videos, and print the folder of the store. Run it again to resume.

    A folder with one sub-folder of videos per category is a dataset of its own, named after the folder.
    """
    from kgvad.errors import UsageError
    from kgvad.given import must_exist, videos_here, videos_must_exist

    if source != "-" and "://" not in source:
        videos_must_exist(Path(source), UsageError)
    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    cluster = ray_options(engine, address, gpus, workers, workers_here=True)

    from kgvad.detector.data.extraction import destination
    from kgvad.ray_cluster import connected
    from kgvad.session import Session
    from kgvad.settings import cache_dir
    from kgvad.video.container import Decoding
    from kgvad.video.extract import find_videos
    from kgvad.video.extract_folder import extract_folder
    from kgvad.video.image_frames import as_videos
    from kgvad.video.recording import is_stream, record
    from kgvad.video.remote_files import address_of

    given = videos_here(source) or Path(source)
    if address_of(source) is None and is_stream(source):
        given = record(source, cache_dir() / "recordings", sys.stdin.buffer, longest_s=seconds)
    elif seconds is not None:
        raise UsageError("--seconds is for addresses of streams", "leave it out")
    videos = as_videos(given, cache_dir(), fps)
    find_videos(videos)  # before the weights are fetched
    session = Session(dataset=dataset, device=device)
    place = destination(
        videos if session.settings.dataset is None else given,
        None if session.settings.dataset is None else session.dataset_ref,
        lambda name: output or session.settings.features or session.settings.features_root(name),
        lists,
    )
    logger.info("features of dataset %s: %s", place.dataset, place.root)
    options = {
        "crop": crop.value,
        "temporal": temporal.value if temporal else None,
        "stride": stride,
        "step_s": step,
        "precision": precision.value,
    }
    device = session.settings.device if cluster is not None else session.device
    with ExitStack() as stack:
        done = extract_folder(
            videos,
            place.root,
            session.visual_encoder(encoder, **options),
            workers=workers,
            encoder_name=encoder,
            decoding=Decoding(strict=strict, hardware=session.settings.hardware_decoding),
            cluster=None if cluster is None else stack.enter_context(connected(cluster, device)),
        )
    place.save_labels(done.store.ids())
    print(done.store.root)
    logger.info(done.summary())
    if done.failed:
        logger.error("failed: %s", ", ".join(sorted(done.failed)))
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=DATA, epilog=example("kgvad extract videos/ --dataset ucf --encoder i3d"))(extract)
