"""Commands of ``kg``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kgvad.kg.sources.wikidata import WikidataClient
    from kgvad.kg.store.cache import Store
    from kgvad.settings import Settings

logger = logging.getLogger(__name__)


kg_app = typer.Typer(no_args_is_help=True, help="The knowledge graph by itself.")

DatasetOption = Annotated[
    str | None, typer.Option("--dataset", "-d", help="A bundled category table, or the path of one.")
]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="SQLAlchemy URL of the cache.", show_default="a file in the cache folder")
]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", help="SPARQL 1.1 service.", show_default="Wikidata's query service")
]
ContactOption = Annotated[
    str | None, typer.Option("--contact", help="Your e-mail address or page, sent to the service.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Ask no service; fail where something is missing.")]
TriesOption = Annotated[int, typer.Option("--tries", min=1, help="Of one request, before giving up.")]
FormatOption = Annotated[str | None, typer.Option("--format", "-f", help="nq, ttl, graphml or json.")]


@kg_app.command()
def fetch(
    dataset: DatasetOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    contact: ContactOption = None,
    offline: OfflineOption = False,
    tries: TriesOption = 6,
    max_age: Annotated[
        float | None, typer.Option("--max-age", min=0, help="Days; ask again about older facts.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask again about everything.")] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, max=500, help="Items asked about at once.")] = 100,
    budget: Annotated[int, typer.Option("--budget", min=1, help="Items asked about at most.")] = 5000,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Of the labels; may be given several times.")
    ] = None,
) -> None:
    """Fetch what Wikidata says around the categories of a dataset (of all bundled ones, if none is named)."""
    from kgvad.kg.sources.subgraphs import Fetcher, FetchSettings, check_labels, require
    from kgvad.kg.tables import bundled_tables, load_table

    name = dataset or _settings().dataset
    tables = [load_table(one) for one in ([name] if name else bundled_tables())]
    with _open(store) as opened:
        if not offline:
            client = _client(endpoint, contact, tries, language)
            settings = FetchSettings(batch=batch, budget=budget, max_age_days=max_age, refresh=refresh)
            report = Fetcher(opened, client, settings).tables(*tables)
            print(
                f"asked about {report.asked} items in {report.requests} requests, {report.rows} rows; "
                f"{report.cached} were in the cache"
            )
        for table in tables:
            require(opened, table)
            rows = check_labels(opened, table, dataset)
            opened.record_categories(rows, table.dataset)
            print(
                f"{table.dataset}: all {len(table.qids)} items are in the cache, under the names the table gives them"
            )


@kg_app.command()
def show(
    category: Annotated[str, typer.Argument(help="A category, or an alias of it.")],
    dataset: DatasetOption = None,
    store: StoreOption = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw the subgraph into this file.", dir_okay=False)] = None,
    abstract: Annotated[bool, typer.Option("--abstract", help="Abstract ancestors too.")] = False,
    concepts: Annotated[bool, typer.Option("--concepts", help="The ranked concepts instead of the tree.")] = False,
) -> None:
    """Show what the graph knows of a category as a tree."""
    from kgvad.files import write_text
    from kgvad.kg import draw
    from kgvad.kg.graph import concepts as graph
    from kgvad.kg.tables import load_table

    row = load_table(dataset or _settings().dataset or "ucf").category(category)
    _keep_sources("--svg", svg, store, dataset)
    with _open(store) as opened:
        if concepts:
            for one in graph.category_concepts(opened, row):
                why = graph.explain_path(opened, one)
                print(draw.visible(f"{one.weight:.2f}  {one.text}  [{one.relation}] {why}"))
            return
        tree = draw.category_tree(opened, row, abstract)
        if svg is None:
            for line in draw.text_lines(tree):
                print(line)
        else:
            write_text(svg, draw.svg(tree))
            print(svg)


@kg_app.command()
def path(
    start: Annotated[str, typer.Argument(help="An item: its name or id.")],
    end: Annotated[str, typer.Argument(help="Another item.")],
    store: StoreOption = None,
) -> None:
    """Say in words how two items hang together."""
    from kgvad.errors import KnowledgeGraphError
    from kgvad.kg import draw
    from kgvad.kg.graph import concepts as graph
    from kgvad.kg.sources.resolve import resolve

    with _open(store) as opened:
        ends = []
        for name in (start, end):
            found = resolve(opened, name)
            if not found:
                raise KnowledgeGraphError(f"the cache has no item called {name!r}", "try kgvad kg resolve")
            ends.append(found[0].qid)
        steps = graph.shortest_path(opened, ends[0], ends[1])
        if steps is None:
            raise KnowledgeGraphError(f"the cache has no path from {ends[0]} to {ends[1]}", "fetch more of the graph")
        print(draw.visible(graph.path_in_words(opened, steps) or f"both are {ends[0]}"))


@kg_app.command("export")
def export_(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.", dir_okay=False)] = None,
    form: FormatOption = None,
    category: Annotated[str | None, typer.Option("--category", "-c", help="Only this category's subgraph.")] = None,
    dataset: DatasetOption = None,
    store: StoreOption = None,
) -> None:
    """Export the cache (N-Quads with sources, Turtle) or a graph for a viewer (GraphML, node-link JSON)."""
    from kgvad.errors import UsageError
    from kgvad.kg import rdf
    from kgvad.kg.graph import concepts as graph
    from kgvad.kg.tables import load_table

    _keep_sources("--output", output, store, dataset)
    with _open(store) as opened:
        part = None
        if category is not None:
            row = load_table(dataset or _settings().dataset or "ucf").category(category)
            part = graph.category_graph(opened, row)
        if output is not None:
            rdf.export(opened, output, form, part)
            print(output)
            return
        if (form or "nq") not in rdf.FORMATS:
            raise UsageError(f"{form!r} is not a format of kgvad", f"use --format {'|'.join(rdf.FORMATS)}")
        for piece in rdf.pieces(opened, form or "nq", part):
            sys.stdout.write(piece)


@kg_app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="N-Quads, N-Triples or Turtle; .gz too.", exists=False)],
    store: StoreOption = None,
) -> None:
    """Import facts; a file goes in whole or not at all."""
    from kgvad.kg import rdf

    with _open(store) as opened:
        for file in files:
            taken, ignored = rdf.load(opened, file)
            if ignored:
                logger.info(f"{file}: {ignored} triples say something that kgvad does not keep")
            print(f"{file}: {taken} facts")


@kg_app.command()
def stats(store: StoreOption = None) -> None:
    """Show what the cache holds and where it is from."""
    from kgvad.kg.stats import lines

    with _open(store) as opened:
        for line in lines(opened):
            print(line)


@kg_app.command()
def resolve(
    name: Annotated[str, typer.Argument(help='A name, such as "oil spill".')],
    pick: Annotated[str | None, typer.Option("--pick", metavar="QID", help="Print this one as a table's row.")] = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    contact: ContactOption = None,
    offline: OfflineOption = False,
    tries: TriesOption = 6,
) -> None:
    """List the items that a name may mean: label, description, type."""
    from kgvad.errors import KnowledgeGraphError
    from kgvad.kg import draw
    from kgvad.kg.sources import resolve as names

    client = None if offline else _client(endpoint, contact, tries)
    with _open(store) as opened:
        if pick is not None:
            print(names.item_row(names.pick(opened, name, pick, client)))
            return
        candidates = names.resolve(opened, name, client)
        if not candidates:
            remedy = "try another name" if client else "try another name, or without --offline"
            raise KnowledgeGraphError(f"no item is called {name!r}", remedy)
        for one in candidates:
            kind = f" [{one.type}]" if one.type else ""
            about = f": {one.description}" if one.description else ""
            print(draw.visible(f"{one.qid}  {one.label}{kind}{about}  ({one.match})"))


@kg_app.command("init-dataset")
def init_dataset(
    name: Annotated[str, typer.Argument(help="A short name: letters, digits, - and _.")],
    category: Annotated[list[str], typer.Option("--category", "-c", help="A class; give it once for each.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file.", show_default="NAME.toml")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    contact: ContactOption = None,
    offline: OfflineOption = False,
    tries: TriesOption = 6,
) -> None:
    """Write a first category table for a dataset of your own, with the items that bear the classes' names."""
    from kgvad.errors import UsageError
    from kgvad.files import write_text
    from kgvad.kg.sources.resolve import first_table

    file = output or Path(f"{name}.toml")
    if file.exists() and not force:
        raise UsageError(f"{file} exists", "name another --output, or replace it with --force")
    _keep_sources("--output", file, store)
    client = None if offline else _client(endpoint, contact, tries)
    with _open(store) as opened:
        text, _, unknown = first_table(opened, name, category, client)
    write_text(file, text)
    for one in unknown:
        logger.info(f"no item is called {one!r}; the category stands on its cues until you name one")
    print(file)


def _settings() -> Settings:
    from kgvad.settings import load_settings

    return load_settings()


def _keep_sources(option: str, output: Path | None, store: str | None, dataset: str | None = None) -> None:
    """Refuse an output that is the cache itself or the category table."""
    from kgvad.files import refuse_inputs
    from kgvad.kg.store.database import database_file

    refuse_inputs({option: output}, [database_file(store or _settings().store), dataset or _settings().dataset])


def _open(url: str | None) -> Store:
    from kgvad.kg.store.cache import Store

    return Store.open(url or _settings().store)


def _client(
    endpoint: str | None, contact: str | None, tries: int, languages: list[str] | None = None
) -> WikidataClient:
    import os

    from kgvad.kg.sources.service import WIKIDATA, ServiceSettings
    from kgvad.kg.sources.wikidata import WikidataClient

    given = _settings()
    settings = ServiceSettings(
        endpoint=endpoint or given.endpoint or WIKIDATA,
        contact=contact or given.contact or os.environ.get("KGVAD_CONTACT"),
        tries=tries,
    )
    return WikidataClient(settings, languages or ("en", "mul"))


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(kg_app, name="kg")
