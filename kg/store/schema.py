"""Tables of the knowledge-graph cache, and the values written to and read from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Boolean, Dialect, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


@dataclass(frozen=True, order=True)
class Term:
    """A text about an item."""

    qid: str
    kind: str  # label, alias, description; title: of the English Wikipedia article
    language: str
    text: str


@dataclass(frozen=True, order=True)
class Statement:
    """``subject property object``, all three as ids: ``Q53706 P279 Q2727213``."""

    subject: str
    property: str
    object: str
    rank: str = "best"  # the query services' direct claims are those of the best rank


@dataclass(frozen=True)
class Fetch:
    """Where and when facts were read. ``name`` is an IRI: the graph name in N-Quads."""

    name: str
    fetched_at: str  # ISO 8601, UTC
    kind: str = "import"  # item, incoming: from an endpoint; bundled, import: from a file
    endpoint: str = ""
    query_hash: str = ""
    scope: str = ""  # hash of the languages and properties that were requested
    seconds: float = 0.0
    rows: int = 0
    inferred: bool = False  # the source has the edge without its property, which was inferred
    note: str = ""


@dataclass
class Batch:
    """The result of one fetch."""

    fetch: Fetch
    requested: tuple[str, ...] = ()  # items, whether or not anything was found about them
    terms: list[Term] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)


@dataclass(frozen=True)
class Fact:
    """A statement with the best of its sources."""

    subject: str
    property: str
    object: str
    source: str
    fetched_at: str
    inferred: bool


class AnyText(TypeDecorator[str]):
    """Text with every character, also U+0000, which PostgreSQL cannot hold."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or ("\x00" not in value and "\x1a" not in value):
            return value
        return value.replace("\x1a", "\x1a1").replace("\x00", "\x1a0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or "\x1a" not in value:
            return value
        return value.replace("\x1a0", "\x00").replace("\x1a1", "\x1a")


class Base(DeclarativeBase):
    pass


class MigrationRow(Base):
    __tablename__ = "migrations"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100))
    applied_at: Mapped[str] = mapped_column(String(40))


class BundleRow(Base):
    """The version of the bundled facts that was loaded."""

    __tablename__ = "bundles"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    loaded_at: Mapped[str] = mapped_column(String(40))


class FetchRow(Base):
    __tablename__ = "fetches"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(500), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    endpoint: Mapped[str] = mapped_column(Text)
    query_hash: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(64))
    fetched_at: Mapped[str] = mapped_column(String(40))
    seconds: Mapped[float] = mapped_column(Float)
    rows: Mapped[int] = mapped_column(Integer)
    inferred: Mapped[bool] = mapped_column(Boolean)
    note: Mapped[str] = mapped_column(AnyText)


class ItemRow(Base):
    __tablename__ = "items"
    qid: Mapped[str] = mapped_column(String(20), primary_key=True)
    fetch_id: Mapped[int] = mapped_column(ForeignKey("fetches.id"), index=True)  # the first that has it


class TermRow(Base):
    __tablename__ = "terms"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    qid: Mapped[str] = mapped_column(ForeignKey("items.qid"))
    kind: Mapped[str] = mapped_column(String(12))
    language: Mapped[str] = mapped_column(String(40))
    text: Mapped[str] = mapped_column(AnyText)
    digest: Mapped[str] = mapped_column(String(32))  # of the text: a megabyte of text fits no index
    fetch_id: Mapped[int] = mapped_column(ForeignKey("fetches.id"), index=True)
    __table_args__ = (UniqueConstraint("qid", "kind", "language", "digest", "fetch_id", name="terms_once"),)


class StatementRow(Base):
    __tablename__ = "statements"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    subject: Mapped[str] = mapped_column(ForeignKey("items.qid"))
    property: Mapped[str] = mapped_column(String(20))
    object: Mapped[str] = mapped_column(ForeignKey("items.qid"))
    rank: Mapped[str] = mapped_column(String(12))
    fetch_id: Mapped[int] = mapped_column(ForeignKey("fetches.id"), index=True)
    __table_args__ = (
        UniqueConstraint("subject", "property", "object", "fetch_id", name="statements_once"),
        Index("statements_of_object", "object", "property"),
    )


class VisitRow(Base):
    """A fetch requested an item."""

    __tablename__ = "visits"
    qid: Mapped[str] = mapped_column(ForeignKey("items.qid"), primary_key=True)
    fetch_id: Mapped[int] = mapped_column(ForeignKey("fetches.id"), primary_key=True, index=True)


class CategoryRow(Base):
    """A category's item whose label was compared with the table's."""

    __tablename__ = "categories"
    dataset: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    qid: Mapped[str] = mapped_column(ForeignKey("items.qid"), primary_key=True)
    role: Mapped[str] = mapped_column(String(12))
    label: Mapped[str] = mapped_column(AnyText)  # as the graph has it
    fingerprint: Mapped[str] = mapped_column(String(16))  # of the table
    fetch_id: Mapped[int] = mapped_column(ForeignKey("fetches.id"), index=True)
