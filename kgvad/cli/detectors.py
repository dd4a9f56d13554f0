"""``kgvad detectors``."""

from __future__ import annotations

from typing import Annotated

import typer

from kgvad.cli.options import LOOK, example


def detectors(
    name: Annotated[str | None, typer.Argument(metavar="DETECTOR", help="Show every option of this detector.")] = None,
) -> None:
    """List the detectors with paper, requirements and default options, or show the options of one.

    Options are set with kgvad train --set NAME=VALUE.
    """
    from kgvad.console import print_table
    from kgvad.detector.describe import detail_lines, option_rows, summary_lines

    if name is None:
        print("\n".join(summary_lines()))
        return
    print("\n".join(detail_lines(name)), end="\n\n")
    print_table(option_rows(name))


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=LOOK, epilog=example("kgvad detectors vadclip"))(detectors)
