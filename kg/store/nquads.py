"""N-Quads, the text form of the cache: one graph per fetch, named after its source.

The graph :data:`DETAILS` describes the fetches themselves: when, from where, which items were requested; and it holds
the version of the format. pyoxigraph reads; the lines are written here, so that the same facts give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import IO, NamedTuple

import pyoxigraph as ox

from kgvad.errors import StoreError
from kgvad.kg.properties import TABLE
from kgvad.kg.store.schema import Fetch, Statement, Term
from kgvad.kg.tables import is_qid

ENTITY = "http://www.wikidata.org/entity/"
DIRECT = "http://www.wikidata.org/prop/direct/"
TERM_IRIS = {
    "label": "http://www.w3.org/2000/01/rdf-schema#label",
    "alias": "http://www.w3.org/2004/02/skos/core#altLabel",
    "description": "http://schema.org/description",
    "title": "http://schema.org/name",  # Wikidata: of the article; in the cache: of the item itself
}
KIND_OF_IRI = {iri: kind for kind, iri in TERM_IRIS.items()}
DETAILS = "urn:kgvad:fetches"
VOCABULARY = "urn:kgvad:vocabulary#"
VERSION_IRI = VOCABULARY + "version"
VERSION = 1  # of the graph DETAILS
ABOUT = "http://schema.org/about"

_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f\x85\u2028\u2029]')


class Quad(NamedTuple):
    """One RDF statement. ``object`` is an IRI where ``literal`` is false; ``language`` is empty for plain literals."""

    subject: str
    predicate: str
    object: str
    literal: bool
    language: str
    graph: str  # "" for the default graph


def iri(text: str) -> str:
    """``text`` as an IRI in angle brackets, with forbidden characters escaped."""
    return "<" + re.sub(r'[\x00-\x20<>"{}|^`\\]', lambda m: f"\\u{ord(m[0]):04X}", text) + ">"


def literal(text: str, language: str = "") -> str:
    """``text`` as a quoted literal on one line."""
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
    body = _SPECIAL.sub(lambda m: named.get(m[0]) or f"\\u{ord(m[0]):04X}", text)
    return f'"{body}"@{language}' if language else f'"{body}"'


def parse(source: bytes | IO[bytes], where: str, *, turtle: bool = False) -> Iterator[Quad]:
    """Read N-Quads or N-Triples, or Turtle, statement by statement.

    Parameters
    ----------
    source
        Content, or a file opened for bytes.
    where
        Names the source in messages.
    turtle
        Whether it is Turtle.

    Raises
    ------
    StoreError
        The content does not follow the format; the message names the line.
    """
    # lenient: graph names are kept even where another program wrote an invalid IRI
    options = {"format": ox.RdfFormat.TURTLE} if turtle else {"format": ox.RdfFormat.N_QUADS, "lenient": True}
    try:
        for quad in ox.parse(source, **options):
            yield _quad(quad)
    except SyntaxError as error:
        form = "Turtle" if turtle else "N-Quads"
        if "UTF-8" in str(error):
            raise StoreError(f"{where} is not UTF-8 text (line {error.lineno})", "export it again") from error
        reason = _POSITION.sub("", error.msg).replace("\n", " ")[:160]
        raise StoreError(f"{where}, line {error.lineno} is not valid {form}: {reason}", "correct the file") from error


_POSITION = re.compile(r"^Parser error at line \d+ (?:between columns \d+ and \d+|column \d+): ")


def _quad(quad: ox.Quad) -> Quad:
    value = quad.object
    return Quad(
        subject=_text(quad.subject),
        predicate=quad.predicate.value,
        object=_text(value),
        literal=isinstance(value, ox.Literal),
        language=(value.language or "").lower() if isinstance(value, ox.Literal) else "",
        graph=_text(quad.graph_name),
    )


def _text(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple | ox.DefaultGraph) -> str:
    """Text of a term; the default graph has none, and a triple inside a triple is never stored."""
    if isinstance(term, ox.BlankNode):
        return str(term)
    return "" if isinstance(term, (ox.DefaultGraph, ox.Triple)) else term.value


def fact_of(quad: Quad) -> Term | Statement | None:
    """The term or statement that a quad expresses; None for everything that kgvad does not store.

    A text without a language is one for all of them, which Wikidata marks as ``mul``.
    """
    qid = entity(quad.subject)
    if qid is None:
        return None
    if quad.literal:
        kind = KIND_OF_IRI.get(quad.predicate)
        return Term(qid, kind, quad.language or "mul", quad.object) if kind else None
    pid, value = quad.predicate.removeprefix(DIRECT), entity(quad.object)
    if value is None or pid not in TABLE or not quad.predicate.startswith(DIRECT):
        return None
    return Statement(qid, pid, value)


def entity(text: str) -> str | None:
    """Item id of an entity IRI."""
    qid = text.removeprefix(ENTITY)
    return qid if text.startswith(ENTITY) and is_qid(qid) else None


def version_line() -> str:
    """The version of the format, without a line end."""
    return f"{iri(DETAILS)} {iri(VERSION_IRI)} {literal(str(VERSION))} {iri(DETAILS)} ."


def check_version(text: str, where: str) -> None:
    """Refuse an export of another version."""
    if text != str(VERSION):
        raise StoreError(
            f"{where} has version {text[:20]!r} of kgvad's export; this kgvad reads {VERSION}",
            "export it again with this kgvad",
        )


def term_line(term: Term, graph: str) -> str:
    """A term as N-Quads, without a line end."""
    return f"{iri(ENTITY + term.qid)} {iri(TERM_IRIS[term.kind])} {literal(term.text, term.language)} {iri(graph)} ."


def statement_line(statement: Statement, graph: str) -> str:
    """A statement as N-Quads, without a line end."""
    subject, value = iri(ENTITY + statement.subject), iri(ENTITY + statement.object)
    return f"{subject} {iri(DIRECT + statement.property)} {value} {iri(graph)} ."


def fetch_lines(fetch: Fetch, requested: Iterable[str]) -> Iterator[str]:
    """The record of a fetch and the items it requested, as N-Quads without line ends."""
    for column in fields(Fetch):
        value = getattr(fetch, column.name)
        if column.name != "name":
            yield f"{iri(fetch.name)} {iri(VOCABULARY + column.name)} {literal(str(value))} {iri(DETAILS)} ."
    for qid in requested:
        yield f"{iri(fetch.name)} {iri(VOCABULARY + 'requested')} {iri(ENTITY + qid)} {iri(DETAILS)} ."


def fetch_from(name: str, values: dict[str, str], fetched_at: str) -> Fetch:
    """The fetch that ``fetch_lines`` wrote; missing values take their defaults."""
    try:
        return Fetch(
            name=name,
            fetched_at=values.get("fetched_at", fetched_at),
            kind=values.get("kind", "import"),
            endpoint=values.get("endpoint", ""),
            query_hash=values.get("query_hash", ""),
            scope=values.get("scope", ""),
            seconds=float(values.get("seconds", "0")),
            rows=int(values.get("rows", "0")),
            inferred=values.get("inferred", "False") == "True",
            note=values.get("note", ""),
        )
    except ValueError as error:
        raise StoreError(f"the details of {name} are damaged: {error}", "export the file again") from error
