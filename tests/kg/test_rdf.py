"""Exports and imports: lossless, all or nothing, and the same bytes after a round trip."""

import gzip
import json
from xml.etree import ElementTree

import networkx as nx
import pytest
import rdflib

from kgvad.errors import StoreError, UsageError
from kgvad.kg import rdf
from kgvad.kg.graph.traversal import category_graph
from kgvad.kg.store import nquads
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.kg.tables import load_table

HOSTILE = [
    'say "no"',
    "back\\slash \\u0041",
    "a\nb\r\tc",
    "\x00\x01\x1f\x7f",
    "\u2028\u2029\x85",
    "\u202eabc",
    "} UNION {",
    "\U0001f525",
]


@pytest.fixture
def store(tmp_path):
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite", facts=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    with GraphStore.open(f"sqlite:///{tmp_path_factory.mktemp('kg')}/kg.sqlite") as opened:
        yield opened


def fill(store):
    fetch = Fetch(
        "http://e/sparql#0123",
        "2026-01-01T00:00:00+00:00",
        "item",
        "http://e/sparql",
        "abc",
        "s",
        0.25,
        9,
        note='a "note"',
    )
    terms = [Term("Q1", "alias", "en", text) for text in HOSTILE] + [Term("Q1", "label", "pt-br", "roubo")]
    store.record(Batch(fetch, ("Q1", "Q7"), terms, [Statement("Q1", "P279", "Q2")]))
    store.record(Batch(Fetch("urn:x", "2020-01-01", inferred=True), (), [], [Statement("Q1", "P279", "Q2")]))


def export(store, path):
    rdf.export(store, path)
    return path.read_bytes()


def test_round_trip_gives_the_same_bytes_and_facts(store, tmp_path):
    fill(store)
    first = export(store, tmp_path / "a.nq")
    with GraphStore.open(f"sqlite:///{tmp_path}/b.sqlite", facts=False) as other:
        assert rdf.load(other, tmp_path / "a.nq") == (11, 0)
        assert export(other, tmp_path / "b.nq") == first
        assert list(other.contents()) == list(store.contents())
        assert other.visited(["Q1", "Q7", "Q2"], "item", "s", "http://e/sparql") == {"Q1", "Q7"}
        rdf.load(other, tmp_path / "a.nq")
        assert export(other, tmp_path / "c.nq") == first


def test_round_trip_of_the_bundled_facts(bundled, tmp_path):
    first = export(bundled, tmp_path / "a.nq")
    with GraphStore.open(f"sqlite:///{tmp_path}/b.sqlite", facts=False) as other:
        assert rdf.load(other, tmp_path / "a.nq")[1] == 0
        assert export(other, tmp_path / "b.nq") == first
    packed = tmp_path / "a.nq.gz"
    packed.write_bytes(gzip.compress(first))
    with GraphStore.open(f"sqlite:///{tmp_path}/c.sqlite") as other:
        rdf.load(other, packed)
        assert export(other, tmp_path / "c.nq") == first


def test_rdflib_reads_the_same_facts_from_the_export(store, tmp_path):
    fill(store)
    export(store, tmp_path / "a.nq")
    data = rdflib.Dataset()
    data.parse(tmp_path / "a.nq", format="nquads")
    graph = data.graph(rdflib.URIRef("http://e/sparql#0123"))
    subject = rdflib.URIRef(nquads.ENTITY + "Q1")
    aliases = {str(value) for value in graph.objects(subject, rdflib.URIRef(nquads.TERM_IRIS["alias"]))}
    assert aliases == set(HOSTILE)
    assert (subject, rdflib.URIRef(nquads.DIRECT + "P279"), rdflib.URIRef(nquads.ENTITY + "Q2")) in graph


def test_a_label_without_a_language_names_the_item(store, tmp_path):
    """It was imported and counted, and the item had no name: only English labels were looked up."""
    (tmp_path / "mine.nt").write_text(f'<{nquads.ENTITY}Q7> <{nquads.TERM_IRIS["label"]}> "rockfall" .\n')
    assert rdf.load(store, tmp_path / "mine.nt") == (1, 0)
    assert store.labels(["Q7"]) == {"Q7": "rockfall"}


def test_the_published_subset_is_imported(store, shared):
    taken, ignored = rdf.load(store, shared / "kg" / "wikidata-subset.nq")
    assert taken > 6000 and ignored < 300
    assert store.labels(["Q53706", "Q383906"]) == {"Q53706": "robbery", "Q383906": "shoplifting"}
    assert {fetch.name for fetch in store.fetches()} >= {"urn:source:kgtk-arnold", "urn:source:vise-edge"}


def test_turtle_round_trip_keeps_every_fact(store, bundled, tmp_path):
    rdf.export(bundled, tmp_path / "a.ttl")
    taken, ignored = rdf.load(store, tmp_path / "a.ttl")
    assert ignored == 0

    def facts(opened):
        found = set()
        for batch in opened.contents():
            found |= {*batch.terms, *batch.statements}
        return found

    assert facts(store) == facts(bundled) and taken == len(facts(bundled))


def test_graphml_and_json_of_a_category_are_read_by_networkx(bundled, tmp_path):
    graph = category_graph(bundled, load_table("ucf").category("Robbery"))
    rdf.export(bundled, tmp_path / "a.graphml", graph=graph)
    back = nx.read_graphml(tmp_path / "a.graphml", force_multigraph=True)
    assert set(back.nodes) == set(graph.nodes) and back.number_of_edges() == graph.number_of_edges()
    assert back.nodes["Q53706"]["label"] == "robbery"
    assert "P279" in {data["property"] for _, _, data in back.edges(data=True)}
    rdf.export(bundled, tmp_path / "a.json", graph=graph)
    again = nx.node_link_graph(json.loads((tmp_path / "a.json").read_text("utf-8")), edges="links")
    assert nx.utils.graphs_equal(again, graph)


def test_graphml_of_everything_stays_xml_with_hostile_text(store, tmp_path):
    fill(store)
    rdf.export(store, tmp_path / "a.graphml")
    ElementTree.parse(tmp_path / "a.graphml")
    rdf.export(store, tmp_path / "a.json")
    assert {node["id"] for node in json.loads((tmp_path / "a.json").read_text("utf-8"))["nodes"]} == {"Q1", "Q2"}


def test_an_older_import_does_not_undo_a_newer_fetch(store, tmp_path):
    old = Batch(Fetch("e#1", "2026-01-01", "item", "e"), ("Q1",), [Term("Q1", "label", "en", "old")])
    store.record(old)
    export(store, tmp_path / "old.nq")
    new = Batch(Fetch("e#1", "2026-06-01", "item", "e"), ("Q1",), [Term("Q1", "label", "en", "new")])
    store.record(new)
    assert rdf.load(store, tmp_path / "old.nq") == (0, 0)
    assert store.labels(["Q1"]) == {"Q1": "new"}


GOOD = '<http://www.wikidata.org/entity/Q1> <http://www.w3.org/2000/01/rdf-schema#label> "one"@en <urn:g> .\n'
DETAIL = '<urn:g> <urn:kgvad:vocabulary#seconds> "soon" <urn:kgvad:fetches> .\n'
BAD = {
    "cut": (".nq", GOOD + GOOD[:60], "line 2 is not valid N-Quads"),
    "text": (".nq", "hello\n", "line 1 is not valid N-Quads"),
    "empty": (".nq", "", "holds no facts"),
    "other facts only": (".nt", "<http://a> <http://b> <http://c> .\n", "holds no facts"),
    "an unknown escape": (".nq", GOOD.replace("one", "\\q"), "not valid N-Quads: .*escape"),
    "too high a code point": (".nq", GOOD.replace("one", "\\UFFFFFFFF"), "not valid N-Quads: .*escape"),
    "not Turtle": (".ttl", "@prefix : <x", "line 1 is not valid Turtle"),
    "damaged details": (".nq", GOOD + DETAIL, "details of urn:g are damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_changes_nothing_and_its_line_is_named(name, store, tmp_path):
    suffix, text, message = BAD[name]
    fill(store)
    before = export(store, tmp_path / "before.nq")
    path = tmp_path / f"bad{suffix}"
    path.write_text(text, "utf-8")
    with pytest.raises(StoreError, match=message):
        rdf.load(store, path)
    assert export(store, tmp_path / "after.nq") == before


def test_an_export_of_another_version_is_refused(store, tmp_path):
    fill(store)
    first = export(store, tmp_path / "a.nq")
    line = nquads.version_line().encode()
    assert first.startswith(line + b"\n")
    (tmp_path / "new.nq").write_bytes(first.replace(line, line.replace(b'"1"', b'"2"')))
    with pytest.raises(StoreError, match=r"new\.nq has version '2' of kgvad's export; this kgvad reads 1"):
        rdf.load(store, tmp_path / "new.nq")
    assert export(store, tmp_path / "b.nq") == first


def test_turtle_is_the_same_bytes_whatever_order_facts_came_in(tmp_path):
    batches = [Batch(Fetch(f"urn:{n}", "2026-01-01"), (), [Term(f"Q{n}", "label", "en", "x")]) for n in (1, 2, 3)]
    written = []
    for name, order in (("a", batches), ("b", batches[::-1])):
        with GraphStore.open(f"sqlite:///{tmp_path}/{name}.sqlite", facts=False) as opened:
            opened.record_all(order)
            rdf.export(opened, tmp_path / f"{name}.ttl")
        written.append((tmp_path / f"{name}.ttl").read_bytes())
    assert written[0] == written[1] and b"@prefix wd:" in written[0]


def test_other_bad_files(store, tmp_path):
    with pytest.raises(UsageError, match="no file"):
        rdf.load(store, tmp_path / "none.nq")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(UsageError, match=r"neither \.nq, \.nt nor \.ttl"):
        rdf.load(store, tmp_path / "a.docx")
    (tmp_path / "latin.nq").write_bytes(GOOD.replace("one", "\xe9").encode("latin-1"))
    with pytest.raises(StoreError, match="not UTF-8 text"):
        rdf.load(store, tmp_path / "latin.nq")
    (tmp_path / "cut.nq.gz").write_bytes(gzip.compress(GOOD.encode() * 99)[:-20])
    with pytest.raises(StoreError, match="cannot read"):
        rdf.load(store, tmp_path / "cut.nq.gz")
    (tmp_path / "no.nq.gz").write_bytes(b"not gzip")
    with pytest.raises(StoreError, match="cannot read"):
        rdf.load(store, tmp_path / "no.nq.gz")
    (tmp_path / "folder.nq").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        rdf.load(store, tmp_path / "folder.nq")
    with pytest.raises(UsageError, match="format"):
        rdf.export(store, tmp_path / "a.docx")
    assert store.counts()["terms"] == 0


def test_bundled_file_is_small_and_canonical():
    from kgvad.kg.store import bundled

    data = bundled._bytes(bundled.FACTS)
    lines = data.decode().splitlines()
    assert len(data) < 600_000 and lines == sorted(lines) and len(set(lines)) == len(lines)
    graphs = {quad.graph for quad in nquads.parse(data, "facts")}
    assert graphs == {batch.fetch.name for batch in bundled.batches()}
    for batch in bundled.batches():
        assert batch.fetch.fetched_at and "@" in batch.fetch.note
