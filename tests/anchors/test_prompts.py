"""Sentences of concepts: by relation, and hostile labels stay what they are."""

from kgvad.anchors.prompts import prompt
from kgvad.kg.graph.concepts import Concept


def test_templates_and_hostile_labels():
    def concept(relation, text):
        return Concept("X", text, relation, None, None, (), "", None, 1.0)

    assert prompt(concept("cause", "a fault"), "fire") == "fire caused by a fault"
    assert prompt(concept("subclass", "car theft"), "theft") == "car theft, a kind of theft"
    assert prompt(concept("related", "handgun"), "robbery") == "handgun at a scene of robbery"
    assert prompt(concept("never heard of", "x"), "fire") == "fire, x"
    assert prompt(concept("superclass", "{category} {0} %s"), "fire") == "fire, a kind of {category} {0} %s"
