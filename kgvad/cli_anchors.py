"""Commands of the anchors room: ``build-anchors``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build_anchors(
    dataset: Annotated[str | None, typer.Option(help="Name of a category table, or the path of one (.toml).")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="minilm, blip, clip, or a model folder. Default: BLIP where it can be had.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write.", dir_okay=False)] = None,
    pooling: Annotated[str | None, typer.Option(help="How concepts become an anchor: weighted, mean, label.")] = None,
    store: Annotated[str | None, typer.Option(help="Knowledge graph: SQLAlchemy URL or SQLite file.")] = None,
    device: Annotated[str, typer.Option(help="torch device.")] = "cpu",
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Leave a bank that is already there.")] = False,
) -> None:
    """Turn the knowledge graph into an anchor bank and print its path."""
    from kgvad.console import note
    from kgvad.kg.tables import load_table
    from kgvad.settings import default_bank, load_settings

    settings = load_settings()
    table = load_table(dataset or settings.dataset or "ucf")
    path = output or settings.anchors or default_bank(table.dataset)
    if if_missing and path.is_file():
        print(path)
        return

    from kgvad.anchors.bank import build_bank
    from kgvad.anchors.pool import DEFAULT_POOLING
    from kgvad.anchors.pool import pooling as known_pooling
    from kgvad.anchors.text import load_text_encoder
    from kgvad.kg.store import Store

    known_pooling(pooling or DEFAULT_POOLING)
    text = load_text_encoder(encoder, device)
    bank = build_bank(table, Store.open(store or settings.store), text, pooling or DEFAULT_POOLING)
    bank.save(path)
    note(
        f"{len(bank.categories)} categories, {len(bank.concepts)} concepts, encoder {bank.encoder.name}, "
        f"facts of {bank.facts_date[:10] or 'the table only'}"
    )
    print(path)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(build_anchors)
