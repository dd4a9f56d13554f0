"""The command line. No logic lives here: every command parses options and calls a package.

One module a group of commands; heavy imports stay inside the commands, so that
``kgvad --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from kgvad.cli import anchors, evaluate, explain, features, kg, score, setup, train
from kgvad.errors import KgvadError, unexpected
from kgvad.streams import OutputError, guard_streams

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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also messages for debugging on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    from kgvad.console import configure_logging

    configure_logging(-1 if quiet else 1 if verbose else 0)


for module in (anchors, features, train, evaluate, score, explain, kg, setup):
    module.register(app)

# Click's base of usage errors, wherever this version of typer keeps click.
_WRONG_USE: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Entry point of ``kgvad``. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted, 141 output not read."""
    guard_streams()
    try:
        _run()
    except OutputError as error:
        if error.is_closed_pipe:
            sys.exit(141)  # as a shell reports SIGPIPE
        _fail(f"cannot write the results: {error}", 1)


def _run() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # it may stand anywhere
    try:
        code = app(arguments, standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except KgvadError as error:
        if "--debug" in sys.argv:
            raise
        _fail(str(error), error.exit_code)
    except _WRONG_USE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        path = error.ctx.command_path if getattr(error, "ctx", None) else "kgvad"
        message = error.format_message().rstrip(".")
        _fail(f"{message}; see: {path} --help", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("kgvad: interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _fail(unexpected(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    print(f"kgvad: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
