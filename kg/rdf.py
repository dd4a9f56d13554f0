"""Export of the cache as RDF and as files for graph viewers, and import of RDF."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx

from kgvad.errors import StoreError, UsageError
from kgvad.files import replacing
from kgvad.kg.properties import TABLE
from kgvad.kg.store import nquads
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.store.database import now
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term

FORMATS = ("nq", "ttl", "graphml", "json")
PREFIXES = {"wd": nquads.ENTITY, "wdt": nquads.DIRECT, "schema": "http://schema.org/"}
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def nquads_lines(store: GraphStore) -> Iterator[str]:
    """The whole cache as N-Quads, sorted within each fetch, fetches sorted by name; lines without line ends.

    The same facts give the same bytes, in whatever order they were recorded.
    """
    yield nquads.version_line()
    for batch in store.contents():
        yield from nquads.fetch_lines(batch.fetch, batch.requested)
        for term in batch.terms:
            yield nquads.term_line(term, batch.fetch.name)
        for statement in batch.statements:
            yield nquads.statement_line(statement, batch.fetch.name)


def export(
    store: GraphStore, path: Path, format_: str | None = None, graph: nx.MultiDiGraph[str] | None = None
) -> None:
    """Write the cache, or a category's subgraph, to a file, atomically.

    Parameters
    ----------
    store
        The cache.
    path
        The file to write.
    format_
        ``nq`` (N-Quads, everything, with sources), ``ttl`` (Turtle, facts only), ``graphml`` or ``json``
        (node-link); None: by the suffix.
    graph
        The subgraph for ``graphml``, ``json`` and ``ttl``; None: everything.

    Raises
    ------
    UsageError
        The format is unknown, or N-Quads were requested for a subgraph.
    """
    form = format_ or path.suffix.lstrip(".").lower()
    if form not in FORMATS:
        raise UsageError(f"{form or path.name!r} is not an export format", f"use --format {'|'.join(FORMATS)}")
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for piece in pieces(store, form, graph):
            file.write(piece)


def pieces(store: GraphStore, form: str, graph: nx.MultiDiGraph[str] | None = None) -> Iterator[str]:
    """The text of an export in pieces; see :func:`export`."""
    if form == "nq":
        if graph is not None:
            raise UsageError("N-Quads hold the whole cache, not one category", "use --format ttl, graphml or json")
        yield from (line + "\n" for line in nquads_lines(store))
    elif form == "ttl":
        yield _turtle(store, None if graph is None else set(graph.nodes))
    elif form == "graphml":
        yield "\n".join(nx.generate_graphml(_plain(graph if graph is not None else everything(store)))) + "\n"
    else:
        data = nx.node_link_data(graph if graph is not None else everything(store), edges="links")
        yield json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def everything(store: GraphStore) -> nx.MultiDiGraph[str]:
    """The whole cache as a graph; attributes as in :func:`kgvad.kg.graph.traversal.category_graph`."""
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for batch in store.contents():
        for item in sorted({q for s in batch.statements for q in (s.subject, s.object)} | {t.qid for t in batch.terms}):
            graph.add_node(item)
        for s in batch.statements:
            words = TABLE[s.property].words
            fetch = batch.fetch
            graph.add_edge(
                s.subject,
                s.object,
                key=s.property,
                words=words,
                provenance=fetch.name,
                fetched_at=fetch.fetched_at,
                inferred=fetch.inferred,
            )
    for qid, terms in store.terms(graph.nodes).items():
        graph.nodes[qid]["label"] = label_of(terms) or qid
        graph.nodes[qid]["description"] = next((term.text for term in terms if term.kind == "description"), "")
    return graph


def load(store: GraphStore, path: Path) -> tuple[int, int]:
    """Import N-Quads, N-Triples or Turtle (``.gz`` too), all or nothing.

    The name of a graph becomes the source of its facts. Where the file describes its fetches, as kgvad's own exports
    do, their times and the items they requested are imported too. A fetch that is newer in the cache is not replaced.

    Returns
    -------
    (int, int)
        Facts imported, and triples that kgvad does not store.

    Raises
    ------
    UsageError
        No such file.
    StoreError
        The content does not match the suffix (the message names the line), or another version wrote it.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        quads = _quads(path)
        batches, ignored = _batches(quads, f"urn:kgvad:import:{digest[:20]}", path)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, EOFError) as error:
        raise StoreError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    newer = {fetch.name: fetch.fetched_at for fetch in store.fetches()}
    taken = [batch for batch in batches if newer.get(batch.fetch.name, "") <= batch.fetch.fetched_at]
    store.record_all(taken)
    return sum(len(batch.terms) + len(batch.statements) for batch in taken), ignored


def _quads(path: Path) -> Iterator[nquads.Quad]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[-2:-1] if packed else suffixes[-1:]) or [""]
    if kind[0] not in (".nq", ".nt", ".ttl"):
        raise UsageError(f"{path} is neither .nq, .nt nor .ttl", "convert it to N-Quads")
    with gzip.open(path) if packed else path.open("rb") as file:
        content: Any = file
        yield from nquads.parse(content, str(path), turtle=kind[0] == ".ttl")


def _batches(quads: Iterable[nquads.Quad], default: str, path: Path) -> tuple[list[Batch], int]:
    facts: dict[str, tuple[list[Term], list[Statement]]] = {}
    details: dict[str, dict[str, str]] = {}
    requested: dict[str, list[str]] = {}
    page_item: dict[str, str] = {}
    page_name: dict[str, tuple[str, str, str]] = {}
    ignored = 0
    for quad in quads:
        graph = quad.graph or default
        if graph == nquads.DETAILS:
            if quad.predicate == nquads.VERSION_IRI:
                nquads.check_version(quad.object, str(path))
            else:
                _detail(quad, details, requested)
            continue
        fact = nquads.fact_of(quad)
        if fact is None:
            # Wikidata has the title on the article and links the article to the item.
            if quad.predicate == nquads.ABOUT and (qid := nquads.entity(quad.object)):
                page_item[quad.subject] = qid
            elif quad.predicate == nquads.TERM_IRIS["title"] and quad.subject.startswith("https://en.wikipedia.org/"):
                page_name[quad.subject] = (quad.object, quad.language, graph)
            else:
                ignored += 1
            continue
        terms, statements = facts.setdefault(graph, ([], []))
        terms.append(fact) if isinstance(fact, Term) else statements.append(fact)
    for page, (name, language, graph) in page_name.items():
        if name and page in page_item:
            facts.setdefault(graph, ([], []))[0].append(Term(page_item[page], "title", language, name))
    if not facts and not details:
        raise StoreError(f"{path} holds no facts that kgvad stores", "it needs Wikidata items in Wikidata's vocabulary")
    batches = []
    for name in sorted({*facts, *details}):
        fetch = nquads.fetch_from(name, details.get(name, {}), now()) if name in details else Fetch(name, now())
        terms, statements = facts.get(name, ([], []))
        batches.append(Batch(fetch, tuple(requested.get(name, ())), terms, statements))
    return batches, ignored


def _detail(quad: nquads.Quad, details: dict[str, dict[str, str]], requested: dict[str, list[str]]) -> None:
    key = quad.predicate.removeprefix(nquads.VOCABULARY)
    details.setdefault(quad.subject, {})
    if key == "requested":
        if (qid := nquads.entity(quad.object)) is not None:
            requested.setdefault(quad.subject, []).append(qid)
    else:
        details[quad.subject][key] = quad.object


def _turtle(store: GraphStore, only: set[str] | None) -> str:
    import rdflib

    graph = rdflib.Graph()
    for prefix, namespace in PREFIXES.items():
        graph.bind(prefix, rdflib.Namespace(namespace), replace=True)
    for batch in store.contents():
        for term in batch.terms:
            if only is None or term.qid in only:
                text = rdflib.Literal(term.text, lang=term.language or None)
                graph.add((rdflib.URIRef(nquads.ENTITY + term.qid), rdflib.URIRef(nquads.TERM_IRIS[term.kind]), text))
        for s in batch.statements:
            if only is None or {s.subject, s.object} <= only:
                ends = [rdflib.URIRef(nquads.ENTITY + qid) for qid in (s.subject, s.object)]
                graph.add((ends[0], rdflib.URIRef(nquads.DIRECT + s.property), ends[1]))
    return graph.serialize(format="turtle")


def _plain(graph: nx.MultiDiGraph[str]) -> nx.MultiDiGraph[str]:
    """A copy that XML can hold: no control characters, the property as an attribute beside the key."""
    copy: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    copy.add_nodes_from((node, _clean(data)) for node, data in graph.nodes(data=True))
    for subject, value, key, data in graph.edges(keys=True, data=True):
        copy.add_edge(subject, value, key=key, **_clean({**data, "property": key}))
    return copy


def _clean(data: dict[str, object]) -> dict[str, object]:
    return {key: _NO_XML.sub("\ufffd", value) if isinstance(value, str) else value for key, value in data.items()}
