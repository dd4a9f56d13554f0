"""Commands of the anchors room: ``build-anchors`` and ``anchors show|compare|export|plot``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

logger = logging.getLogger(__name__)


def build_anchors(
    dataset: Annotated[str | None, typer.Option(help="Name of a category table, or the path of one (.toml).")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="minilm, blip, blip-cls, clip, or a model folder. Default: BLIP where it can be had."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write.", dir_okay=False)] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="How concepts become an anchor: balanced, weighted, mean, attention, graph, label."),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Knowledge graph: SQLAlchemy URL.")] = None,
    device: Annotated[str, typer.Option(help="torch device.")] = "cpu",
    language: Annotated[str, typer.Option(help="Languages of labels and aliases, in order: zh,en.")] = "en",
    contrast: Annotated[bool, typer.Option(help="Keep only concepts that separate confused categories.")] = False,
    explain_selection: Annotated[
        bool, typer.Option(help="Say on stderr why each concept was kept or dropped; implies --contrast.")
    ] = False,
    open_: Annotated[
        list[str] | None, typer.Option("--open", help="Add a category: words, or an item such as Q4654740.")
    ] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Leave a bank that is already there.")] = False,
) -> None:
    """Turn the knowledge graph into an anchor bank and print its path."""
    from kgvad.kg.tables import load_table
    from kgvad.session import Session
    from kgvad.settings import default_bank

    session = Session()

    settings = session.settings
    table = load_table(dataset or settings.dataset or "ucf")
    path = output or settings.anchors or default_bank(table.dataset)
    if if_missing and path.is_file():
        print(path)
        return

    from kgvad.files import refuse_inputs
    from kgvad.kg.store.database import database_file

    refuse_inputs({"--output": path}, [dataset or settings.dataset, database_file(store or settings.store)])

    from kgvad.anchors.bank import build_bank, open_vocabulary
    from kgvad.anchors.pooling import DEFAULT_POOLING
    from kgvad.anchors.pooling import pooling as known_pooling
    from kgvad.anchors.text_encoders import load_text_encoder
    from kgvad.kg.store.cache import Store

    known_pooling(pooling or DEFAULT_POOLING)
    text = load_text_encoder(encoder, device)
    graph = Store.open(store or settings.store)
    bank = build_bank(
        table,
        graph,
        text,
        pooling or DEFAULT_POOLING,
        contrast=contrast or explain_selection,
        languages=(*(part.strip() for part in language.split(",") if part.strip()), "mul"),
        explain=logger.info if explain_selection else None,
    )
    if open_:
        bank = open_vocabulary(bank, text, graph, open_)
    bank.save(path)
    logger.info(
        f"{len(bank.categories)} categories, {len(bank.concepts)} concepts, encoder {bank.encoder.name}, "
        f"facts of {bank.facts_date[:10] or 'the table only'}"
    )
    print(path)


def show(bank: Annotated[Path, typer.Argument(help="Anchor bank.")]) -> None:
    """Print what a bank holds: its header, then every concept by category."""
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.describe import describe

    print(describe(AnchorBank.load(bank)), end="")


def compare(
    first: Annotated[Path, typer.Argument(help="Anchor bank.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Print how two banks differ: encoders, categories, concepts and how far each anchor moved."""
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.describe import differences

    print(differences(AnchorBank.load(first), AnchorBank.load(second)), end="")


def export(
    bank: Annotated[Path, typer.Argument(help="Anchor bank.")],
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, which is the only form and the default.")] = True,
    output: Annotated[Path | None, typer.Option(help="File to write; stdout if left out.")] = None,
) -> None:
    """Write the concepts with prompts and provenance as a table."""
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.describe import as_csv
    from kgvad.files import refuse_inputs, write_text

    refuse_inputs({"--output": output}, [bank])
    text = as_csv(AnchorBank.load(bank))
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)
        print(output)


def plot(
    bank: Annotated[Path, typer.Argument(help="Anchor bank.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="SVG or PNG to write; default: SVG beside the bank.")
    ] = None,
) -> None:
    """Draw the similarity of the anchors and a map of anchors and concepts (SVG or PNG); print the file's path."""
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.plot import picture
    from kgvad.errors import UsageError
    from kgvad.files import refuse_inputs, write_bytes

    path = output or bank.with_suffix(".svg")
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"{path} names no kind of picture", "end it with .svg or .png")
    refuse_inputs({"--output": path}, [bank])
    drawn = picture(AnchorBank.load(bank))
    write_bytes(path, drawn.png() if path.suffix.lower() == ".png" else drawn.svg().encode())
    print(path)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(build_anchors)
    group = typer.Typer(help="Look at anchor banks.", no_args_is_help=True)
    for command in (show, compare, export, plot):
        group.command()(command)
    app.add_typer(group, name="anchors")
