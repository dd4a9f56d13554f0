"""Prompts: concepts as sentences for a text encoder."""

from __future__ import annotations

import re

from kgvad.kg.graph.concepts import Concept

# One template per relation. {subject} is the category in words, or the related item that the concept was reached from;
# {text} is the concept. Wordings were chosen on one half of the descriptions; see docs/notebook/anchors.md.
TEMPLATES: dict[str, str] = {
    "label": "{text}",
    "alias": "{text}",
    "cue": "{text}",
    "related": "{text} at a scene of {subject}",
    "subclass": "{text}, a kind of {subject}",
    "description": "{subject}: {text}",
    "superclass": "{subject}, a kind of {text}",
    "cause": "{subject} caused by {text}",
    "effect": "{subject} leading to {text}",
    "part": "{text} as a part of {subject}",
    "whole": "{subject} as a part of {text}",
    "use": "{subject} with {text}",
}
OTHER = "{subject}, {text}"


def prompt(concept: Concept, subject: str) -> str:
    """The sentence of a concept.

    Parameters
    ----------
    concept
        From :func:`kgvad.kg.graph.concepts.category_concepts`.
    subject
        The category in words ("road accident"), or the related item that the concept was reached from.
    """
    template = TEMPLATES.get(concept.relation, OTHER)
    # str.replace and not str.format: labels come from a public wiki and may hold braces
    sentence = template.replace("{subject}", subject).replace("{text}", concept.text)
    return re.sub(r"\s+", " ", sentence).strip()
