"""Fetching from a real SPARQL service on loopback: results, repeated fetches, and look-up by name."""

import json

import kg_servers as servers
import numpy as np
import pytest

from kgvad.errors import CategoryTableError, FetchError, OfflineError, UsageError
from kgvad.kg.graph.concepts import category_concepts
from kgvad.kg.graph.traversal import Reach
from kgvad.kg.sources import subgraphs as fetching
from kgvad.kg.sources.draft import first_table, item_row
from kgvad.kg.sources.resolve import pick, resolve
from kgvad.kg.sources.service import ServiceSettings, TruncatedAnswerError
from kgvad.kg.sources.subgraphs import Fetcher, FetchSettings, require
from kgvad.kg.sources.wikidata import WikidataClient
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.kg.tables import load_table, parse_table


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparql")
    with servers.oxigraph(folder, servers.as_wikidata(folder / "facts.nt")) as url:
        yield url


@pytest.fixture
def store(tmp_path):
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite", facts=False) as opened:
        yield opened


def client_of(endpoint, **more):
    return WikidataClient(ServiceSettings(endpoint, servers.CONTACT), **more)


def test_items_with_their_terms_titles_and_statements(endpoint):
    batch = client_of(endpoint).items(["Q53706", "Q383906", "Q999999999"])
    assert batch.requested == ("Q53706", "Q383906", "Q999999999")
    assert Term("Q53706", "label", "en", "robbery") in batch.terms
    assert Term("Q53706", "alias", "en", "mugging") in batch.terms
    assert Term("Q383906", "title", "en", "Shoplifting") in batch.terms
    assert any(term.kind == "description" for term in batch.terms)
    assert Statement("Q53706", "P279", "Q2727213") in batch.statements
    assert batch.fetch.endpoint == endpoint and batch.fetch.name.startswith(f"{endpoint}#")
    assert batch.fetch.rows == len(batch.terms) + len(batch.statements)


def test_incoming_statements_of_an_item(endpoint):
    batch = client_of(endpoint).incoming(["Q53706"])
    assert Statement("Q632327", "P279", "Q53706") in batch.statements  # carjacking
    with pytest.raises(TruncatedAnswerError, match="more than 1 statements an item"):
        client_of(endpoint).incoming(["Q53706", "Q2727213"], cap=1)
    assert len(client_of(endpoint).incoming(["Q53706"], cap=2).statements) == 2


def test_only_the_requested_properties_and_languages(endpoint):
    batch = client_of(endpoint, languages=["de"], properties=["P31"]).items(["Q53706", "Q11442"])
    assert not [term for term in batch.terms if term.kind != "title"]
    assert {statement.property for statement in batch.statements} == {"P31"}
    for wrong in ({"languages": ['en") } #']}, {"properties": ["P279> ?x"]}, {"properties": ["P999"]}):
        with pytest.raises(UsageError):
            client_of(endpoint, **wrong)


@pytest.mark.parametrize("qid", ["Q1} UNION {", "Q1 wd:Q2", "q5", "", "P31", "Q1\n"])
def test_an_invalid_id_is_not_requested(endpoint, qid):
    client = client_of(endpoint)
    with pytest.raises(UsageError, match="not a Wikidata item id"):
        client.items(["Q53706", qid])
    assert client.service.requests == 0


def test_a_second_fetch_of_a_subgraph_sends_no_request(endpoint, store):
    table = load_table("ucf")
    report = Fetcher(store, client_of(endpoint)).tables(table)
    assert report.requests < 15 and report.requested > 200 and report.cached == 0
    before = list(store.contents())
    again = Fetcher(store, client_of(endpoint)).tables(table)
    assert (again.requests, again.requested) == (0, 0) and again.cached >= 200
    assert list(store.contents()) == before


def test_a_fetched_cache_gives_the_concepts_of_the_bundled_facts(endpoint, store, tmp_path):
    table = load_table("ucf")
    Fetcher(store, client_of(endpoint)).tables(table)
    with GraphStore.open(f"sqlite:///{tmp_path}/bundled.sqlite") as bundled:
        for row in table.categories:
            fetched = {c.text for c in category_concepts(store, row)}
            known = {c.text for c in category_concepts(bundled, row)}
            # The bundled hierarchy holds the other datasets too, so that specificity differs a little.
            assert len(fetched & known) >= 0.9 * len(known), row.name


def test_the_published_subset_is_fetched_and_its_labels_match(shared, tmp_path):
    files = [shared / "kg" / name for name in ("wikidata-subset.nt", "wikidata-subset-inferred.nt")]
    with (
        servers.oxigraph(tmp_path, *files) as url,
        GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite", facts=False) as store,
    ):
        for name in ("ucf", "xd", "ubnormal", "msad"):
            table = load_table(name)
            Fetcher(store, client_of(url)).tables(table)
            rows = fetching.check_labels(store, table)
            known = set(store.terms(table.qids))
            assert {row["qid"] for row in rows} == known and len(known) > 0.95 * len(table.qids)
        theft = [c.text for c in category_concepts(store, load_table("ucf").category("Burglary"))]
        assert "property crime" in theft


class Interrupted(WikidataClient):
    """Asks the real service a few times, then the user presses Ctrl-C."""

    def __init__(self, endpoint, after):
        super().__init__(ServiceSettings(endpoint, servers.CONTACT))
        self.left = after

    def select(self, query):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().select(query)


def test_an_interrupted_fetch_resumes(endpoint, tmp_path):
    settings = FetchSettings(batch=20)
    with GraphStore.open(f"sqlite:///{tmp_path}/whole.sqlite", facts=False) as whole:
        requests = Fetcher(whole, client_of(endpoint), settings).tables(load_table("xd")).requests
        expected = whole.counts()
    with GraphStore.open(f"sqlite:///{tmp_path}/parts.sqlite", facts=False) as parts:
        with pytest.raises(KeyboardInterrupt):
            Fetcher(parts, Interrupted(endpoint, 4), settings).tables(load_table("xd"))
        assert len(parts.fetches()) == 4
        rest = Fetcher(parts, client_of(endpoint), settings).tables(load_table("xd"))
        assert rest.requests == requests - 4
        assert parts.counts() == expected


def test_only_old_facts_are_fetched_again(endpoint, store):
    requested = ("Q53706",)
    client = client_of(endpoint)
    old = Fetch("old", "2020-01-01T00:00:00+00:00", "item", endpoint, scope=client.scope)
    store.record(Batch(old, requested, [Term("Q53706", "alias", "en", "gone since")]))
    reach = Reach(up=0, down=0, aside=0)
    near = {"reach": reach}
    assert Fetcher(store, client, FetchSettings(**near)).subgraphs([], requested).requests == 0
    assert Fetcher(store, client, FetchSettings(max_age_days=100_000, **near)).subgraphs([], requested).requests == 0
    assert Fetcher(store, client, FetchSettings(max_age_days=30, **near)).subgraphs([], requested).requested == 1
    assert "gone since" not in {term.text for term in store.terms(requested)["Q53706"]}
    assert store.labels(requested) == {"Q53706": "robbery"}
    before = client.service.requests
    Fetcher(store, client, FetchSettings(max_age_days=30, **near)).subgraphs([], requested)
    assert client.service.requests == before
    Fetcher(store, client, FetchSettings(refresh=True, **near)).subgraphs([], requested)


def test_other_languages_of_a_cached_item_are_fetched(endpoint, store):
    settings = FetchSettings(reach=Reach(up=0, down=0, aside=0))
    Fetcher(store, client_of(endpoint), settings).subgraphs([], ["Q53706"])
    report = Fetcher(store, client_of(endpoint, languages=["en", "de"]), settings).subgraphs([], ["Q53706"])
    assert report.requested == 1


def test_the_budget_of_items(endpoint, store, capsys):
    report = Fetcher(store, client_of(endpoint), FetchSettings(budget=10)).tables(load_table("ucf"))
    assert report.left_out > 0
    assert "items were left out: the budget is 10 (--budget)" in capsys.readouterr().err


def test_offline_names_what_is_missing(store):
    store.record(Batch(Fetch("f", "2026-01-01"), (), [Term("Q53706", "label", "en", "robbery")]))
    table = parse_table(
        'dataset = "mine"\ntitle = "Mine"\n[[category]]\nname = "R"\ntext = "r"\nitems = ['
        '{qid = "Q53706", label = "robbery"}, {qid = "Q5", label = "human"}]\n'
        '[[category]]\nname = "Normal"\ntext = "n"\nnormal = true\ncues = ["walking"]\n',
        "mine",
    )
    with pytest.raises(OfflineError) as caught:
        require(store, table, "mine.toml")
    assert "no English name of Q5 (human); fetch them with a network (kgvad kg fetch --dataset mine.toml)" in str(
        caught.value
    )


def test_answers_about_other_items_are_ignored(store):
    def cell(text, kind="uri"):
        return {"type": kind, "value": text, "xml:lang": "en"}

    wd, label = "http://www.wikidata.org/entity/", "http://www.w3.org/2000/01/rdf-schema#label"
    rows = [
        {"item": cell(wd + "Q6"), "what": cell(label), "value": cell("not requested", "literal")},
        {"item": cell(wd + "Q5} UNION {"), "what": cell(label), "value": cell("no id", "literal")},
        {"item": cell(wd + "Q5"), "what": cell("http://x/y"), "value": cell("other", "literal")},
        {"item": cell(wd + "Q5"), "what": cell(label), "value": 7},
        {"item": cell(wd + "Q5"), "what": cell(label)},
        {"item": cell(wd + "Q5"), "what": cell(label), "value": cell("lone \ud800 half", "literal")},
    ]
    stub = servers.Stub()
    stub.script = [servers.status(200, json.dumps({"results": {"bindings": rows}}).encode())]
    batch = client_of(stub.url).items(["Q5"])
    stub.close()
    store.record(batch)
    assert [term.text for term in store.terms(["Q5"])["Q5"]] == ["lone ? half"]
    assert store.counts()["items"] == 1


def test_items_by_name(endpoint, store):
    found = resolve(store, "theft", client_of(endpoint))
    assert [(c.qid, c.label, c.match) for c in found] == [("Q2727213", "theft", "label")]
    assert found[0].description.startswith("act of taking") and found[0].type == "property crime"
    assert [(c.qid, c.match) for c in resolve(store, "Stealing", client_of(endpoint))] == [("Q2727213", "alias")]
    assert resolve(store, "theft")[0].qid == "Q2727213"  # and now without a network
    assert resolve(store, "oil spill", client_of(endpoint)) == []
    assert resolve(store, "Q53706", client_of(endpoint))[0].label == "robbery"
    for name in ("", "  ", "x" * 300):
        with pytest.raises(UsageError):
            resolve(store, name)


@pytest.mark.parametrize(
    "name", ['theft" } UNION { ?item ?p ?o', "theft\\", "the\nft", "') OR 1=1 --", "\u202etheft", "{}|^`"]
)
def test_hostile_names_match_no_item(endpoint, store, name):
    assert resolve(store, name, client_of(endpoint)) == []


def test_picking_an_item(endpoint, store):
    client = client_of(endpoint)
    row = item_row(pick(store, "theft", "Q2727213", client))
    assert row.startswith('{ qid = "Q2727213", label = "theft", role = "primary", verified_by = "http://127.0.0.1')
    with pytest.raises(CategoryTableError, match="Q53706 is 'robbery' in Wikidata, not 'theft'; choose another item"):
        pick(store, "theft", "Q53706", client)
    with pytest.raises(CategoryTableError, match="the knowledge graph has no item Q999999999"):
        pick(store, "theft", "Q999999999", client)
    with pytest.raises(UsageError, match="not a Wikidata item id"):
        pick(store, "theft", "theft", client)


def test_wikidatas_search(endpoint):
    stub = servers.Stub(endpoint)
    stub.script = [
        servers.status(429, Retry_After="0"),
        servers.status(200, b'{"search": [{"id": "Q53706"}, {"id": "P31"}, {"id": 5}, 7]}'),
        servers.status(200, b"[]"),
    ]
    client = client_of(stub.url)
    assert client.search("hold up & co", api=stub.url) == ["Q53706"]
    assert client.search("hold up", api=stub.url) == []
    method, headers, _ = stub.requests[-1]
    assert method == "GET" and servers.CONTACT in headers["User-Agent"]
    stub.script = [servers.status(403)]
    with pytest.raises(FetchError, match="403"):
        client.search("x", api=stub.url)
    stub.close()


def test_draft_of_a_category_table(endpoint, store):
    names = ["Robbery", 'Dog "attack"', "Oil spill", "stealing"]
    text, table, unknown = first_table(store, "mine", names, client_of(endpoint))
    assert table.names == [*names, "Normal"] and "Oil spill" in unknown
    robbery = table.category("robbery")  # a bundled table has it
    assert (robbery.items[0].qid, robbery.cues) == ("Q53706", load_table("ucf").category("Robbery").cues)
    assert table.category("stealing").items[0].label == "theft"
    assert len(table.normal.cues) >= 10
    assert parse_table(text, "again") == table
    for dataset, names, message in (
        ("mine", ["Robbery", "robbery"], "names 'Robbery' twice; name each once"),
        ("no/name", ["Robbery"], "'no/name' is not a name for a dataset; use up to 64 letters"),
        ("mine", ["Robbery", " "], "--category ' ' is empty; give the name"),
        ("mine", ["normal"], "this one no other; name abnormal ones: --category"),
    ):
        with pytest.raises(UsageError, match=message):
            first_table(store, dataset, names)


def test_a_draft_takes_items_by_part_of_the_name_and_by_meaning(tmp_path):
    known = {"Q171558": "accident", "Q1": "lorry crash", "Q2": "tea"}

    def similar(text, texts):
        assert text == "forklift accident"
        return np.array([{"accident": 0.9, "lorry crash": 0.6, "tea": 0.1}[one] for one in texts])

    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite", facts=False) as store:
        terms = [Term(qid, "label", "en", label) for qid, label in known.items()]
        store.record(Batch(Fetch("urn:example", "2026-01-01T00:00:00+00:00"), tuple(known), terms, []))
        _, plain, _ = first_table(store, "mine", ["ForkliftAccident"])
        _, filled, unknown = first_table(store, "mine", ["ForkliftAccident"], similar=similar)
    category = plain.category("ForkliftAccident")
    assert (category.text, category.cues) == ("forklift accident", ("forklift accident",))
    assert [(item.label, item.role) for item in category.items] == [("accident", "related")]
    assert [item.label for item in filled.category("ForkliftAccident").items] == ["accident", "lorry crash"]
    assert unknown == []


def test_a_category_gets_the_cues_of_bundled_ones_with_the_same_item(tmp_path):
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite") as store:
        _, table, _ = first_table(store, "mine", ["holdup"])  # an alias of robbery, and no name of a bundled category
    category, cues = table.category("holdup"), load_table("ucf").category("Robbery").cues
    assert [item.label for item in category.primary] == ["robbery"]
    assert set(cues) <= set(category.cues)
