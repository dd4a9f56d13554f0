"""The facts bundled with kgvad: Wikidata content (CC0) as N-Quads, one graph per source."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from kgvad.kg.store import nquads
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.toml import tomllib

FACTS, SOURCES = "wikidata.nq", "sources.toml"


def _bytes(name: str) -> bytes:
    return (files("kgvad.kg") / "facts" / name).read_bytes()


@cache
def fingerprint() -> str:
    """SHA-256 of the facts and their sources."""
    return hashlib.sha256(_bytes(FACTS) + _bytes(SOURCES)).hexdigest()


def batches() -> list[Batch]:
    """The facts, one batch per source, with the repository, commit and date of each."""
    sources = tomllib.loads(_bytes(SOURCES).decode())["source"]
    found = {}
    for row in sources:
        where = f"{row['repository']}@{row['commit']}" if row["commit"] else row["repository"]
        fetch = Fetch(
            name=f"urn:source:{row['name']}",
            fetched_at=row["date"],
            kind="bundled",
            inferred=row.get("inferred", False),
            note=f"{where}; {row['what']}",
        )
        found[fetch.name] = Batch(fetch)
    for quad in nquads.parse(_bytes(FACTS), FACTS):
        fact = nquads.fact_of(quad)
        if isinstance(fact, Term):
            found[quad.graph].terms.append(fact)
        elif isinstance(fact, Statement):
            found[quad.graph].statements.append(fact)
    return list(found.values())
