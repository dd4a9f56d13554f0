"""The properties that kgvad reads from Wikidata, and what each means for the concepts of a category.

Other properties are neither fetched nor stored. The weights rank the concepts of a category: those that describe what
is visible come first.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Property:
    """How a property is read, from its subject and from its object."""

    pid: str
    words: str  # "robbery is a kind of theft"
    relation: str  # what the object is to the subject
    weight: float  # 0 to 1: how much the object contributes to what is visible of the subject; 0: not a concept
    inverse: str = ""  # what the subject is to the object
    inverse_weight: float = 0.0


TABLE: dict[str, Property] = {
    row.pid: row
    for row in (
        Property("P279", "is a kind of", "superclass", 0.70, "subclass", 0.75),
        Property("P31", "is an instance of", "superclass", 0.45, "instance", 0.0),
        Property("P361", "is part of", "whole", 0.40, "part", 0.55),
        Property("P527", "has the part", "part", 0.55, "whole", 0.40),
        Property("P2670", "has parts of the kind", "part", 0.55, "whole", 0.40),
        Property("P828", "has the cause", "cause", 0.50, "effect", 0.60),
        Property("P1542", "has the effect", "effect", 0.60, "cause", 0.50),
        Property("P1552", "has the characteristic", "characteristic", 0.50),
        Property("P2283", "uses", "use", 0.65, "used by", 0.35),
        Property("P366", "is used for", "purpose", 0.40, "use", 0.55),
        Property("P1269", "is a facet of", "whole", 0.40, "part", 0.55),
        Property("P3095", "is practised by", "actor", 0.60, "", 0.0),
        Property("P710", "has the participant", "actor", 0.60, "", 0.0),
        Property("P186", "is made of", "material", 0.45, "", 0.0),
        Property("P276", "happens at", "place", 0.45, "", 0.0),
        Property("P460", "is said to be the same as", "same", 0.50, "same", 0.50),
        Property("P461", "is the opposite of", "opposite", 0.0, "opposite", 0.0),
        Property("P1889", "is different from", "different", 0.0, "different", 0.0),
    )
}

# Properties of the statements that are fetched about items pointing to a category's item.
INCOMING = ("P279", "P361", "P828", "P1542", "P1269", "P2283", "P366")
