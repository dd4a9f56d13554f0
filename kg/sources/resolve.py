"""Look-up of items by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kgvad.errors import CategoryTableError, UsageError
from kgvad.kg.sources.wikidata import WikidataClient, is_wikidata
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.store.schema import Term
from kgvad.kg.tables import is_qid, qid_number

MATCHES = ("label", "title", "alias", "search")


@dataclass(frozen=True)
class Candidate:
    """An item that a name may refer to."""

    qid: str
    label: str
    description: str
    type: str  # label of its class or superclass
    match: str  # the matching text: label, title or alias; search: found by the service's search
    sources: str  # source of its label


def resolve(store: GraphStore, name: str, client: WikidataClient | None = None) -> list[Candidate]:
    """Items called ``name``, the best match first; without a client only those in the cache.

    Raises
    ------
    UsageError
        The name is empty or longer than any label.
    FetchError
        The service refused or cannot be reached.
    """
    name = " ".join(name.split())
    if not name or len(name) > 250:
        raise UsageError("a name to resolve has 1 to 250 characters")
    found = [name] if is_qid(name) else []
    if client is not None:
        found += client.named(name)
        if is_wikidata(client.endpoint):
            found += client.search(name)
        if found:
            store.record(client.items(found))
    matches = store.called(name)
    qids = {*matches, *found}
    terms = store.terms(qids)
    types: dict[str, str] = {}
    for pid in ("P31", "P279"):
        for fact in store.facts(qids, [pid]):
            types.setdefault(fact.subject, fact.object)
    if client is not None and (unnamed := set(types.values()) - set(store.labels(types.values()))):
        store.record(client.items(unnamed))
    labels = store.labels(types.values())
    candidates = [
        Candidate(
            qid=qid,
            label=label_of(terms.get(qid, [])) or (name if qid in matches else qid),
            description=next((term.text for term in terms.get(qid, []) if term.kind == "description"), ""),
            type=labels.get(types.get(qid, ""), ""),
            match=matches.get(qid, "search"),
            sources=_sources(store, terms.get(qid, [])),
        )
        for qid in qids
        if qid in terms or qid in matches  # by a name in another language
    ]
    return sorted(
        candidates,
        key=lambda c: (MATCHES.index(c.match), found.index(c.qid) if c.qid in found else 99, qid_number(c.qid)),
    )


def pick(store: GraphStore, name: str, qid: str, client: WikidataClient | None = None) -> Candidate:
    """The item ``qid``, if ``name`` is one of its names.

    Raises
    ------
    CategoryTableError
        The item has another name; the message shows both.
    """
    if not is_qid(qid):
        raise UsageError(f"{qid[:40]!r} is not a Wikidata item id", "ids look like Q53706")
    for candidate in resolve(store, name, client):
        if candidate.qid == qid and candidate.match != "search":
            return candidate
    if client is not None:
        store.record(client.items([qid]))
    label = store.labels([qid]).get(qid)
    if label is None:
        raise CategoryTableError(f"the knowledge graph has no item {qid}", "check the id, or fetch it with a network")
    raise CategoryTableError(
        f"{qid} is {label!r} in Wikidata, not {name!r}", "choose another item, or use its own name"
    )


def _sources(store: GraphStore, terms: Sequence[Term]) -> str:
    for term in terms:
        if term.kind in ("label", "title"):
            return store.term_source(term)[0].removeprefix("urn:source:").split("#")[0]
    return ""
