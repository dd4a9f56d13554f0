"""``kgvad kg fetch|show|path|resolve|export|import|stats``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgvad.cli.help import App
from kgvad.cli.options import (
    INPUTS,
    LOOK,
    OUTPUTS,
    SERVICE,
    Contact,
    Dataset,
    Endpoint,
    Offline,
    StoreUrl,
    Tries,
    example,
)

if TYPE_CHECKING:
    from kgvad.session import Session

logger = logging.getLogger(__name__)


Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="nq, ttl, graphml or json. Default: by the suffix of the file, else nq.",
        rich_help_panel=OUTPUTS,
    ),
]


Language = Annotated[
    list[str] | None,
    typer.Option("--language", help="Language of the labels; repeatable. Default: en.", rich_help_panel=INPUTS),
]
MaxAge = Annotated[
    float | None,
    typer.Option("--max-age", min=0, help="Fetch facts older than this again, in days.", rich_help_panel=SERVICE),
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Fetch everything again.", rich_help_panel=SERVICE)]
Batch = Annotated[int, typer.Option("--batch", min=1, max=500, help="Items per request.", rich_help_panel=SERVICE)]
Budget = Annotated[
    int, typer.Option("--budget", min=1, help="Largest number of items to fetch.", rich_help_panel=SERVICE)
]


Items = Annotated[
    list[str] | None, typer.Argument(metavar="[ITEM]...", help="Items such as Q4654740, instead of a dataset's.")
]


def fetch(
    items: Items = None,
    dataset: Dataset = None,
    language: Language = None,
    store: StoreUrl = None,
    max_age: MaxAge = None,
    refresh: Refresh = False,
    batch: Batch = 100,
    budget: Budget = 5000,
    endpoint: Endpoint = None,
    contact: Contact = None,
    offline: Offline = False,
    tries: Tries = 6,
) -> None:
    """Fetch the subgraphs around the categories of a dataset, of every bundled one, or around items, from Wikidata."""
    from kgvad.errors import UsageError
    from kgvad.kg.sources.subgraphs import Fetcher, FetchSettings, check_labels, require, require_items
    from kgvad.kg.tables import bundled_tables, load_table, parse_qids
    from kgvad.session import Session

    qids = parse_qids(items or ())
    if qids and dataset is not None:
        raise UsageError("fetch items, or the categories of a dataset", "leave out --dataset, or the items")
    with Session(dataset=dataset, store=store, endpoint=endpoint, contact=contact, offline=offline or None) as session:
        named = session.settings.dataset
        tables = [session.table()] if named else [load_table(name) for name in bundled_tables()]
        tables = [] if qids else tables
        client = session.wikidata(tries, tuple(language or ("en", "mul")))
        if client is not None:
            settings = FetchSettings(batch=batch, budget=budget, max_age_days=max_age, refresh=refresh)
            fetcher = Fetcher(session.graph, client, settings)
            report = fetcher.subgraphs(qids) if qids else fetcher.tables(*tables)
            print(
                f"{report.requested} items fetched in {report.requests} requests ({report.rows} result rows); "
                f"{report.cached} were in the cache"
            )
        require_items(session.graph, {qid: qid for qid in qids}, " ".join(qids))
        if qids:
            print(f"{', '.join(qids)}: in the cache")
        for table in tables:
            require(session.graph, table, session.dataset_ref.in_shell if named else table.dataset)
            found = check_labels(session.graph, table, named)
            session.graph.record_categories(found, table.dataset)
            print(f"{table.dataset}: all {len(table.qids)} items are in the cache, and their labels match the table")


Category = Annotated[str, typer.Argument(help="Name or alias of a category.")]
Abstract = Annotated[
    bool,
    typer.Option("--abstract", help="Include abstract ancestors such as hazard.", rich_help_panel=OUTPUTS),
]
Concepts = Annotated[
    bool,
    typer.Option("--concepts", help="List the concepts by weight instead of a tree.", rich_help_panel=OUTPUTS),
]
Svg = Annotated[
    Path | None,
    typer.Option("--svg", help="Draw the subgraph as an SVG file.", dir_okay=False, rich_help_panel=OUTPUTS),
]


def show(
    category: Category,
    dataset: Dataset = None,
    store: StoreUrl = None,
    abstract: Abstract = False,
    concepts: Concepts = False,
    svg: Svg = None,
) -> None:
    """Show the subgraph of a category as a tree."""
    from kgvad.files import write_text
    from kgvad.kg import draw
    from kgvad.kg.graph.concepts import category_concepts, explain_path
    from kgvad.session import Session

    with Session(dataset=dataset, store=store) as session:
        chosen = session.category(category)
        _refuse_sources(session, "--svg", svg)
        if concepts:
            for one in category_concepts(session.graph, chosen):
                reason = explain_path(session.graph, one)
                print(draw.visible(f"{one.weight:.2f}  {one.text}  [{one.relation}] {reason}"))
            return
        tree = draw.category_tree(session.graph, chosen, abstract)
    if svg is None:
        print("\n".join(draw.text_lines(tree)))
    else:
        write_text(svg, draw.svg(tree))
        print(svg)


Start = Annotated[str, typer.Argument(help="An item: its name or QID.")]
End = Annotated[str, typer.Argument(help="Another item.")]


def path(
    start: Start,
    end: End,
    store: StoreUrl = None,
) -> None:
    """Show the shortest path between two items, in words."""
    from kgvad.errors import KnowledgeGraphError
    from kgvad.kg import draw
    from kgvad.kg.graph.traversal import LONGEST_PATH, path_in_words, shortest_path
    from kgvad.kg.sources.resolve import resolve
    from kgvad.session import Session

    with Session(store=store) as session:
        ends = []
        for name in (start, end):
            found = resolve(session.graph, name)
            if not found:
                raise KnowledgeGraphError(f"the cache has no item called {name!r}", "try kgvad kg resolve")
            ends.append(found[0].qid)
        steps = shortest_path(session.graph, ends[0], ends[1])
        if steps is None:
            raise KnowledgeGraphError(
                f"the cache has no path of up to {LONGEST_PATH} steps from {ends[0]} to {ends[1]}",
                "fetch more with: kgvad kg fetch",
            )
        print(draw.visible(path_in_words(session.graph, steps) or f"both are {ends[0]}"))


Name = Annotated[str, typer.Argument(help='A name, such as "oil spill".')]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        metavar="QID",
        help="Print this item as an entry for a category table.",
        rich_help_panel=OUTPUTS,
    ),
]


def resolve(
    name: Name,
    pick: Pick = None,
    store: StoreUrl = None,
    endpoint: Endpoint = None,
    contact: Contact = None,
    offline: Offline = False,
    tries: Tries = 6,
) -> None:
    """List the items with a given name: QID, label, type and description."""
    from kgvad.errors import KnowledgeGraphError
    from kgvad.kg import draw
    from kgvad.kg.sources import resolve as names
    from kgvad.kg.sources.draft import item_row
    from kgvad.session import Session

    with Session(store=store, endpoint=endpoint, contact=contact, offline=offline or None) as session:
        client = session.wikidata(tries)
        if pick is not None:
            print(item_row(names.pick(session.graph, name, pick, client)))
            return
        candidates = names.resolve(session.graph, name, client)
    if not candidates:
        remedy = "try another name" if client else "try another name, or without --offline"
        raise KnowledgeGraphError(f"no item is called {name!r}", remedy)
    for one in candidates:
        kind = f" [{one.type}]" if one.type else ""
        about = f": {one.description}" if one.description else ""
        print(draw.visible(f"{one.qid}  {one.label}{kind}{about}  ({one.match})"))


ExportCategory = Annotated[
    str | None,
    typer.Option("--category", "-c", help="Export only the subgraph of this category.", rich_help_panel=INPUTS),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write. Default: stdout.", dir_okay=False, rich_help_panel=OUTPUTS),
]


def export_(
    category: ExportCategory = None,
    dataset: Dataset = None,
    store: StoreUrl = None,
    output: Output = None,
    form: Format = None,
) -> None:
    """Export the cache (N-Quads with sources, Turtle), or a graph for a viewer (GraphML, node-link JSON)."""
    from kgvad.errors import UsageError
    from kgvad.kg import rdf
    from kgvad.kg.graph.traversal import category_graph
    from kgvad.session import Session

    with Session(dataset=dataset, store=store) as session:
        _refuse_sources(session, "--output", output)
        part = None
        if category is not None:
            part = category_graph(session.graph, session.category(category))
        if output is not None:
            rdf.export(session.graph, output, form, part)
            print(output)
            return
        if (form or "nq") not in rdf.FORMATS:
            raise UsageError(f"unknown format {form!r}", f"use --format {'|'.join(rdf.FORMATS)}")
        for piece in rdf.pieces(session.graph, form or "nq", part):
            sys.stdout.write(piece)


Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="N-Quads, N-Triples or Turtle files; .gz too.")]


def import_(
    files: Files,
    store: StoreUrl = None,
) -> None:
    """Import facts into the cache; each file completely or not at all."""
    from kgvad.errors import UsageError
    from kgvad.given import must_exist
    from kgvad.session import Session

    must_exist(files, UsageError, "name N-Quads, N-Triples or Turtle files")

    from kgvad.kg import rdf

    with Session(store=store) as session:
        for file in files:
            taken, ignored = rdf.load(session.graph, file)
            if ignored:
                logger.info("%s: %d triples with properties that kgvad does not use were skipped", file, ignored)
            print(f"{file}: {taken} facts")


def stats(store: StoreUrl = None) -> None:
    """Show the number of items and facts in the cache, and their sources."""
    from kgvad.errors import StoreError
    from kgvad.given import must_exist
    from kgvad.kg.stats import lines
    from kgvad.kg.store.database import database_file
    from kgvad.session import Session

    with Session(store=store) as session:
        if store is not None:  # the default cache is made on first use; a misspelled one must not be
            must_exist(database_file(store), StoreError, "name another cache with --store, or make it: kgvad kg import")
        print("\n".join(lines(session.graph)))


def _refuse_sources(session: Session, option: str, output: Path | None) -> None:
    """Refuse an output that is the cache itself or the category table."""
    from kgvad.files import refuse_inputs
    from kgvad.kg.store.database import database_file

    table = session.dataset_ref.path if session.settings.dataset else None
    refuse_inputs({option: output}, [database_file(session.settings.store), table])


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group = App(help="Query and update the knowledge graph.")
    group.command(epilog=example("kgvad kg fetch --dataset ucf --contact you@example.org"))(fetch)
    group.command(epilog=example("kgvad kg show Robbery"))(show)
    group.command(epilog=example('kgvad kg path robbery "property crime"'))(path)
    group.command(epilog=example('kgvad kg resolve "oil spill" --offline'))(resolve)
    group.command("export", epilog=example("kgvad kg export --output graph.nq"))(export_)
    group.command("import", epilog=example("kgvad kg import graph.nq"))(import_)
    group.command(epilog=example("kgvad kg stats"))(stats)
    app.add_typer(group, name="kg", rich_help_panel=LOOK)
