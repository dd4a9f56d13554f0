"""The drawing of the graph behind an event: labels, directions and properties in words."""

import re

import pytest

from kgvad.explain.analysis.analyse import with_category_text
from kgvad.explain.parts import GraphStep
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.rendering.subgraph import draw
from kgvad.explain.report import Evidence
from kgvad.kg.properties import TABLE


def cited(concept, qid, path=(), **more):
    fields = {
        "concept": concept, "category": "RoadAccidents", "relation": "related", "qid": qid, "property": None,
        "path": path, "path_text": None, "source": None, "fetched_at": None,
        "inside": 0.2, "outside": 0.1, "normal": 0.0, "rise": 0.1, "contribution": 0.5,
    }  # fmt: skip
    return Evidence(**(fields | more))


RAMMING = cited("vehicle ramming", "Q25")
CRASH = cited("accident", "Q17", [GraphStep(subject="Q9", property="P279", object="Q17", subject_label="crash")])
NARROW = cited("car accident", "Q61", [GraphStep(subject="Q61", property="P279", object="Q9", object_label="crash")])


def tips(svg):
    """Whether each arrow points right, in the order of drawing."""
    return [float(back) < 0 for back in re.findall(r'class="tip" d="M[\d.,]+l(-?\d+)', svg)]


def test_arrows_lead_from_subject_to_object():
    svg = str(draw([CRASH, NARROW], "road accident", "title", {"P279": "kind of"}))
    assert tips(svg) == [True, False]  # to the broader term on the right; from the narrower one back to the item
    assert svg.count(">kind of<") == 2 and "P279" not in svg
    assert svg.count(">crash<") == 1 and svg.count(">Q9<") == 1  # one box for both


def test_no_arrow_from_the_category_to_its_items_and_unknown_properties_keep_their_number():
    assert tips(str(draw([RAMMING], "road accident", "title"))) == []
    assert ">P279<" in str(draw([CRASH], "road accident", "title", {"P1": "x"}))
    assert draw([cited("a white van", None)], "road accident", "title") is None


def test_labels_stay_text():
    svg = str(draw([cited('<b>&"x"', "Q1")], "<script>", '"><script>', {}))
    assert "<b>" not in svg and "<script>" not in svg and "&lt;b&gt;&amp;" in svg


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_property_that_is_followed_has_words_that_fit_the_arrow(language):
    words = Renderer(language).phrases.properties
    assert set(words) == set(TABLE) and all(len(text) <= 20 for text in words.values())


def test_a_path_begins_with_the_words_of_the_category():
    item = cited("x", "Q1", path_text="RoadAccidents is related to vehicle ramming in the category table")
    for texts, expected in (({"RoadAccidents": "road accident"}, "road accident"), ({}, "road accidents")):
        found = with_category_text(item, "RoadAccidents", texts)
        assert found.path_text.startswith(f"{expected} is related to")
    other = cited("x", "Q1", path_text="car accident is a kind of crash")
    assert with_category_text(other, "RoadAccidents", {"RoadAccidents": "road accident"}) == other
