"""Wikidata over SPARQL 1.1: terms, statements and incoming statements of items, and items by name.

The queries use no label service, no engine's hints and no prefix that is not sent along, so that they
run unchanged on Wikidata's query service, QLever and Oxigraph. They are sent by POST.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlencode

from SPARQLWrapper import JSON, POST, SPARQLWrapper

from kgvad.errors import FetchError, UsageError
from kgvad.kg.properties import INCOMING, TABLE
from kgvad.kg.sources.service import WIKIDATA, Request, Service, ServiceSettings, TruncatedAnswerError
from kgvad.kg.store import nquads
from kgvad.kg.store.database import now
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.kg.tables import is_qid, qid_number

SEARCH_API = "https://www.wikidata.org/w/api.php"
WIKIPEDIA = "https://en.wikipedia.org/"
PREFIXES = f"""PREFIX wd: <{nquads.ENTITY}>
PREFIX wdt: <{nquads.DIRECT}>
PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
PREFIX skos: <http://www.w3.org/2004/02/skos/core#>
PREFIX schema: <http://schema.org/>
"""
LANGUAGE = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,8})*")
NAMED = {"label": "rdfs:label", "alias": "skos:altLabel", "description": "schema:description"}

Row = dict[str, dict[str, str]]


class WikidataClient:
    """Reads facts from a SPARQL endpoint.

    Parameters
    ----------
    settings
        Endpoint, contact, timeouts, budget.
    languages
        Of the labels, aliases and descriptions, in order of preference.
    properties
        Ids of the properties to read; each must be in ``kgvad.kg.properties.TABLE``.
    sleep, clock
        For tests; see :class:`Service`.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        languages: Sequence[str] = ("en", "mul"),
        properties: Sequence[str] = tuple(TABLE),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for language in languages:
            if not LANGUAGE.fullmatch(language):
                raise UsageError(f"{language!r} is not a language code", 'write "en" or "pt-br"')
        for pid in properties:
            if pid not in TABLE:
                raise UsageError(f"{pid!r} is not a property that kgvad reads", f"choose from {', '.join(TABLE)}")
        self.service = Service(settings, sleep, clock)
        self.languages, self.properties = tuple(languages), tuple(properties)
        content = "|".join(("1", *self.languages, *sorted(self.properties)))
        self.scope = hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def endpoint(self) -> str:
        """Address of the SPARQL service."""
        return self.service.settings.endpoint

    def select(self, query: str) -> tuple[list[Row], float]:
        """Bindings of a SELECT query in the form of SPARQL 1.1 JSON, and the seconds it took.

        Raises
        ------
        TruncatedAnswerError
            The answer was truncated; a smaller request may succeed.
        FetchError
            The service refused, or cannot be reached.
        """
        answer, seconds = self.service.send(self._request(PREFIXES + query))
        try:
            rows = answer["results"]["bindings"]
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise TypeError
        except (KeyError, TypeError) as error:
            remedy = "check that it is the address of a SPARQL 1.1 service"
            raise FetchError(f"{self.endpoint} answers JSON that is not a SPARQL result", remedy) from error
        return rows, seconds

    def _request(self, query: str) -> Request:
        """The query as an HTTP request: SPARQLWrapper encodes it by the SPARQL 1.1 protocol, the service sends it."""
        wrapper = SPARQLWrapper(self.endpoint, agent=self.service.user_agent)
        wrapper.setMethod(POST)
        wrapper.setReturnFormat(JSON)
        wrapper.setOnlyConneg(True)  # no "format=json" parameters, which only some services know
        wrapper.setQuery(query)
        encoded = wrapper._createRequest()  # the one way to a request that is not sent yet
        body = encoded.data
        assert isinstance(body, bytes)  # SPARQLWrapper encodes the form
        return Request("POST", encoded.full_url, dict(encoded.header_items()), body)

    def items(self, qids: Iterable[str]) -> Batch:
        """Terms of items, titles of their English articles, and their statements."""
        requested = _checked(qids)
        items = " ".join(f"wd:{qid}" for qid in requested)
        what = " ".join([*NAMED.values(), *(f"wdt:{pid}" for pid in self.properties)])
        languages = ", ".join(f'"{language}"' for language in (*self.languages, ""))  # "": no language is given
        # VALUES in each branch: Oxigraph joins a VALUES before a UNION only after it, three times as slow.
        query = f"""SELECT ?item ?what ?value WHERE {{
  {{ VALUES ?item {{ {items} }} VALUES ?what {{ {what} }} ?item ?what ?value .
    FILTER(ISIRI(?value) || LANG(?value) IN ({languages})) }}
  UNION
  {{ VALUES ?item {{ {items} }} ?page schema:about ?item ; schema:isPartOf <{WIKIPEDIA}> ; schema:name ?value .
    BIND(schema:name AS ?what) }}
}}"""
        return self._batch("item", query, requested)

    def incoming(self, qids: Iterable[str], cap: int = 60) -> Batch:
        """Statements that point to items, such as their subclasses, causes and parts.

        More than ``cap`` an item (on average over the batch) count as a truncated answer; of a single item the
        first ``cap`` are returned.
        """
        requested = _checked(qids)
        items = " ".join(f"wd:{qid}" for qid in requested)
        what = " ".join(f"wdt:{pid}" for pid in INCOMING if pid in self.properties)
        limit = cap * len(requested) + (len(requested) > 1)
        query = f"""SELECT ?item ?what ?value WHERE {{
  VALUES ?value {{ {items} }} VALUES ?what {{ {what} }}
  ?item ?what ?value . FILTER(STRSTARTS(STR(?item), "{nquads.ENTITY}Q"))
}} LIMIT {limit}"""
        batch = self._batch("incoming", query, requested)
        if len(requested) > 1 and batch.fetch.rows >= limit:
            raise TruncatedAnswerError(
                f"more than {cap} statements an item point to {requested[0]} and others", "request fewer items"
            )
        return batch

    def named(self, name: str) -> list[str]:
        """Items whose label or alias is ``name`` as written, in lower case or capitalised; sorted."""
        spellings = sorted({name, name.lower(), name[:1].upper() + name[1:]})
        languages = (*self.languages, "")
        texts = " ".join(nquads.literal(spelling, language) for spelling in spellings for language in languages)
        query = f"""SELECT DISTINCT ?item WHERE {{
  VALUES ?name {{ {texts} }} VALUES ?what {{ rdfs:label skos:altLabel }} ?item ?what ?name .
}} LIMIT 50"""
        rows, _ = self.select(query)
        found = {qid for row in rows if (qid := nquads.entity(_value(row, "item"))) is not None}
        return sorted(found, key=qid_number)

    def search(self, name: str, api: str = SEARCH_API) -> list[str]:
        """Items that Wikidata's own search finds for ``name``, best first."""
        parameters = {
            "action": "wbsearchentities",
            "search": name,
            "language": self.languages[0],
            "type": "item",
            "limit": "10",
            "format": "json",
        }
        answer, _ = self.service.send(Request("GET", f"{api}?{urlencode(parameters)}"))
        hits = answer.get("search", []) if isinstance(answer, dict) else []
        return [hit["id"] for hit in hits if isinstance(hit, dict) and is_qid(str(hit.get("id", "")))]

    def _batch(self, kind: str, query: str, requested: list[str]) -> Batch:
        rows, seconds = self.select(query)
        digest = hashlib.sha256(" ".join(query.split()).encode()).hexdigest()
        fetch = Fetch(
            name=f"{self.endpoint}#{digest[:20]}",
            fetched_at=now(),
            kind=kind,
            endpoint=self.endpoint,
            query_hash=digest,
            scope=self.scope,
            seconds=round(seconds, 3),
            rows=len(rows),
        )
        batch = Batch(fetch, tuple(requested))
        expected = set(requested)
        for row in rows:
            fact = _fact(row)
            if isinstance(fact, Statement):
                if (fact.object if kind == "incoming" else fact.subject) in expected:
                    batch.statements.append(fact)
            elif isinstance(fact, Term) and fact.qid in expected:
                batch.terms.append(fact)
        return batch


def is_wikidata(endpoint: str) -> bool:
    """Whether an endpoint is Wikidata's own query service, which also offers a search."""
    return endpoint.rstrip("/") == WIKIDATA


def _fact(row: Row) -> Term | Statement | None:
    """The fact of a binding, if kgvad stores facts of this kind; nothing about the answer is taken for granted."""
    value = row.get("value")
    if not isinstance(value, dict):
        return None
    text = _value(row, "value").encode("utf-8", "replace").decode()  # no lone surrogates
    literal = value.get("type") in ("literal", "typed-literal")
    language = str(value.get("xml:lang", "")).lower()
    return nquads.fact_of(nquads.Quad(_value(row, "item"), _value(row, "what"), text, literal, language, ""))


def _value(row: Row, name: str) -> str:
    cell = row.get(name)
    value = cell.get("value") if isinstance(cell, dict) else None
    return value if isinstance(value, str) else ""


def _checked(qids: Iterable[str]) -> list[str]:
    requested = sorted(set(qids), key=lambda qid: (len(qid), qid))
    for qid in requested:
        if not is_qid(qid):
            raise UsageError(f"{qid[:40]!r} is not a Wikidata item id", "ids look like Q53706")
    return requested
