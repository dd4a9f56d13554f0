"""The steps that bring an older cache to the format of :mod:`kgvad.kg.store.schema`, oldest first.

A step never changes once released: it defines its tables here, independently of the current models. A new format is a
new step at the end of ``MIGRATIONS``; the tests compare the result of all steps with the models.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)


def _m1_tables(connection: Connection) -> None:
    """The first format: items, terms and statements, each with the fetch that it comes from."""
    metadata = MetaData()
    _m1_records(metadata)
    _m1_facts(metadata)
    metadata.create_all(connection)


def _m1_records(metadata: MetaData) -> None:
    """Tables of migrations, bundled facts and fetches."""
    Table(
        "migrations",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("name", String(100), nullable=False),
        Column("applied_at", String(40), nullable=False),
    )
    Table(
        "bundles",
        metadata,
        Column("sha256", String(64), primary_key=True),
        Column("loaded_at", String(40), nullable=False),
    )
    Table(
        "fetches",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(500), nullable=False, unique=True),
        Column("kind", String(20), nullable=False),
        Column("endpoint", Text, nullable=False),
        Column("query_hash", String(64), nullable=False),
        Column("scope", String(64), nullable=False),
        Column("fetched_at", String(40), nullable=False),
        Column("seconds", Float, nullable=False),
        Column("rows", Integer, nullable=False),
        Column("inferred", Boolean, nullable=False),
        Column("note", Text, nullable=False),
    )


def _m1_facts(metadata: MetaData) -> None:
    """Tables of items, terms, statements and categories."""
    Table(
        "items",
        metadata,
        Column("qid", String(20), primary_key=True),
        Column("fetch_id", Integer, ForeignKey("fetches.id"), nullable=False, index=True),
    )
    Table(
        "terms",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("qid", String(20), ForeignKey("items.qid"), nullable=False),
        Column("kind", String(12), nullable=False),
        Column("language", String(40), nullable=False),
        Column("text", Text, nullable=False),
        Column("digest", String(32), nullable=False),
        Column("fetch_id", Integer, ForeignKey("fetches.id"), nullable=False, index=True),
        UniqueConstraint("qid", "kind", "language", "digest", "fetch_id", name="terms_once"),
    )
    Table(
        "statements",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("subject", String(20), ForeignKey("items.qid"), nullable=False),
        Column("property", String(20), nullable=False),
        Column("object", String(20), ForeignKey("items.qid"), nullable=False),
        Column("rank", String(12), nullable=False),
        Column("fetch_id", Integer, ForeignKey("fetches.id"), nullable=False, index=True),
        UniqueConstraint("subject", "property", "object", "fetch_id", name="statements_once"),
        Index("statements_of_object", "object", "property"),
    )
    Table(
        "visits",
        metadata,
        Column("qid", String(20), ForeignKey("items.qid"), primary_key=True),
        Column("fetch_id", Integer, ForeignKey("fetches.id"), primary_key=True, index=True),
    )
    Table(
        "categories",
        metadata,
        Column("dataset", String(64), primary_key=True),
        Column("name", String(300), primary_key=True),
        Column("qid", String(20), ForeignKey("items.qid"), primary_key=True),
        Column("role", String(12), nullable=False),
        Column("label", Text, nullable=False),
        Column("fingerprint", String(16), nullable=False),
        Column("fetch_id", Integer, ForeignKey("fetches.id"), nullable=False, index=True),
    )


MIGRATIONS: list[Callable[[Connection], None]] = [_m1_tables]
