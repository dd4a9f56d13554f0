"""``kgvad serve``: the inbox."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.explain_options import CaptionsFile, Language, Redact
from kgvad.cli.options import OPERATE, OUTPUTS, Dataset, Device, RunFolder, example

logger = logging.getLogger(__name__)

SERVER = "Server"

Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FOLDER...", help="Folders of videos; new files in them are explained as they arrive."),
]
InboxFolder = Annotated[
    Path | None,
    typer.Option(
        "--inbox",
        help="Folder of reports, marks and uploads. Default: inbox in KGVAD_HOME.",
        rich_help_panel=OUTPUTS,
    ),
]
Host = Annotated[
    str,
    typer.Option("--host", help="Address to serve on; any but the local one requires a token.", rich_help_panel=SERVER),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.", rich_help_panel=SERVER)]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="KGVAD_TOKEN",
        help="Access token for visitors. Default: generated and printed if one is needed.",
        rich_help_panel=SERVER,
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Another name of this server, if it is behind a proxy.", rich_help_panel=SERVER),
]
MaxUpload = Annotated[
    str, typer.Option("--max-upload", help="Largest upload, such as 500MB or 4GB.", rich_help_panel=SERVER)
]


def serve(
    folders: Folders = None,
    inbox: InboxFolder = None,
    run: RunFolder = None,
    dataset: Dataset = None,
    captions: CaptionsFile = None,
    redact: Redact = None,
    language: Language = None,
    host: Host = "127.0.0.1",
    port: Port = 8472,
    token: Token = None,
    allow_host: AllowHost = None,
    max_upload: MaxUpload = "2GB",
    device: Device = None,
) -> None:
    """Serve an inbox: drop videos, read their reports, mark events, train on the marks."""
    from kgvad.errors import UsageError
    from kgvad.given import must_exist

    for folder in folders or ():
        must_exist(folder, UsageError, "give a folder of videos")
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder", "give a folder of videos")
    must_exist(captions, UsageError, "give a JSON file {video: {frame: caption}}")
    from kgvad.explainers import ExplainRequest
    from kgvad.inbox.serve import Server
    from kgvad.memory import return_large_blocks
    from kgvad.session import Session

    return_large_blocks()
    with Session(device=device, dataset=dataset, run=run, redact=redact, explaining=True) as session:
        request = ExplainRequest(captions=captions, language=language)
        Server(session, request, inbox, folders or []).run(host, port, token, allow_host or [], max_upload)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=OPERATE, epilog=example("kgvad serve videos/"))(serve)
