"""Concepts turned into sentences that a text encoder understands."""

from __future__ import annotations

import re

from kgvad.kg.graph import Concept

# One sentence a relation. {category} is the category in words, {text} the concept.
TEMPLATES: dict[str, str] = {
    "label": "{text}",
    "alias": "{text}",
    "cue": "{text}",
    "description": "{category}: {text}",
    "superclass": "{category}, a kind of {text}",
    "subclass": "{text}, a kind of {category}",
    "cause": "{category} caused by {text}",
    "effect": "{category} leading to {text}",
    "part": "{text} as a part of {category}",
    "whole": "{category} as a part of {text}",
    "use": "{category} with {text}",
}
OTHER = "{category}, {text}"


def prompt(concept: Concept, category: str) -> str:
    """The sentence of a concept.

    Parameters
    ----------
    concept
        From :func:`kgvad.kg.graph.category_concepts`.
    category
        The category in words, e.g. ``"road accident"``.
    """
    template = TEMPLATES.get(concept.relation, OTHER)
    # str.replace and not str.format: labels come from a public wiki and may hold braces
    sentence = template.replace("{category}", category).replace("{text}", concept.text)
    return re.sub(r"\s+", " ", sentence).strip()
