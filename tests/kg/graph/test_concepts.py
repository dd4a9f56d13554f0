"""Subgraphs, ranked concepts and paths, on the bundled facts and on small graphs written here."""

import math

import networkx as nx
import pytest

from kgvad.kg.graph.abstract_items import ABSTRACT
from kgvad.kg.graph.concepts import Limits, category_concepts, explain_path
from kgvad.kg.graph.traversal import Hierarchy, Reach, category_graph, path_in_words, shortest_path
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.kg.tables import Category, bundled_tables, load_table

CATEGORIES = [(name, category) for name in bundled_tables() for category in load_table(name).categories]
NONSENSE = {
    "logjam", "supernova", "urinating", "misuse of statistics", "deception", "shooting sport", "organ theft",
    "entity", "event", "occurrence", "process", "abstract object", "human behaviour", "suicide methods",
    "cause of death", "social issue", "blood sport", "data theft", "concept",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with GraphStore.open(f"sqlite:///{tmp_path_factory.mktemp('kg')}/kg.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def hierarchy(store):
    return Hierarchy.of(store)


def by_hand(tmp_path, labels, edges, more=()):
    """A store with items Q1, Q2, ... named in order, and edges (subject, property, object) by name."""
    qid = {label: f"Q{number}" for number, label in enumerate(labels, start=900_000_001)}
    opened = GraphStore.open(f"sqlite:///{tmp_path}/hand.sqlite", facts=False)
    terms = [Term(qid[label], "label", "en", label) for label in labels] + [Term(qid[a], *rest) for a, *rest in more]
    statements = [Statement(qid[s], p, qid[o]) for s, p, o in edges]
    opened.record(Batch(Fetch("hand", "2026-01-01"), (), terms, statements))
    return opened, qid


def category(**values):
    return Category(name="C", text="c", **values)


@pytest.mark.parametrize(("dataset", "row"), CATEGORIES, ids=[f"{n}-{c.name}" for n, c in CATEGORIES])
def test_concepts_are_valid_and_distinct(store, hierarchy, dataset, row):
    concepts = category_concepts(store, row, hierarchy=hierarchy)
    texts = [concept.text for concept in concepts]
    assert not NONSENSE & set(texts)
    assert not {concept.qid for concept in concepts if concept.path} & set(ABSTRACT)
    assert len({text.casefold().replace("-", "").replace(" ", "") for text in texts}) == len(texts)
    weights = [concept.weight for concept in concepts]
    assert weights == sorted(weights, reverse=True) and min(weights) > 0 and max(weights) <= 1
    assert concepts[0].relation == "label"
    for concept in concepts:
        assert concept.category == row.name
        assert explain_path(store, concept)
        if concept.path:
            assert concept.path[-1][1] == concept.property and concept.qid in concept.path[-1]
            assert concept.source and concept.fetched_at
        if concept.relation == "cue":
            assert concept.text in row.cues


@pytest.mark.parametrize("name", [name for name in load_table("ucf").names if name != "Normal"])
def test_each_category_of_ucf_crime_has_at_least_eight_concepts(store, hierarchy, name):
    concepts = category_concepts(store, load_table("ucf").category(name), hierarchy=hierarchy)
    assert sum(concept.source != "category table" for concept in concepts) >= 8  # cues are on top of that
    assert len({concept.relation for concept in concepts}) >= 3


def test_normal_has_many_concepts(store, hierarchy):
    assert len(category_concepts(store, load_table("ucf").normal, hierarchy=hierarchy)) >= 20


def test_concepts_are_deterministic_across_caches(store, hierarchy, tmp_path):
    row = load_table("ucf").category("Robbery")
    first = category_concepts(store, row, hierarchy=hierarchy)
    assert category_concepts(store, row) == first
    with GraphStore.open(f"sqlite:///{tmp_path}/other.sqlite") as other:
        assert category_concepts(other, row) == first


def test_explanations_in_words(store, hierarchy):
    concepts = category_concepts(store, load_table("ucf").category("Robbery"), hierarchy=hierarchy)
    said = {concept.text: explain_path(store, concept) for concept in concepts}
    assert said["theft"] == "robbery is a kind of theft"
    assert said["property crime"] == "robbery is a kind of theft; theft is a kind of property crime"
    assert said["carjacking"] == "carjacking is a kind of robbery"
    assert said["mugging"] == "robbery is also called mugging"
    assert said["knife"] == "Robbery is related to knife in the category table"
    assert said["a masked man pointing a gun at a cashier"] == "visual cue of Robbery, written for kgvad"
    effects = category_concepts(store, load_table("ucf").category("Explosion"), hierarchy=hierarchy)
    assert "explosion has the effect mushroom cloud" in {explain_path(store, concept) for concept in effects}


def test_weights_by_hand(tmp_path):
    # top - 4 descendants of 5 items with it; specificity 1 - log(1 + descendants) / log(1 + items)
    names = ["root", "parent", "top", "child", "grandchild"]
    edges = [
        ("root", "P279", "parent"),
        ("parent", "P279", "top"),
        ("child", "P279", "root"),
        ("grandchild", "P279", "child"),
    ]
    opened, qid = by_hand(tmp_path, names, edges)
    hierarchy = Hierarchy.of(opened)
    assert hierarchy.specificity(qid["grandchild"]) == 1.0
    assert hierarchy.specificity(qid["child"]) == pytest.approx(1 - math.log(2) / math.log(6))
    assert hierarchy.specificity(qid["top"]) == pytest.approx(1 - math.log(5) / math.log(6))
    row = category(items=[{"qid": qid["root"], "label": "root"}], cues=["a cue"])
    weights = {c.text: c.weight for c in category_concepts(opened, row, Limits(specificity=0.0))}
    says = hierarchy.specificity
    assert weights == {
        "root": 1.0,
        "c": 1.0,
        "a cue": 0.95,
        "child": round(0.75 * (0.5 + 0.5 * says(qid["child"])), 4),
        "grandchild": round(0.75 * 0.75 * 0.8 * 1.0, 4),
        "parent": round(0.70 * (0.5 + 0.5 * says(qid["parent"])), 4),
        "top": round(0.70 * 0.70 * 0.8 * (0.5 + 0.5 * says(qid["top"])), 4),
    }


def test_individuals_abstract_items_and_duplicates_are_left_out(tmp_path):
    names = ["fire", "London fire of 1666", "blaze", "forest-fire", "forest fires", "barred", "below barred", "bang"]
    names[1] = "Great Fire"
    edges = [(name, "P279", "fire") for name in names[1:6]] + [("below barred", "P279", "barred")]
    aliases = [
        ("fire", "alias", "en", "Blaze"),
        ("fire", "alias", "en", "a very long alias of more than six words"),
        ("fire", "alias", "en", "???"),
    ]
    opened, qid = by_hand(tmp_path, names, edges, aliases)
    row = category(items=[{"qid": qid["fire"], "label": "fire"}], exclude=[qid["barred"]])
    texts = {concept.text for concept in category_concepts(opened, row)}
    assert "blaze" in texts and "bang" not in texts
    assert len(texts & {"forest-fire", "forest fires"}) == 1  # near-duplicates
    assert not texts & {"Great Fire", "barred", "below barred", "???", "a very long alias of more than six words"}


def test_limits_of_relations(tmp_path):
    names = ["fire", *(f"{chr(97 + n) * 4} fire" for n in range(20))]
    opened, qid = by_hand(tmp_path, names, [(name, "P279", "fire") for name in names[1:]])
    row = category(items=[{"qid": qid["fire"], "label": "fire"}])
    count = {
        n: sum(c.relation == "subclass" for c in category_concepts(opened, row, Limits(subclass=n))) for n in (0, 3, 9)
    }
    assert count == {0: 0, 3: 3, 9: 9}
    hub = Limits(subclass=50, reach=Reach(degree=19))  # an item with more subclasses than that is not walked down
    assert not any(c.relation == "subclass" for c in category_concepts(opened, row, hub))


def test_traversal_of_a_cyclic_hierarchy_ends(tmp_path):
    opened, qid = by_hand(tmp_path, ["a", "b", "c"], [("a", "P279", "b"), ("b", "P279", "c"), ("c", "P279", "a")])
    row = category(items=[{"qid": qid["a"], "label": "a"}])
    assert {c.text for c in category_concepts(opened, row, Limits(specificity=0))} == {"a", "b", "c"}
    assert shortest_path(opened, qid["a"], qid["c"]) == ((qid["c"], "P279", qid["a"]),)


def test_an_item_without_facts(tmp_path):
    opened, _ = by_hand(tmp_path, ["a"], [])
    row = category(items=[{"qid": "Q999", "label": "unknown thing"}], cues=["a cue"])
    concepts = category_concepts(opened, row)
    assert [c.text for c in concepts] == ["c", "unknown thing", "a cue"]
    assert concepts[1].source == "category table" and concepts[1].fetched_at is None


def test_shortest_path_in_words(store):
    path = shortest_path(store, "Q329425", "Q2727213")
    assert path_in_words(store, path) == "burglary is a kind of property crime; theft is a kind of property crime"
    up = shortest_path(store, "Q53706", "Q857984")
    assert path_in_words(store, up) == "robbery is a kind of theft; theft is a kind of property crime"
    assert shortest_path(store, "Q53706", "Q53706") == ()
    assert shortest_path(store, "Q53706", "Q999999999") is None


def test_subgraph_of_a_category(store):
    graph = category_graph(store, load_table("ucf").category("Explosion"))
    assert isinstance(graph, nx.MultiDiGraph)
    assert graph.nodes["Q179057"]["label"] == "explosion" and graph.nodes["Q179057"]["role"] == "primary"
    assert graph.nodes["Q1362483"]["distance"] == 0 and graph.nodes["Q1132455"]["distance"] == 1
    edge = graph.edges["Q1362483", "Q179057", "P279"]
    assert edge["words"] == "is a kind of" and edge["provenance"].startswith("urn:source:") and edge["fetched_at"]
    assert nx.has_path(graph, "Q1362483", "Q1132455")  # gas explosion: explosion: hazard
    assert graph.edges["Q179057", "Q216938", "P1542"]["words"] == "has the effect"  # mushroom cloud
