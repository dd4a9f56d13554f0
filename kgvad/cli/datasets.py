"""``kgvad datasets list|show|get|init``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.help import App
from kgvad.cli.options import DATA, INPUTS, OUTPUTS, Contact, Endpoint, Offline, StoreUrl, Tries, example

logger = logging.getLogger(__name__)


def list_() -> None:
    """List the bundled datasets and those you prepared, with the anchors, features and runs of each.

    kgvad datasets get lists what can be downloaded.
    """
    from kgvad.console import print_table
    from kgvad.inventory import dataset_rows
    from kgvad.session import Session

    print_table(dataset_rows(Session()))


Name = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASET",
        help="A dataset such as ucf, a category table (my.toml), a folder with one sub-folder of videos per category, "
        "or a published source such as ucf-rgb-flow. Default: the configured dataset.",
    ),
]


def show(
    name: Name = None,
) -> None:
    """Show the categories of a dataset with their Wikidata items, and where its anchors, features and run are.

    For a published source, it shows origin, licence and size.
    """
    from kgvad.inventory import dataset_page
    from kgvad.session import Session
    from kgvad.sources.recipe import describe, recipes

    recipe = recipes().get(name or "")
    print("\n".join(describe(recipe) if recipe is not None else dataset_page(Session(dataset=name))))


InitName = Annotated[str, typer.Argument(help="Name of the dataset: letters, digits, hyphens and underscores.")]
Category = Annotated[
    list[str],
    typer.Option("--category", "-c", help="Name of an abnormal category; repeatable.", rich_help_panel=INPUTS),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write. Default: NAME.toml.", rich_help_panel=OUTPUTS),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.", rich_help_panel=OUTPUTS)]


def init(
    name: InitName,
    category: Category,
    output: Output = None,
    force: Force = False,
    store: StoreUrl = None,
    endpoint: Endpoint = None,
    contact: Contact = None,
    offline: Offline = False,
    tries: Tries = 6,
) -> None:
    """Write a starter category table for your own dataset, filled from the bundled tables and the knowledge graph."""
    from kgvad.errors import UsageError
    from kgvad.files import refuse_inputs, write_text
    from kgvad.session import Session

    file = output or Path(f"{name}.toml")
    if file.exists() and not force:
        raise UsageError(f"{file} exists", "name another --output, or replace it with --force")

    from kgvad.kg.sources.draft import first_table
    from kgvad.kg.store.database import database_file

    with Session(store=store, endpoint=endpoint, contact=contact, offline=offline or None) as session:
        refuse_inputs({"--output": file}, [database_file(session.settings.store)])
        client = session.wikidata(tries)
        text, _, unknown = first_table(session.graph, name, category, client, session.text_similarity())
    write_text(file, text)
    for one in unknown:
        logger.info("no item is known for %r: the category has only its cues until you add an item to %s", one, file)
    print(file)


GetName = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="A source, or a dataset (its first source). Default: list the sources."),
]
Videos = Annotated[
    bool, typer.Option("--videos", help="Get the videos of the dataset instead of features.", rich_help_panel=INPUTS)
]
Frames = Annotated[
    list[Path] | None,
    typer.Option(
        "--frames", help="Table of frame counts that replaces the source's; repeatable.", rich_help_panel=INPUTS
    ),
]
GetOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Root of the feature stores, or folder of the videos. Default: in the home folder.",
        rich_help_panel=OUTPUTS,
    ),
]


def get(
    name: GetName = None,
    videos: Videos = False,
    frames: Frames = None,
    output: GetOutput = None,
) -> None:
    """Download published features or videos, check and import them, and print where they are.

    The same command continues an interrupted download. For a source that no program may fetch, it prints the page and
    what to save where, and exits with 1.
    """
    from kgvad.console import print_table
    from kgvad.errors import UsageError
    from kgvad.given import must_exist
    from kgvad.settings import load_settings
    from kgvad.sources.recipe import find_recipe, recipes, table_rows

    must_exist(frames, UsageError, "name a CSV with the columns video and n_frames")
    if name is None:
        print_table(table_rows(recipes().values()))
        return
    recipe = find_recipe(name, videos=videos)

    from kgvad.sources import get as sources

    settings = load_settings()
    if recipe.manual is not None:
        print(sources.instructions(recipe, settings))
        raise typer.Exit(1)
    got = sources.get(recipe, settings, output=output, frames=frames or ())
    print(got.folder)
    logger.info("next: %s", got.next_command)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = App(help="List, show, get and create datasets.")
    group.command("list", epilog=example("kgvad datasets list"))(list_)
    group.command(epilog=example("kgvad datasets show ucf"))(show)
    group.command(epilog=example("kgvad datasets get ucf-rgb-flow"))(get)
    group.command(epilog=example("kgvad datasets init mine --category Robbery --category Arson --offline"))(init)
    app.add_typer(group, name="datasets", rich_help_panel=DATA)
