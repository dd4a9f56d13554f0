"""The command line. No logic lives here: every command parses options and calls a room.

Commands of a room stand in ``cli_<room>.py``; heavy imports stay inside the commands, so that
``kgvad --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kgvad import cli_anchors, cli_detector, cli_explain, cli_kg, cli_shell, cli_video
from kgvad.errors import KgvadError

app = typer.Typer(
    name="kgvad",
    help="Find abnormal events in video and explain them with concepts from a knowledge graph.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"kgvad {version('kgvad')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for module in (cli_anchors, cli_video, cli_detector, cli_explain, cli_kg, cli_shell):
    module.register(app)


def main() -> None:
    """Entry point of ``kgvad``. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    debug = "--debug" in sys.argv
    try:
        app()
    except KgvadError as error:
        if debug:
            raise
        print(f"kgvad: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("kgvad: interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
