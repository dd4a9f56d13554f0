"""``kgvad datasets list|show|init``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.help import App
from kgvad.cli.options import DATA, INPUTS, OUTPUTS, Contact, Endpoint, Offline, StoreUrl, Tries, example

logger = logging.getLogger(__name__)


def list_() -> None:
    """List the bundled datasets and those you prepared, with the anchors, features and runs of each."""
    from kgvad.console import print_table
    from kgvad.inventory import dataset_rows
    from kgvad.session import Session

    print_table(dataset_rows(Session()))


def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help="A dataset such as ucf, a category table (my.toml), or a folder with one sub-folder of videos per "
            "category. Default: the configured dataset.",
        ),
    ] = None,
) -> None:
    """Show the categories of a dataset with their Wikidata items, and where its anchors, features and run are."""
    from kgvad.inventory import dataset_page
    from kgvad.session import Session

    print("\n".join(dataset_page(Session(dataset=name))))


def init(
    name: Annotated[str, typer.Argument(help="Name of the dataset: letters, digits, hyphens and underscores.")],
    category: Annotated[
        list[str],
        typer.Option("--category", "-c", help="Name of an abnormal category; repeatable.", rich_help_panel=INPUTS),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: NAME.toml.", rich_help_panel=OUTPUTS),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.", rich_help_panel=OUTPUTS)] = False,
    store: StoreUrl = None,
    endpoint: Endpoint = None,
    contact: Contact = None,
    offline: Offline = False,
    tries: Tries = 6,
) -> None:
    """Write a first category table for your own dataset, with the Wikidata items that have the categories' names."""
    from kgvad.errors import UsageError
    from kgvad.files import refuse_inputs, write_text
    from kgvad.session import Session

    file = output or Path(f"{name}.toml")
    if file.exists() and not force:
        raise UsageError(f"{file} exists", "name another --output, or replace it with --force")

    from kgvad.kg.sources.resolve import first_table
    from kgvad.kg.store.database import database_file

    with Session(store=store, endpoint=endpoint, contact=contact, offline=offline or None) as session:
        refuse_inputs({"--output": file}, [database_file(session.settings.store)])
        client = session.wikidata(tries)
        text, _, unknown = first_table(session.graph, name, category, client)
    write_text(file, text)
    for one in unknown:
        logger.info("no item is called %r: the category has only its cues until you add an item to %s", one, file)
    print(file)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = App(help="List, show and create datasets.")
    group.command("list", epilog=example("kgvad datasets list"))(list_)
    group.command(epilog=example("kgvad datasets show ucf"))(show)
    group.command(epilog=example("kgvad datasets init mine --category Robbery --category Arson --offline"))(init)
    app.add_typer(group, name="datasets", rich_help_panel=DATA)
