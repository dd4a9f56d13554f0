"""Commands about this installation: ``kgvad weights list|fetch``, ``doctor`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.help import App
from kgvad.cli.options import LOOK, example


def weights_list() -> None:
    """List the pretrained weights, their licences, and which of them are on this machine."""
    from kgvad import weights
    from kgvad.errors import WeightsError

    for one in weights.TABLE.values():
        print(f"{one.name}: {one.about}, {one.kind}, {one.megabytes} MB, {one.licence}")
        try:
            folder = weights.available(one.name)
        except WeightsError as error:
            print(f"    damaged: {error}")
        else:
            print(f"    {folder or f'not on this machine: kgvad weights fetch {one.name}'}")


Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names from kgvad weights list.")]
OfflineSet = Annotated[
    bool,
    typer.Option("--offline-set", help="All weights that need no model hub: efficientnet-lite0, i3d-k400, minilm-l6."),
]


def weights_fetch(
    names: Names = None,
    offline_set: OfflineSet = False,
) -> None:
    """Download pretrained weights, check their hashes, and print where they are."""
    from kgvad import weights
    from kgvad.errors import UsageError

    wanted = list(names or [])
    if offline_set:
        wanted += [one.name for one in weights.TABLE.values() if isinstance(one.source, weights.IndexSource)]
    if not wanted:
        raise UsageError("no weights were named", "name some from kgvad weights list, or use --offline-set")
    for name in wanted:
        weights.lookup(name)
    for name in wanted:
        print(weights.find(name))


def doctor() -> None:
    """Check the installation: libraries, device, folders, weights, and what was made for the configured dataset."""
    from kgvad.doctor import WRONG, Finding, examine
    from kgvad.errors import SettingsError
    from kgvad.session import Session

    try:
        session = Session()
    except SettingsError as error:
        print(Finding(WRONG, str(error)))
        raise typer.Exit(1) from None
    healthy = True
    for finding in examine(session):
        print(finding, flush=True)
        healthy &= finding.state != WRONG
    if not healthy:
        raise typer.Exit(1)


Output = Annotated[
    Path | None,
    typer.Argument(
        metavar="OUTPUT",
        help="Video to write, or with --dataset a folder. Default: scene.mp4, or example-videos.",
    ),
]
Dataset = Annotated[
    bool,
    typer.Option(
        "--dataset", help="Render a small labelled dataset instead: one sub-folder of short videos per category."
    ),
]


def demo(
    output: Output = None,
    dataset: Dataset = False,
) -> None:
    """Render synthetic footage, to try kgvad without videos of your own, and print its path."""
    from kgvad.files import refuse_inputs

    if dataset:
        from kgvad.video.demo_dataset import render_dataset

        print(render_dataset(output or Path("example-videos")))
        return
    from kgvad.video.demo import render

    path = output or Path("scene.mp4")
    refuse_inputs({"OUTPUT": path}, ())
    print(render(path))


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = App(help="List and download pretrained weights.")
    group.command("list", epilog=example("kgvad weights list"))(weights_list)
    group.command("fetch", epilog=example("kgvad weights fetch --offline-set"))(weights_fetch)
    app.add_typer(group, name="weights", rich_help_panel=LOOK)
    app.command(rich_help_panel=LOOK, epilog=example("kgvad doctor"))(doctor)
    app.command(rich_help_panel=LOOK, epilog=example("kgvad demo scene.mp4"))(demo)
