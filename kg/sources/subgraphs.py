"""Fetching the subgraphs of categories, breadth first, into the cache.

Every finished batch is kept at once, and what was asked is noted, so that an interrupted fetch goes on
where it stopped and a second one asks for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from kgvad.console import Advance, progress
from kgvad.errors import CategoryTableError, OfflineError
from kgvad.kg.graph.traversal import Reach
from kgvad.kg.properties import INCOMING, TABLE
from kgvad.kg.sources.service import TruncatedAnswerError
from kgvad.kg.sources.wikidata import WikidataClient
from kgvad.kg.store.cache import Store, label_of
from kgvad.kg.store.schema import Batch, Term
from kgvad.kg.tables import CategoryTable, qid_number

logger = logging.getLogger(__name__)


UP = ("P279", "P31")
SINGLE_TRIES = 3  # of a question about one item whose answer is cut


@dataclass(frozen=True)
class FetchSettings:
    """How much is fetched and what counts as old."""

    reach: Reach = field(default_factory=Reach)
    batch: int = 100  # items in one VALUES list
    budget: int = 5000  # items asked about in one call
    max_age_days: float | None = None  # ask again about what is older; None: never
    refresh: bool = False  # ask again about everything


@dataclass
class Report:
    """What a fetch did."""

    requests: int = 0
    rows: int = 0
    asked: int = 0  # items asked about
    cached: int = 0  # items that the cache knew
    left_out: int = 0  # items beyond the budget


class Fetcher:
    """Fetches subgraphs with one client into one store."""

    def __init__(self, store: Store, client: WikidataClient, settings: FetchSettings | None = None) -> None:
        self.store, self.client = store, client
        self.settings = settings or FetchSettings()
        self.report = Report()
        self._since = _since(self.settings)
        self._size = {"item": max(1, self.settings.batch), "incoming": max(1, self.settings.batch)}
        self._items: set[str] = set()

    def tables(self, *tables: CategoryTable) -> Report:
        """Fetch the subgraphs of the categories of some tables together; see :meth:`subgraphs`."""
        primary = {item.qid for table in tables for category in table.categories for item in category.primary}
        return self.subgraphs(primary, {qid for table in tables for qid in table.qids} - primary)

    def subgraphs(self, primary: Iterable[str], related: Iterable[str] = ()) -> Report:
        """Fetch everything around ``primary`` items, and what lies above ``related`` ones.

        Raises
        ------
        FetchError
            The service refused or cannot be reached; what was fetched before is kept.
        """
        first = set(primary)
        roots = first | set(related)
        reach = self.settings.reach
        with progress("Wikidata") as advance:
            self._ask("item", roots, advance)
            aside = [pid for pid in TABLE if pid not in UP]
            seen, frontier = set(roots), set(roots)
            for depth in range(reach.up):
                above = {fact.object for fact in self.store.facts(frontier, UP)}
                if depth < reach.aside:
                    above |= {fact.object for fact in self.store.facts(frontier & first, aside)}
                frontier = above - seen
                seen |= frontier
                self._ask("item", frontier, advance)
            frontier, expanded = first, set(first)
            for depth in range(max(reach.down, reach.aside)):
                self._ask("incoming", frontier, advance)
                properties = INCOMING if depth < reach.aside else ("P279",)
                found = self.store.facts_to(frontier, properties)
                below = {fact.subject for fact in found} - seen
                seen |= below
                self._ask("item", below, advance)
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

    def _ask(self, kind: str, qids: Iterable[str], advance: Advance) -> None:
        wanted = set(qids)
        known = self.store.visited(wanted, kind, self.client.scope, self.client.endpoint, self._since)
        self.report.cached += len(known)
        todo = sorted(wanted - known, key=qid_number)
        if kind == "item":
            room = max(0, self.settings.budget - len(self._items))
            self.report.left_out += len(todo[room:])
            todo = todo[:room]
            self._items.update(todo)
        while todo:
            some = todo[: self._size[kind]]
            batch = self._answer(kind, some)
            if batch is None:
                continue
            self.store.record(batch)
            self.report.rows += batch.fetch.rows
            self.report.asked += len(batch.asked)
            advance(len(batch.asked), f"Wikidata: {self.report.asked} items")
            todo = todo[len(some) :]

    def _answer(self, kind: str, qids: Sequence[str]) -> Batch | None:
        """The batch, or None after halving the size because the answer was cut."""
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
                    logger.info(f"{cut.message}; going on with {self._size[kind]} items at once")
                    return None
        raise AssertionError("unreachable")


def require(store: Store, table: CategoryTable) -> None:
    """Make sure that the cache knows every item of a table.

    Raises
    ------
    OfflineError
        Some are not known; the message names them.
    """
    known = set(store.terms(table.qids))
    missing = [qid for qid in table.qids if qid not in known]
    if missing:
        names = {item.qid: item.label for category in table.categories for item in category.items}
        shown = ", ".join(f"{qid} ({names[qid]})" for qid in missing[:8]) + (", ..." if len(missing) > 8 else "")
        remedy = f"fetch them with a network (kgvad kg fetch --dataset {table.dataset}), or correct the ids"
        raise OfflineError(f"the cache does not have {shown}", remedy)


def check_labels(store: Store, table: CategoryTable, where: str | None = None) -> list[dict[str, str]]:
    """Compare the label of every item of a table with the cache's.

    Returns
    -------
    list of dict
        One row an item for :meth:`Store.record_categories`.

    Raises
    ------
    CategoryTableError
        A label is another one; the message shows both. An alias is accepted with a warning.
    """
    terms = store.terms(table.qids)
    rows = []
    for category in table.categories:
        for item in category.items:
            of_item = terms.get(item.qid, [])
            label = label_of(of_item)
            if label is None:
                continue
            if not _called(item.label, of_item, ("label", "title")):
                if not _called(item.label, of_item, ("alias",)):
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


def _called(name: str, terms: Iterable[Term], kinds: Sequence[str]) -> bool:
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
