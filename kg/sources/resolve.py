"""Look-up of items by name, and a draft of a category table from class names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kgvad.errors import CategoryTableError, UsageError
from kgvad.kg.sources.wikidata import WikidataClient, is_wikidata
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.store.schema import Term
from kgvad.kg.tables import VERSION, CategoryTable, ItemRef, is_qid, load_table, parse_table, qid_number

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
            label=label_of(terms.get(qid, [])) or qid,
            description=next((term.text for term in terms.get(qid, []) if term.kind == "description"), ""),
            type=labels.get(types.get(qid, ""), ""),
            match=matches.get(qid, "search"),
            sources=_sources(store, terms.get(qid, [])),
        )
        for qid in qids
        if qid in terms
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


def item_row(candidate: Candidate, role: str = "primary") -> str:
    """A candidate as a row of a category table."""
    return (
        f"{{ qid = {_toml(candidate.qid)}, label = {_toml(candidate.label)}, role = {_toml(role)}, "
        f"verified_by = {_toml(candidate.sources)} }}"
    )


def first_table(
    store: GraphStore, dataset: str, names: Sequence[str], client: WikidataClient | None = None
) -> tuple[str, CategoryTable, list[str]]:
    """Draft of a category table: class names with the items that have these names.

    The category ``Normal`` is that of the UCF-Crime table.

    Returns
    -------
    (str, CategoryTable, list of str)
        The TOML text, the same as a table, and the names for which no item was found.
    """
    normal = load_table("ucf").normal
    parts = [
        "# Draft by kgvad datasets init. Check the items, and write two to six cues for each category:",
        "# short phrases for what a fixed camera shows.",
        "",
        f"version = {VERSION}",
        f"dataset = {_toml(dataset)}",
        f"title = {_toml(dataset)}",
    ]
    unknown = []
    for name in [name for name in names if name.casefold() != "normal"]:
        candidates = resolve(store, name, client)
        if not candidates:
            unknown.append(name)
        parts += ["", "[[category]]", f"name = {_toml(name)}", f"text = {_toml(name.lower())}"]
        best = [candidate for candidate in candidates if candidate.match == candidates[0].match][:1]
        parts += ["items = [", *(f"  {item_row(candidate)}," for candidate in best), "]"] if best else ["items = []"]
        for other in candidates[1:6]:
            parts.append(f"# or: {item_row(other)} # {_comment(other)}")
        parts.append(f"cues = [{_toml(name.lower())}]")
    parts += ["", "[[category]]", 'name = "Normal"', f"text = {_toml(normal.text)}", "normal = true", "items = ["]
    parts += [f"  {_item_row(item)}," for item in normal.items]
    parts += ["]", "cues = [", *(f"  {_toml(cue)}," for cue in normal.cues), "]", ""]
    text = "\n".join(parts)
    return text, parse_table(text, dataset), unknown


def _sources(store: GraphStore, terms: Sequence[Term]) -> str:
    for term in terms:
        if term.kind in ("label", "title"):
            return store.term_source(term)[0].removeprefix("urn:source:").split("#")[0]
    return ""


def _item_row(item: ItemRef) -> str:
    values = (("qid", item.qid), ("label", item.label), ("role", item.role), ("verified_by", item.verified_by))
    return "{ " + ", ".join(f"{key} = {_toml(value)}" for key, value in values) + " }"


def _comment(candidate: Candidate) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in candidate.description)[:100]


def _toml(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's, but for U+007F and the surrogate pairs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
