"""The knowledge-graph cache: items, terms and statements, each with where and when it was fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kgvad.kg.store import bundled
from kgvad.kg.store.database import Database, now
from kgvad.kg.store.schema import (
    AnyText,
    Batch,
    BundleRow,
    CategoryRow,
    Fact,
    Fetch,
    FetchRow,
    ItemRow,
    Statement,
    StatementRow,
    Term,
    TermRow,
    VisitRow,
)
from kgvad.kg.tables import qid_number

CHUNK = 500  # ids in one IN (...)


class GraphStore:
    """The cache in a database; see :class:`kgvad.kg.store.database.Database` for its rules.

    Use as a context manager, or call :meth:`close`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, url: str | None = None, *, facts: bool = True) -> GraphStore:
        """Open the cache at an SQLAlchemy URL; None is the SQLite file in the cache folder.

        Parameters
        ----------
        url
            ``sqlite:///file.sqlite``, ``postgresql+psycopg://...``; the tables are made or migrated.
        facts
            Load the bundled facts if they are missing.

        Raises
        ------
        UsageError
            The URL is not valid.
        StoreError
            The file is damaged, locked, cannot be written, or is of a newer version.
        """
        store = cls(Database(url))
        if facts:
            store.load_bundled()
        return store

    def close(self) -> None:
        """Give the database's connections back."""
        self.database.close()

    def __enter__(self) -> GraphStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def record(self, batch: Batch) -> None:
        """Write the result of a fetch in one transaction.

        Facts of earlier fetches of the same endpoint and kind about the same items are replaced.
        """
        with self.database.write() as connection:
            _record(connection, batch)

    def record_all(self, batches: Iterable[Batch]) -> None:
        """Write the results of several fetches, all or none."""
        with self.database.write() as connection:
            for batch in batches:
                _record(connection, batch)

    def load_bundled(self) -> None:
        """Load the facts that come with kgvad, unless this version of them is in already."""
        sha256 = bundled.fingerprint()
        known = select(BundleRow.sha256).where(BundleRow.sha256 == sha256)
        with self.database.read() as connection:
            if connection.scalar(known):
                return
        with self.database.write() as connection:
            # The row comes first: a second process waits here and then finds the work done.
            if not _insert_new(connection, BundleRow, [{"sha256": sha256, "loaded_at": now()}]):
                return
            connection.execute(delete(BundleRow).where(BundleRow.sha256 != sha256))
            old = connection.scalars(select(FetchRow.id).where(FetchRow.kind == "bundled")).all()
            for fetch_id in old:
                _clear(connection, fetch_id)
            for batch in bundled.batches():
                _record(connection, batch)

    def record_categories(self, rows: Sequence[dict[str, str]], dataset: str) -> None:
        """Record the items of the categories of ``dataset``, with the labels that were found."""
        with self.database.write() as connection:
            connection.execute(delete(CategoryRow).where(CategoryRow.dataset == dataset))
            for row in rows:
                fetch_id = connection.scalar(select(ItemRow.fetch_id).where(ItemRow.qid == row["qid"]))
                connection.execute(insert(CategoryRow).values(**row, dataset=dataset, fetch_id=fetch_id))

    # Reading

    def terms(self, qids: Iterable[str], languages: Sequence[str] = ("en", "mul")) -> dict[str, list[Term]]:
        """Terms of items in the languages given, sorted by kind, order of the languages, and text."""
        found: dict[str, set[Term]] = {}
        order = {language: rank for rank, language in enumerate(languages)}
        with self.database.read() as connection:
            for some in _chunks(qids):
                query = select(TermRow.qid, TermRow.kind, TermRow.language, TermRow.text)
                query = query.where(TermRow.qid.in_(some), TermRow.language.in_(languages))
                for row in connection.execute(query):
                    found.setdefault(row.qid, set()).add(Term(*row))
        return {
            qid: sorted(terms, key=lambda t: (t.kind, order[t.language], t.text))
            for qid, terms in sorted(found.items())
        }

    def labels(self, qids: Iterable[str], languages: Sequence[str] = ("en", "mul")) -> dict[str, str]:
        """Label of each item that has one; where Wikidata has no label, the article's title."""
        return {
            qid: name for qid, terms in self.terms(qids, languages).items() if (name := label_of(terms)) is not None
        }

    def all_labels(self, language: str = "en") -> dict[str, str]:
        """Label of every item in the cache that has one in ``language``, sorted by item."""
        query = select(TermRow.qid, TermRow.text).where(TermRow.kind == "label", TermRow.language == language)
        with self.database.read() as connection:
            return {row.qid: row.text for row in connection.execute(query.order_by(TermRow.qid, TermRow.text.desc()))}

    def facts(self, subjects: Iterable[str], properties: Sequence[str] | None = None) -> list[Fact]:
        """Statements about the items, sorted; of several sources the best: read before inferred, then the latest."""
        return self._facts(StatementRow.subject, subjects, properties)

    def facts_to(self, objects: Iterable[str], properties: Sequence[str] | None = None) -> list[Fact]:
        """Statements whose value is one of the items, sorted; sources as in :meth:`facts`."""
        return self._facts(StatementRow.object, objects, properties)

    def edges(self, property_id: str) -> list[tuple[str, str]]:
        """Every (subject, object) of a property, sorted: the whole hierarchy for P279."""
        query = select(StatementRow.subject, StatementRow.object).where(StatementRow.property == property_id).distinct()
        with self.database.read() as connection:
            return sorted((row.subject, row.object) for row in connection.execute(query))

    def term_source(self, term: Term) -> tuple[str, str]:
        """Name and time of the latest fetch with ``term``; two empty strings without one."""
        query = select(FetchRow.name, FetchRow.fetched_at).join(TermRow, TermRow.fetch_id == FetchRow.id)
        query = query.where(TermRow.qid == term.qid, TermRow.kind == term.kind)
        query = query.where(TermRow.language == term.language, TermRow.digest == _digest(term.text))
        with self.database.read() as connection:
            row = connection.execute(query.order_by(FetchRow.fetched_at.desc(), FetchRow.name)).first()
        return (row.name, row.fetched_at) if row else ("", "")

    def visited(self, qids: Iterable[str], kind: str, scope: str, endpoint: str, since: str = "") -> set[str]:
        """The items that a fetch of this kind, scope and endpoint has requested since a time."""
        found: set[str] = set()
        with self.database.read() as connection:
            for some in _chunks(qids):
                query = select(VisitRow.qid).join(FetchRow, FetchRow.id == VisitRow.fetch_id)
                query = query.where(VisitRow.qid.in_(some), FetchRow.kind == kind, FetchRow.scope == scope)
                query = query.where(FetchRow.endpoint == endpoint, FetchRow.fetched_at >= since)
                found.update(connection.scalars(query))
        return found

    def called(self, name: str) -> dict[str, str]:
        """Items with a label, title or alias ``name`` (case does not matter): item id to the best of the three."""
        query = select(TermRow.qid, TermRow.kind, TermRow.text).where(TermRow.kind != "description")
        low = func.lower(TermRow.text, type_=AnyText)
        query = query.where(or_(TermRow.text == name, low.in_({name, name.lower()})))
        found: dict[str, str] = {}
        with self.database.read() as connection:
            for row in connection.execute(query):
                merit = ("label", "title", "alias")
                if row.qid not in found or merit.index(row.kind) < merit.index(found[row.qid]):
                    found[row.qid] = row.kind
        return found

    def fetches(self) -> list[Fetch]:
        """Every fetch, sorted by name."""
        with self.database.read() as connection:
            return [_fetch(row) for row in connection.execute(select(FetchRow.__table__).order_by(FetchRow.name))]

    def contents(self) -> Iterator[Batch]:
        """Everything, fetch by fetch, sorted: what an export writes. One consistent state."""
        with self.database.read() as connection:
            for row in connection.execute(select(FetchRow.__table__).order_by(FetchRow.name)).all():
                terms = select(TermRow.qid, TermRow.kind, TermRow.language, TermRow.text)
                statements = select(
                    StatementRow.subject, StatementRow.property, StatementRow.object, StatementRow.rank
                ).where(StatementRow.fetch_id == row.id)
                visits = select(VisitRow.qid).where(VisitRow.fetch_id == row.id)
                yield Batch(
                    fetch=_fetch(row),
                    requested=tuple(sorted(connection.scalars(visits), key=qid_number)),
                    terms=sorted(Term(*t) for t in connection.execute(terms.where(TermRow.fetch_id == row.id))),
                    statements=sorted(Statement(*s) for s in connection.execute(statements)),
                )

    def counts(self) -> dict[str, int]:
        """Number of rows of each table."""
        tables = {
            "items": ItemRow,
            "terms": TermRow,
            "statements": StatementRow,
            "fetches": FetchRow,
            "categories": CategoryRow,
        }
        with self.database.read() as connection:
            return {name: connection.scalar(select(func.count()).select_from(row)) or 0 for name, row in tables.items()}

    def categories(self) -> list[tuple[str, int]]:
        """Datasets whose items were checked, and the number of items."""
        query = select(CategoryRow.dataset, func.count()).group_by(CategoryRow.dataset).order_by(CategoryRow.dataset)
        with self.database.read() as connection:
            return [(dataset, count) for dataset, count in connection.execute(query)]

    def _facts(self, column: Any, qids: Iterable[str], properties: Sequence[str] | None) -> list[Fact]:
        best: dict[tuple[str, str, str], tuple[Any, Fact]] = {}
        with self.database.read() as connection:
            for some in _chunks(qids):
                query = select(
                    StatementRow.subject,
                    StatementRow.property,
                    StatementRow.object,
                    FetchRow.name,
                    FetchRow.fetched_at,
                    FetchRow.inferred,
                ).join(FetchRow, FetchRow.id == StatementRow.fetch_id)
                query = query.where(column.in_(some))
                if properties is not None:
                    query = query.where(StatementRow.property.in_(properties))
                for row in connection.execute(query):
                    fact = Fact(*row)
                    key = (fact.subject, fact.property, fact.object)
                    merit = (not fact.inferred, fact.fetched_at, fact.source)
                    if key not in best or merit > best[key][0]:
                        best[key] = (merit, fact)
        return [best[key][1] for key in sorted(best)]


def label_of(terms: Iterable[Term]) -> str | None:
    """Label among the terms of one item, else the article's title without its bracketed explanation."""
    by_kind: dict[str, str] = {}
    for term in terms:
        by_kind.setdefault(term.kind, term.text)
    if "label" in by_kind:
        return by_kind["label"]
    if "title" in by_kind:
        title = by_kind["title"].split(" (")[0]
        return title[:1].lower() + title[1:]
    return None


def _record(connection: Connection, batch: Batch) -> None:
    fetch = batch.fetch
    values = {column.name: getattr(fetch, column.name) for column in FetchRow.__table__.columns if column.name != "id"}
    fetch_id = connection.scalar(select(FetchRow.id).where(FetchRow.name == fetch.name))
    if fetch_id is None:
        _insert_new(connection, FetchRow, [values])
        fetch_id = connection.scalar(select(FetchRow.id).where(FetchRow.name == fetch.name))
    assert fetch_id is not None
    _clear(connection, fetch_id)
    connection.execute(update(FetchRow).where(FetchRow.id == fetch_id).values(**values))
    if fetch.endpoint:
        _supersede(connection, fetch, fetch_id, batch.requested)
    qids = set(batch.requested) | {term.qid for term in batch.terms}
    qids |= {qid for statement in batch.statements for qid in (statement.subject, statement.object)}
    _insert_new(connection, ItemRow, [{"qid": qid, "fetch_id": fetch_id} for qid in sorted(qids)])
    _insert_new(connection, TermRow, [_term_values(term, fetch_id) for term in sorted(set(batch.terms))])
    _insert_new(
        connection,
        StatementRow,
        [
            {"subject": s.subject, "property": s.property, "object": s.object, "rank": s.rank, "fetch_id": fetch_id}
            for s in sorted(set(batch.statements))
        ],
    )
    _insert_new(connection, VisitRow, [{"qid": qid, "fetch_id": fetch_id} for qid in sorted(set(batch.requested))])


def _clear(connection: Connection, fetch_id: int) -> None:
    for row in (TermRow, StatementRow, VisitRow):
        connection.execute(delete(row).where(row.fetch_id == fetch_id))


def _supersede(connection: Connection, fetch: Fetch, fetch_id: int, requested: Sequence[str]) -> None:
    same = (
        FetchRow.endpoint == fetch.endpoint,
        FetchRow.kind == fetch.kind,
        FetchRow.fetched_at <= fetch.fetched_at,  # an import may be older than what is here
        FetchRow.id != fetch_id,
    )
    touched: set[int] = set()
    for some in _chunks(requested):
        query = select(VisitRow.fetch_id).join(FetchRow, FetchRow.id == VisitRow.fetch_id)
        older = connection.scalars(query.where(VisitRow.qid.in_(some), *same).distinct()).all()
        touched.update(older)
        if not older:
            continue
        owner = StatementRow.object if fetch.kind == "incoming" else StatementRow.subject
        connection.execute(delete(StatementRow).where(owner.in_(some), StatementRow.fetch_id.in_(older)))
        connection.execute(delete(TermRow).where(TermRow.qid.in_(some), TermRow.fetch_id.in_(older)))
        connection.execute(delete(VisitRow).where(VisitRow.qid.in_(some), VisitRow.fetch_id.in_(older)))
    for old in sorted(touched):
        if connection.scalar(select(VisitRow.qid).where(VisitRow.fetch_id == old).limit(1)) is None:
            for row in (ItemRow, CategoryRow):
                connection.execute(update(row).where(row.fetch_id == old).values(fetch_id=fetch_id))
            connection.execute(delete(FetchRow).where(FetchRow.id == old))


def _insert_new(connection: Connection, row: Any, values: list[dict[str, object]]) -> int:
    """Insert rows that are not present; returns the number inserted (exact for a single row only)."""
    if not values:
        return 0
    table: Table = row.__table__
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return connection.execute(dialect.insert(table).on_conflict_do_nothing(), values).rowcount


def _term_values(term: Term, fetch_id: int) -> dict[str, object]:
    return {
        "qid": term.qid,
        "kind": term.kind,
        "language": term.language,
        "text": term.text,
        "digest": _digest(term.text),
        "fetch_id": fetch_id,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _fetch(row: Any) -> Fetch:
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    return Fetch(**values)


def _chunks(qids: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(set(qids))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]
