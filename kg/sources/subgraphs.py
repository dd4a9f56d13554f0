"""Fetching the subgraphs of categories into the cache, breadth first.

Each batch is written as soon as it is complete, with the items it requested. An interrupted fetch resumes where it
stopped, and a second one sends no request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from kgvad.console import Advance, progress
from kgvad.errors import CategoryTableError, OfflineError
from kgvad.kg.graph.traversal import Reach
from kgvad.kg.properties import INCOMING, TABLE
from kgvad.kg.sources.service import TruncatedAnswerError
from kgvad.kg.sources.wikidata import WikidataClient
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.store.schema import Batch, Term
from kgvad.kg.tables import CategoryTable, qid_number

logger = logging.getLogger(__name__)

UP = ("P279", "P31")
SINGLE_TRIES = 3  # of a request for one item whose answer is truncated


@dataclass(frozen=True)
class FetchSettings:
    """Extent of a fetch, and age from which facts are fetched again."""

    reach: Reach = field(default_factory=Reach)
    batch: int = 100  # items in one VALUES list
    budget: int = 5000  # items requested in one call
    max_age_days: float | None = None  # facts older than this are fetched again; None: never
    refresh: bool = False  # fetch everything again


@dataclass
class FetchReport:
    """Counts of a finished fetch."""

    requests: int = 0
    rows: int = 0
    requested: int = 0  # items
    cached: int = 0  # items that were in the cache
    left_out: int = 0  # items beyond the budget


class Fetcher:
    """Fetches subgraphs with one client into one store."""

    def __init__(self, store: GraphStore, client: WikidataClient, settings: FetchSettings | None = None) -> None:
        self.store, self.client = store, client
        self.settings = settings or FetchSettings()
        self.report = FetchReport()
        self._since = _since(self.settings)
        self._size = {"item": max(1, self.settings.batch), "incoming": max(1, self.settings.batch)}
        self._items: set[str] = set()

    def tables(self, *tables: CategoryTable) -> FetchReport:
        """Fetch the subgraphs of the categories of some tables together; see :meth:`subgraphs`."""
        primary = {item.qid for table in tables for category in table.categories for item in category.primary}
        return self.subgraphs(primary, {qid for table in tables for qid in table.qids} - primary)

    def subgraphs(self, primary: Iterable[str], related: Iterable[str] = ()) -> FetchReport:
        """Fetch everything around ``primary`` items, and the superclasses of ``related`` ones.

        Raises
        ------
        FetchError
            The service refused or cannot be reached; what was fetched before is kept.
        """
        first = set(primary)
        roots = first | set(related)
        reach = self.settings.reach
        with progress("Wikidata") as advance:
            self._fetch("item", roots, advance)
            aside = [pid for pid in TABLE if pid not in UP]
            seen, frontier = set(roots), set(roots)
            for depth in range(reach.up):
                above = {fact.object for fact in self.store.facts(frontier, UP)}
                if depth < reach.aside:
                    above |= {fact.object for fact in self.store.facts(frontier & first, aside)}
                frontier = above - seen
                seen |= frontier
                self._fetch("item", frontier, advance)
            frontier, expanded = first, set(first)
            for depth in range(max(reach.down, reach.aside)):
                self._fetch("incoming", frontier, advance)
                properties = INCOMING if depth < reach.aside else ("P279",)
                found = self.store.facts_to(frontier, properties)
                below = {fact.subject for fact in found} - seen
                seen |= below
                self._fetch("item", below, advance)
                frontier = {fact.subject for fact in found if fact.property == "P279"} - expanded
                expanded |= frontier
                if depth + 1 >= reach.down:
                    break
        self.report.requests = self.client.service.requests
        if self.report.left_out:
            logger.warning(
                f"{self.report.left_out} items were left out: the budget is {self.settings.budget} (--budget)"
            )
        return self.report

    def _fetch(self, kind: str, qids: Iterable[str], advance: Advance) -> None:
        wanted = set(qids)
        known = self.store.visited(wanted, kind, self.client.scope, self.client.endpoint, self._since)
        self.report.cached += len(known)
        todo = sorted(wanted - known, key=qid_number)
        if kind == "item":
            remaining = max(0, self.settings.budget - len(self._items))
            self.report.left_out += len(todo[remaining:])
            todo = todo[:remaining]
            self._items.update(todo)
        while todo:
            some = todo[: self._size[kind]]
            batch = self._fetch_batch(kind, some)
            if batch is None:
                continue
            self.store.record(batch)
            self.report.rows += batch.fetch.rows
            self.report.requested += len(batch.requested)
            advance(len(batch.requested), f"Wikidata: {self.report.requested} items")
            todo = todo[len(some) :]

    def _fetch_batch(self, kind: str, qids: Sequence[str]) -> Batch | None:
        """The batch, or None after halving the batch size because the answer was truncated."""
        for attempt in range(1, SINGLE_TRIES + 1):
            try:
                if kind == "item":
                    return self.client.items(qids)
                return self.client.incoming(qids, cap=self.settings.reach.degree)
            except TruncatedAnswerError as cut:
                if len(qids) == 1 and attempt == SINGLE_TRIES:
                    raise TruncatedAnswerError(f"{cut.message}, even for {qids[0]} alone", "try again later") from cut
                if len(qids) > 1:
                    self._size[kind] = len(qids) // 2
                    logger.info(f"{cut.message}; continuing with {self._size[kind]} items per query")
                    return None
        raise AssertionError("unreachable")


def require(store: GraphStore, table: CategoryTable, named: str) -> None:
    """Check that the cache has a name of every item of a table; ``named``: the table as a shell argument.

    Raises
    ------
    OfflineError
        Some items are missing; the message names them.
    """
    labels = {item.qid: item.label for category in table.categories for item in category.items}
    require_items(store, {qid: f"{qid} ({labels[qid]})" for qid in table.qids}, f"--dataset {named}")


def require_items(store: GraphStore, items: Mapping[str, str], arguments: str) -> None:
    """Check that the cache has a name of each of these items.

    Parameters
    ----------
    items
        What messages call each item.
    arguments
        Of the ``kgvad kg fetch`` that fetches them.

    Raises
    ------
    OfflineError
        Some items are missing, or have names in other languages only; the message names them.
    """
    known = set(store.terms(items))
    missing = [called for qid, called in items.items() if qid not in known]
    if missing:
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        remedy = f"fetch them with a network (kgvad kg fetch {arguments}), or correct the ids"
        raise OfflineError(f"the cache has no English name of {shown}", remedy)


def check_labels(store: GraphStore, table: CategoryTable, where: str | None = None) -> list[dict[str, str]]:
    """Compare the label of every item of a table with the cache's.

    Returns
    -------
    list of dict
        One record per item for :meth:`GraphStore.record_categories`.

    Raises
    ------
    CategoryTableError
        A label differs; the message shows both. An alias is accepted with a warning.
    """
    terms = store.terms(table.qids)
    rows = []
    for category in table.categories:
        for item in category.items:
            of_item = terms.get(item.qid, [])
            label = label_of(of_item)
            if label is None:
                continue
            if not _has_name(item.label, of_item, ("label", "title")):
                if not _has_name(item.label, of_item, ("alias",)):
                    raise CategoryTableError(
                        f"{where or table.dataset}: {category.name}: {item.qid} is {label!r} in Wikidata, "
                        f"not {item.label!r}",
                        "correct the id or the label; kgvad kg resolve finds ids",
                    )
                logger.warning(
                    f"{category.name}: {item.qid} is {label!r} in Wikidata; {item.label!r} is an alias of it"
                )
            rows.append(
                {
                    "name": category.name,
                    "qid": item.qid,
                    "role": item.role,
                    "label": label,
                    "fingerprint": table.fingerprint,
                }
            )
    return rows


def _has_name(name: str, terms: Iterable[Term], kinds: Sequence[str]) -> bool:
    texts = {term.text.casefold() for term in terms if term.kind in kinds}
    texts |= {text.split(" (")[0] for text in texts} if "title" in kinds else set()
    return name.casefold() in texts


def _since(settings: FetchSettings) -> str:
    now = datetime.now(timezone.utc)
    if settings.refresh:
        return now.isoformat(timespec="seconds")
    if settings.max_age_days is None:
        return ""
    try:
        return (now - timedelta(days=settings.max_age_days)).isoformat(timespec="seconds")
    except OverflowError:
        return ""
