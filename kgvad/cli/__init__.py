"""The command line. Every command parses its options, builds a :class:`~kgvad.session.Session` and calls a package.

One module per group of commands. Heavy imports stay inside the commands, so that ``kgvad --help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from kgvad.cli import (
    anchors,
    caption,
    check,
    datasets,
    detectors,
    evaluate,
    explain,
    extract,
    features,
    kg,
    score,
    serve,
    setup,
    train,
    tune,
    verify,
    watch,
)
from kgvad.cli.help import App
from kgvad.errors import KgvadError, unexpected
from kgvad.signals import Interrupted, ending_signals_raise
from kgvad.streams import OutputError, guard_streams

app = App(
    name="kgvad",
    help="Find abnormal events in video and explain them with concepts from a knowledge graph.",
    epilog="Example: kgvad explain video.mp4 --output report.html",
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"kgvad {version('kgvad')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also log details.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    from kgvad.console import configure_logging

    configure_logging(-1 if quiet else 1 if verbose else 0)


# Panels and commands appear in `kgvad --help` in this order.
for module in (
    anchors,
    train,
    extract,
    caption,
    datasets,
    features,
    explain,
    watch,
    evaluate,
    tune,
    score,
    serve,
    check,
    verify,
    kg,
    detectors,
    setup,
):
    module.register(app)

ANYWHERE = ("--debug", "--quiet", "-q", "--verbose", "-v")  # global options that may follow the command

# Base class of click's usage errors, wherever this version of typer keeps click.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Entry point of ``kgvad``.

    Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted (143: by SIGTERM), 141 nobody reads the output.
    """
    guard_streams()
    try:
        with ending_signals_raise():
            _run(global_options_first(sys.argv[1:]))
    except OutputError as error:
        if error.is_closed_pipe:
            sys.exit(141)  # as a shell reports SIGPIPE
        _fail(f"cannot write the results: {error}", 1)


def global_options_first(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the global options moved to the front, from anywhere before ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own = [argument for argument in arguments[:end] if argument in ANYWHERE]
    rest = [argument for argument in arguments[:end] if argument not in ANYWHERE]
    return [*own, *rest, *arguments[end:]]


def _run(arguments: list[str]) -> None:
    debug = "--debug" in arguments
    try:
        code = app(arguments, standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except KgvadError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            sys.exit(2)
        path = error.ctx.command_path if getattr(error, "ctx", None) else _command_path(arguments)
        message = error.format_message().rstrip(".")
        _fail(f"{message}; see: {path} --help", error.exit_code)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as error:
        print("kgvad: interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, Interrupted) else 130)
    except Exception as error:
        if debug:
            raise
        _fail(unexpected(error), 1)


def _command_path(arguments: Sequence[str]) -> str:
    """The command that ``arguments`` begin with, where an error does not say it: ``kgvad kg show``."""
    command: Any = typer.main.get_command(app)
    path = "kgvad"
    for word in arguments:
        if word not in getattr(command, "commands", {}):
            if word.startswith("-"):
                continue
            break
        command, path = command.commands[word], f"{path} {word}"
    return path


def _fail(message: str, code: int) -> NoReturn:
    print(f"kgvad: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
