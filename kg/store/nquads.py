"""N-Quads, line by line: the text form of the cache. One graph per fetch; the graph's name is the source.

``DETAILS`` is the graph that tells of the fetches themselves: when, from where, what they asked about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import NamedTuple

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
    "title": "http://schema.org/name",  # of an article; the cache says it of the item itself
}
KIND_OF_IRI = {iri: kind for kind, iri in TERM_IRIS.items()}
DETAILS = "urn:kgvad:fetches"
VOCABULARY = "urn:kgvad:vocabulary#"
ABOUT, PART_OF = "http://schema.org/about", "http://schema.org/isPartOf"

_IRI = r"<((?:[^\x00-\x20<>\"{}|^`\\]|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8})*)>"
_BLANK = r"_:[^\s<>\"]+"
_LITERAL = r'"((?:[^"\\\n\r]|\\.)*)"(?:@([A-Za-z]+(?:-[A-Za-z0-9]+)*)|\^\^' + _IRI + r")?"
_SUBJECT = rf"(?:{_IRI}|({_BLANK}))"
_OBJECT = rf"(?:{_IRI}|({_BLANK})|{_LITERAL})"
_QUAD = re.compile(rf"{_SUBJECT}[ \t]*{_IRI}[ \t]*{_OBJECT}[ \t]*{_SUBJECT}?[ \t]*\.[ \t]*(?:#.*)?")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_LETTERS = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f\x85\u2028\u2029]')


class Quad(NamedTuple):
    """One line. ``object`` is an IRI where ``literal`` is false; ``language`` is empty for plain literals."""

    subject: str
    predicate: str
    object: str
    literal: bool
    language: str
    graph: str  # "" for the default graph


def iri(text: str) -> str:
    """``text`` as an IRI in angle brackets, everything that may not stand there escaped."""
    return "<" + re.sub(r'[\x00-\x20<>"{}|^`\\]', lambda m: f"\\u{ord(m[0]):04X}", text) + ">"


def literal(text: str, language: str = "") -> str:
    """``text`` as a quoted literal on one line."""
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
    body = _SPECIAL.sub(lambda m: named.get(m[0]) or f"\\u{ord(m[0]):04X}", text)
    return f'"{body}"@{language}' if language else f'"{body}"'


def parse_line(line: str, where: str) -> Quad | None:
    """One line of N-Quads or N-Triples; None for an empty line or a comment.

    Raises
    ------
    StoreError
        The line is neither; the message names ``where``.
    """
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return None
    match = _QUAD.fullmatch(stripped)
    if match is None:
        raise StoreError(f"{where} is not N-Quads: {stripped[:60]!r}", "export the file again; it may be cut")
    subject, blank_s, predicate, obj, blank_o, text, language, _type, graph, blank_g = match.groups()
    try:
        return Quad(
            subject=_unescape(subject) if subject is not None else str(blank_s),
            predicate=_unescape(predicate),
            object=_unescape(text if text is not None else obj if obj is not None else str(blank_o)),
            literal=text is not None,
            language=(language or "").lower(),
            graph=_unescape(graph) if graph is not None else (blank_g or ""),
        )
    except (ValueError, KeyError, OverflowError) as error:
        raise StoreError(f"{where} has an escape that N-Quads does not know", "correct the line") from error


def parse(lines: Iterable[str], where: str) -> Iterator[Quad]:
    """The quads of some lines."""
    for number, line in enumerate(lines, start=1):
        quad = parse_line(line, f"{where}, line {number}")
        if quad is not None:
            yield quad


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text

    def one(match: re.Match[str]) -> str:
        short, long, letter = match.groups()
        if letter is not None:
            return _LETTERS[letter]
        code = int(short or long, 16)
        return chr(code) if not 0xD800 <= code <= 0xDFFF else "\ufffd"

    return _ESCAPE.sub(one, text)


def fact_of(quad: Quad) -> Term | Statement | None:
    """The term or statement that a quad says; None where it says something kgvad does not keep."""
    qid = entity(quad.subject)
    if qid is None:
        return None
    if quad.literal:
        kind = KIND_OF_IRI.get(quad.predicate)
        return Term(qid, kind, quad.language, quad.object) if kind else None
    pid, value = quad.predicate.removeprefix(DIRECT), entity(quad.object)
    if value is None or pid not in TABLE or not quad.predicate.startswith(DIRECT):
        return None
    return Statement(qid, pid, value)


def entity(text: str) -> str | None:
    """Item id of an entity IRI."""
    qid = text.removeprefix(ENTITY)
    return qid if text.startswith(ENTITY) and is_qid(qid) else None


def term_line(term: Term, graph: str) -> str:
    """A term as a line without its line end."""
    return f"{iri(ENTITY + term.qid)} {iri(TERM_IRIS[term.kind])} {literal(term.text, term.language)} {iri(graph)} ."


def statement_line(statement: Statement, graph: str) -> str:
    """A statement as a line without its line end."""
    subject, value = iri(ENTITY + statement.subject), iri(ENTITY + statement.object)
    return f"{subject} {iri(DIRECT + statement.property)} {value} {iri(graph)} ."


def fetch_lines(fetch: Fetch, asked: Iterable[str]) -> Iterator[str]:
    """What is known of a fetch, as lines without line ends."""
    for column in fields(Fetch):
        value = getattr(fetch, column.name)
        if column.name != "name":
            yield f"{iri(fetch.name)} {iri(VOCABULARY + column.name)} {literal(str(value))} {iri(DETAILS)} ."
    for qid in asked:
        yield f"{iri(fetch.name)} {iri(VOCABULARY + 'asked')} {iri(ENTITY + qid)} {iri(DETAILS)} ."


def fetch_from(name: str, values: dict[str, str], fetched_at: str) -> Fetch:
    """The fetch that ``fetch_lines`` wrote; what is missing takes its default."""
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
