"""How the client handles failures of the service; a stub in front of a real Oxigraph simulates each."""

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import kg_servers as servers
import pytest

from kgvad.errors import FetchError, UsageError
from kgvad.kg.sources.service import Service, ServiceSettings, TruncatedAnswerError
from kgvad.kg.sources.subgraphs import Fetcher, FetchSettings
from kgvad.kg.sources.wikidata import WikidataClient
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import load_table

status = servers.status


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparql")
    with servers.oxigraph(folder, servers.as_wikidata(folder / "facts.nt")) as url:
        yield url


@pytest.fixture
def stub(endpoint):
    server = servers.Stub(endpoint)
    yield server
    server.close()


def client_of(stub, clock=None, **settings):
    clock = clock or servers.Clock()
    given = ServiceSettings(stub.url, servers.CONTACT, **{"timeout_s": 5.0, **settings})
    return WikidataClient(given, sleep=clock.sleep, clock=clock), clock


TOMORROW = (datetime.now(timezone.utc) + timedelta(hours=24)).strftime("%Y-%m-%d")
UA_TEXT = b"Please set a user-agent and respect our robot policy"

# First answers of the service; error and part of its message (None: success in the end); requests; seconds of waiting.
CASES = {
    "429 with Retry-After": ([status(429, Retry_After="7")], None, 2, (7, 7)),
    "429 with Retry-After: 0": ([status(429, Retry_After="0")], None, 2, (1, 1)),
    "503 with a date that has passed": ([status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")], None, 2, (1, 1)),
    "429 without Retry-After": ([status(429)], None, 2, (60, 90)),
    "429 every time": (
        [status(429, Retry_After="5")] * 9,
        (FetchError, "requests a pause (429) (6 tries); try again after"),
        6,
        (25, 25),
    ),
    "429 that asks for too much": ([status(429, Retry_After="86400")], (FetchError, TOMORROW), 1, (0, 0)),
    "403": (
        [status(403, b"banned")],
        (FetchError, f"refuses this client (403): banned; do not send another request before {TOMORROW}"),
        1,
        (0, 0),
    ),
    "503, then 502": ([status(503), status(502)], None, 3, (1 + 2, 1.5 + 3)),
    "503 with Retry-After": ([status(503, Retry_After="3")], None, 2, (3, 3)),
    "500": ([status(500, b"overload")], None, 2, (1, 1.5)),
    "500 every time": ([status(500)] * 9, (FetchError, "is temporarily unavailable (500) (6 tries)"), 6, (31, 46.5)),
    "500 that ran out of time": (
        [status(500, b"java.util.concurrent.TimeoutException")],
        (TruncatedAnswerError, "ran out of time"),
        1,
        (0, 0),
    ),
    "400": (
        [status(400, b"Lexical error at line 1")] * 3,
        (FetchError, "does not accept the query (400): "),
        1,
        (0, 0),
    ),
    "400 whose text is cut": (
        [servers.short_error],
        (FetchError, "does not accept the query (400): Lexical"),
        1,
        (0, 0),
    ),
    "404": ([status(404)], (FetchError, "404"), 1, (0, 0)),
    "cut body": ([servers.cut], (TruncatedAnswerError, "broke off its answer"), 1, (0, 0)),
    "fewer bytes than announced": ([servers.short], (TruncatedAnswerError, "broke off its answer"), 1, (0, 0)),
    "a Java trace in the JSON": (
        [status(200, b'{"results": {"bindings": [\njava.util.concurrent.TimeoutException')],
        (TruncatedAnswerError, "broke off"),
        1,
        (0, 0),
    ),
    "plain-text 200 about the User-Agent": (
        [status(200, UA_TEXT, Content_Type="text/plain")],
        (FetchError, "refuses the User-Agent"),
        1,
        (0, 0),
    ),
    "garbage": ([status(200, b"\x00\xff\xfe<html>busy</html>")], None, 2, (1, 1.5)),
    "garbage every time": (
        [status(200, b"\x00\xff<p>busy</p>")] * 9,
        (FetchError, "does not answer in JSON: "),
        6,
        (31, 46.5),
    ),
    "an empty body": ([status(200)], None, 2, (1, 1.5)),
    "JSON of something else": ([status(200, b'{"boolean": true}')], (FetchError, "not a SPARQL result"), 1, (0, 0)),
    "bindings of a wrong type": (
        [status(200, b'{"results": {"bindings": [1, 2]}}')],
        (FetchError, "not a SPARQL result"),
        1,
        (0, 0),
    ),
    "a bare number": ([status(200, b"17")], (FetchError, "not a SPARQL result"), 1, (0, 0)),
    "NaN": ([status(200, b'{"results": NaN}')], (TruncatedAnswerError, "broke off"), 1, (0, 0)),
    "connection reset": ([servers.reset, servers.reset], None, 3, (1 + 2, 1.5 + 3)),
    "redirect 302": (
        [status(302, Location="http://127.0.0.1:9/elsewhere")],
        (FetchError, "has moved to http://127.0.0.1:9/elsewhere"),
        1,
        (0, 0),
    ),
    "redirect 307": (
        [status(307, Location="http://127.0.0.1:9/elsewhere")],
        (FetchError, "has moved to http://127.0.0.1:9/elsewhere"),
        1,
        (0, 0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_failure_is_handled_as_documented(stub, name):
    script, failure, requests, (least, most) = CASES[name]
    stub.script = list(script)
    client, clock = client_of(stub)
    if failure is None:
        batch = client.items(["Q53706"])
        assert "robbery" in {term.text for term in batch.terms}
    else:
        kind, message = failure
        with pytest.raises(FetchError) as caught:
            client.items(["Q53706"])
        assert type(caught.value) is kind
        assert message in str(caught.value)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert len(stub.requests) == requests
    assert least <= sum(clock.slept) <= most


def test_redirects_are_not_followed(stub):
    stub.script = [status(302, Location="/moved"), status(200, b'{"results": {"bindings": []}}')]
    client, _ = client_of(stub)
    with pytest.raises(FetchError, match=r"has moved to .*/moved; give the new address as --endpoint"):
        client.items(["Q53706"])


def test_a_body_slower_than_the_deadline_is_truncated(stub):
    stub.script = [servers.drip]
    import time

    settings = ServiceSettings(stub.url, servers.CONTACT, timeout_s=1.0)
    began = time.monotonic()
    with pytest.raises(TruncatedAnswerError, match="did not end its answer in time"):
        WikidataClient(settings).items(["Q53706"])
    assert time.monotonic() - began < 4


def test_ten_megabytes_of_json_are_read(stub):
    cell = {"type": "literal", "xml:lang": "en", "value": "x" * 10_000}
    row = {
        "item": {"type": "uri", "value": "http://www.wikidata.org/entity/Q53706"},
        "what": {"type": "uri", "value": "http://www.w3.org/2004/02/skos/core#altLabel"},
    }
    rows = [{**row, "value": {**cell, "value": f"{n} {cell['value']}"}} for n in range(1000)]
    stub.script = [status(200, json.dumps({"head": {}, "results": {"bindings": rows}}).encode())]
    client, _ = client_of(stub)
    assert len(client.items(["Q53706"]).terms) == 1000


def test_a_body_over_the_size_limit_is_truncated(stub):
    stub.script = [status(200, b" " * 200_000)]
    client, _ = client_of(stub, largest_body=100_000)
    with pytest.raises(TruncatedAnswerError, match="is larger than 100000 bytes"):
        client.items(["Q53706"])


def test_a_refused_connection_gives_up_after_two_tries():
    clock = servers.Clock()
    port = servers.free_port()
    settings = ServiceSettings(f"http://127.0.0.1:{port}/query", servers.CONTACT)
    with pytest.raises(FetchError, match=r"cannot be reached .*\(2 tries\); try again after"):
        WikidataClient(settings, sleep=clock.sleep, clock=clock).items(["Q53706"])
    assert 1 <= sum(clock.slept) <= 1.5


def test_retry_after_may_be_a_date(stub):
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    stub.script = [status(429, Retry_After=date)]
    client, clock = client_of(stub)
    client.items(["Q53706"])
    assert 25 <= sum(clock.slept) <= 30


def test_every_request_is_posted_with_program_version_and_contact(stub):
    client, _ = client_of(stub)
    client.items(["Q53706"])
    client.incoming(["Q53706"])
    for method, headers, _ in stub.requests:
        assert method == "POST"
        assert headers["User-Agent"].startswith("kgvad/") and servers.CONTACT in headers["User-Agent"]


@pytest.mark.parametrize("contact", [None, "", "me", "a@b", "x y@z.org", "a@b.org\r\nHost: evil"])
def test_no_request_without_a_contact(stub, contact):
    with pytest.raises(UsageError, match="--contact"):
        WikidataClient(ServiceSettings(stub.url, contact))
    assert stub.requests == []


@pytest.mark.parametrize("address", ["", "query.wikidata.org", "file:///etc/passwd", "ftp://x/y", "http://a b/"])
def test_invalid_addresses_are_refused(address):
    with pytest.raises(UsageError, match="not the address"):
        Service(ServiceSettings(address, servers.CONTACT))


def test_query_time_stays_within_the_budget_per_minute(stub):
    clock = servers.Clock(a_request=5.0)  # every look at the clock costs five seconds: ten a request
    client, _ = client_of(stub, clock, budget_s=20.0, timeout_s=500.0)
    for _ in range(12):
        client.items(["Q53706"])
    assert clock.time >= (12 * 10 / 20 - 1) * 60  # 20 seconds of its time a minute, and the first minute is free
    free, clock = client_of(stub, servers.Clock(a_request=5.0), budget_s=1000.0, timeout_s=500.0)
    for _ in range(12):
        free.items(["Q53706"])
    assert clock.slept == []


def test_a_truncated_answer_halves_the_batch_without_loss(stub, tmp_path):
    def cut_large(handler, body):
        (servers.cut if body.count(b"wd%3AQ") > 24 else servers.passed_on)(handler, body)

    stub.default = cut_large
    whole = fetch_all(stub, tmp_path / "halved.sqlite")
    cuts = len(stub.requests)
    stub.default, stub.requests = None, []
    assert fetch_all(stub, tmp_path / "at-once.sqlite") == whole
    assert len(stub.requests) < cuts


def fetch_all(stub, path):
    table = load_table("xd")
    client, _ = client_of(stub)
    with GraphStore.open(f"sqlite:///{path}", facts=False) as store:
        Fetcher(store, client, FetchSettings(batch=50)).tables(table)
        return {
            (fact.subject, fact.property, fact.object) for batch in store.contents() for fact in batch.statements
        } | {term for batch in store.contents() for term in batch.terms}


def test_an_item_whose_answer_is_always_truncated_is_named(stub, tmp_path):
    stub.default = servers.cut
    client, _ = client_of(stub)
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite", facts=False) as store:
        with pytest.raises(TruncatedAnswerError, match="even for Q53706 alone; try again later"):
            Fetcher(store, client).subgraphs(["Q53706", "Q2727213"])
        assert store.counts()["items"] == 0
