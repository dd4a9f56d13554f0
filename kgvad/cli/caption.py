"""``kgvad caption``."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import (
    DATA,
    OUTPUTS,
    Address,
    Device,
    Engine,
    EngineName,
    Gpus,
    ImageRate,
    Workers,
    example,
    ray_options,
)

logger = logging.getLogger(__name__)

CAPTIONER = "Captioner"

Source = Annotated[
    Path,
    typer.Argument(metavar="VIDEOS", help="Folder, glob (in quotes) or list of videos, or one video."),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="File to write: .json or .json.gz.", rich_help_panel=OUTPUTS)
]
CaptionerName = Annotated[
    str | None,
    typer.Option(
        "--captioner",
        help="blip, OWNER/MODEL on the hub, a model folder, or the address of an OpenAI-compatible service, to "
        "which pictures are then sent. Default: blip.",
        rich_help_panel=CAPTIONER,
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", help="Name of the model on the service.", rich_help_panel=CAPTIONER)
]
Prompt = Annotated[
    Path | None,
    typer.Option("--prompt", help="Text file with the prompt, for chat models.", rich_help_panel=CAPTIONER),
]
Every = Annotated[float, typer.Option("--every", min=0.1, help="Seconds per caption.", rich_help_panel=CAPTIONER)]
TrustRemoteCode = Annotated[
    str | None,
    typer.Option(
        "--trust-remote-code",
        metavar="MODEL",
        help="Execute this model's own code. Only for a model that you trust.",
        rich_help_panel=CAPTIONER,
    ),
]


def caption(
    source: Source,
    output: Output,
    captioner: CaptionerName = None,
    model: Model = None,
    prompt: Prompt = None,
    every: Every = 2.0,
    trust_remote_code: TrustRemoteCode = None,
    fps: ImageRate = None,
    device: Device = None,
    engine: Engine = EngineName.local,
    address: Address = None,
    gpus: Gpus = None,
    workers: Workers = None,
) -> None:
    """Caption videos, and print the path of the file. Run it again to resume.

    Every --captions option reads this file.
    """
    from kgvad.console import count_of
    from kgvad.errors import UsageError
    from kgvad.explain.checked_text import read_text
    from kgvad.given import must_exist, videos_here, videos_must_exist

    source = videos_here(source) or source
    videos_must_exist(source, UsageError)
    must_exist(prompt, UsageError, "give a text file")
    cluster = ray_options(engine, address, gpus, workers)

    from kgvad.ray_cluster import connected
    from kgvad.session import Session
    from kgvad.settings import cache_dir
    from kgvad.video.captioners.caption_cluster import caption_on_cluster
    from kgvad.video.captioners.caption_folder import caption_folder
    from kgvad.video.extract import find_videos
    from kgvad.video.image_frames import as_videos

    videos = as_videos(source, cache_dir(), fps)
    find_videos(videos)  # before the model is loaded
    text = None if prompt is None else read_text(prompt)
    session = Session(captioner=captioner, caption_model=model, device=device)
    loaded = session.captioner(text, trust_remote_code)
    with ExitStack() as stack:
        remote = None
        if cluster is not None:
            remote = partial(
                caption_on_cluster,
                captioner=loaded,
                name=session.settings.captioner,
                options=session.captioner_options(text, trust_remote_code),
                every_s=every,
                on=stack.enter_context(connected(cluster, session.settings.device)),
            )
        done = caption_folder(videos, output, loaded, every, remote)
    print(done.file)
    made = count_of(len(done.made), "video")
    logger.info("%s captioned, %d reused, %d failed", made, len(done.reused), len(done.failed))
    if done.clips:
        logger.info("the model captioned %d of %d clips; the others look like the clip before", done.asked, done.clips)
    if done.failed:
        logger.error("failed: %s", ", ".join(sorted(done.failed)))
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=DATA, epilog=example("kgvad caption videos/ --output captions.json.gz"))(caption)
