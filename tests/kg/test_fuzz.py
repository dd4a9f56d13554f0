"""Any text survives the cache, the exports, the drawings and a real service without injection."""

import tempfile
from pathlib import Path
from xml.etree import ElementTree

import kg_servers as servers
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kgvad.errors import CategoryTableError, KgvadError, StoreError
from kgvad.kg import draw, rdf
from kgvad.kg.sources.draft import first_table
from kgvad.kg.sources.service import ServiceSettings
from kgvad.kg.sources.wikidata import WikidataClient
from kgvad.kg.store import nquads
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.kg.tables import is_qid, parse_table

FRAGMENTS = [
    '"', "'", "\\", "\n", "\r\n", "\x00", "\x1a", "\x1b[31m", "\u202e\u05d0\u0628", "\u2028", "\U0001f525",
    '"@en . <urn:x> <urn:y> "', "} UNION { ?s ?p ?o } #", "'; DROP TABLE terms; --", "</text><script>", "]]>",
    "&amp;", "<urn:x>", "_:b0",
]  # fmt: skip
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TEXT = st.lists(st.one_of(ANY, st.sampled_from(FRAGMENTS)), min_size=1, max_size=6).map("".join).filter(bool)
QIDS = st.integers(1, 10**9).map("Q{}".format)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
slow = settings(quick, max_examples=15)


@given(TEXT, st.sampled_from(["", "en", "zh-hant"]))
@example("x" * 1_000_000, "en")
@quick
def test_a_literal_survives_a_round_trip(text, language):
    line = nquads.term_line(Term("Q1", "label", language, text), "urn:g")
    assert "\n" not in line and "\r" not in line
    [quad] = nquads.parse(line.encode(), "here")
    assert nquads.fact_of(quad) == Term("Q1", "label", language or "mul", text)
    assert quad.graph == "urn:g"


@given(st.text(max_size=80))
@quick
def test_any_graph_name_survives_a_round_trip(name):
    name = name.encode("utf-8", "replace").decode()
    [quad] = nquads.parse(f"<urn:a> <urn:b> <urn:c> {nquads.iri(name)} .".encode(), "here")
    assert quad.graph == name


@given(st.text(max_size=200))
@quick
def test_any_line_is_read_or_refused(line):
    for turtle in (False, True):
        try:
            quads = list(nquads.parse(line.encode("utf-8", "surrogatepass"), "here", turtle=turtle))
        except StoreError as error:
            assert "here" in str(error) and "\n" not in str(error)
        else:
            assert all(isinstance(quad, nquads.Quad) for quad in quads)


@given(st.lists(st.tuples(QIDS, st.sampled_from(["label", "alias", "description"]), TEXT), min_size=1, max_size=8))
@example([("Q1", "alias", '"' * 1_000_000)])
@slow
def test_store_export_and_import_are_lossless(rows):
    terms = [Term(qid, kind, "en", text) for qid, kind, text in rows]
    statements = [Statement(terms[0].qid, "P279", "Q7")]
    with tempfile.TemporaryDirectory() as folder:
        first, second = f"sqlite:///{folder}/a.sqlite", f"sqlite:///{folder}/b.sqlite"
        with GraphStore.open(first, facts=False) as store, GraphStore.open(second, facts=False) as other:
            store.record(Batch(Fetch("urn:f", "2026-01-01"), (), terms, statements))
            assert next(store.contents()).terms == sorted(set(terms))
            for term in terms:
                assert term in store.terms([term.qid])[term.qid]
                assert term.kind == "description" or term.qid in store.called(term.text)
            rdf.export(store, Path(folder) / "a.nq")
            rdf.load(other, Path(folder) / "a.nq")
            rdf.export(other, Path(folder) / "b.nq")
            assert (Path(folder) / "a.nq").read_bytes() == (Path(folder) / "b.nq").read_bytes()
            rdf.export(store, Path(folder) / "a.graphml")
            ElementTree.parse(Path(folder) / "a.graphml")


@given(TEXT)
@quick
def test_svg_and_tree_of_any_text_are_safe(text):
    node = draw.Node("root", kind="category", children=[draw.Node(text, "Q1"), draw.Node(text, kind="cue")])
    picture = ElementTree.fromstring(draw.svg(node))
    names = {element.tag.split("}")[1] for element in picture.iter()}
    assert names <= {"svg", "title", "rect", "path", "g", "text"}
    for line in draw.text_lines(node):
        assert not any(ord(letter) < 32 or letter in "\x7f\u202e\u2066" for letter in line)


@given(st.lists(TEXT, min_size=1, max_size=3))
@example(["two\nlines", "Two\nlines"])
@slow
def test_a_draft_from_any_names_is_a_table_or_refused(names):
    with tempfile.TemporaryDirectory() as folder, GraphStore.open(f"sqlite:///{folder}/a.sqlite", facts=False) as store:
        try:
            text, table, _ = first_table(store, "mine", names)
        except (CategoryTableError, KgvadError) as error:
            assert "\n" not in str(error)
        else:
            assert set(table.names) == {*(name for name in names if name.casefold() != "normal"), "Normal"}
            assert parse_table(text, "again") == table


@given(st.text(max_size=300))
@quick
def test_any_toml_is_a_table_or_refused(text):
    with pytest.raises(CategoryTableError):
        parse_table(text, "x.toml")


@given(st.text(max_size=30))
@example("Q1} UNION {")
@quick
def test_an_item_id_is_digits_after_a_q(text):
    assert is_qid(text) == (
        text[:1] == "Q" and text[1:].isascii() and text[1:].isdigit() and text[1] != "0" and len(text) <= 20
    )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A service whose items carry hostile texts."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [*FRAGMENTS, "".join(FRAGMENTS), "y" * 1_000_000]
    terms = [Term(f"Q{number}", "label", "en", text) for number, text in enumerate(texts, start=1)]
    lines = [nquads.term_line(term, "g:").replace(" <g:> .", " .") for term in terms]
    (folder / "facts.nt").write_text("\n".join(lines) + "\n", "utf-8")
    with servers.oxigraph(folder, folder / "facts.nt") as url:
        yield url, terms


def test_hostile_labels_survive_a_real_service(endpoint, tmp_path):
    url, terms = endpoint
    client = WikidataClient(ServiceSettings(url, servers.CONTACT))
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite", facts=False) as store:
        store.record(client.items([term.qid for term in terms]))
        found = {term for some in store.terms(term.qid for term in terms).values() for term in some}
    assert found == set(terms)


@given(TEXT)
@quick
def test_a_name_matches_exactly_or_not_at_all(endpoint, name):
    url, terms = endpoint
    client = WikidataClient(ServiceSettings(url, servers.CONTACT))
    spellings = {name, name.lower(), name[:1].upper() + name[1:]}
    assert set(client.named(name)) == {term.qid for term in terms if term.text in spellings}
