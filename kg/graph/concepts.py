"""The concepts of a category from the table and the graph, ranked by how well they describe what is visible."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from kgvad.kg.graph.abstract_items import ABSTRACT
from kgvad.kg.graph.traversal import RELATED_REACH, Found, Hierarchy, Reach, Step, path_in_words, walk
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.store.schema import Term
from kgvad.kg.tables import Category

TABLE_SOURCE = "category table"
NAME, CUE, RELATED, ALIAS, DESCRIPTION = 1.0, 0.95, 0.70, 0.60, 0.55  # weights of concepts without a path
RELATED_ROOT = 0.6  # factor for concepts that are reached from a related item
STEP = 0.8  # factor for each further step from the category


@dataclass(frozen=True)
class Concept:
    """A piece of text about a category, with its provenance."""

    category: str
    text: str
    relation: str  # label, alias, superclass, subclass, description, cause, effect, part, use, related, cue, ...
    qid: str | None
    property: str | None  # of the last step
    path: tuple[Step, ...]  # statements from the category's item to ``qid``
    source: str  # graph name of the fetch, or "category table"
    fetched_at: str | None  # ISO 8601; None for the table's own texts
    weight: float  # 0 to 1


@dataclass(frozen=True)
class Limits:
    """Largest number of concepts per relation; ``other`` for relations without a limit of their own."""

    label: int = 4
    cue: int = 50
    related: int = 10
    alias: int = 5
    description: int = 1
    superclass: int = 4
    subclass: int = 6
    other: int = 3
    specificity: float = 0.12  # superclasses below this are dropped
    reach: Reach = field(default_factory=Reach)

    def of(self, relation: str) -> int:
        """The limit of a relation."""
        return int(getattr(self, relation, self.other))


def category_concepts(
    store: GraphStore,
    category: Category,
    limits: Limits | None = None,
    hierarchy: Hierarchy | None = None,
    languages: Sequence[str] = ("en", "mul"),
) -> list[Concept]:
    """Concepts of a category by falling weight; the same cache gives the same list.

    Parameters
    ----------
    store
        The cache.
    category
        A row of a category table.
    limits
        Number of concepts per relation, and depth of the traversal.
    hierarchy
        ``Hierarchy.of(store)``; pass it when this is called for several categories.
    languages
        In order of preference.

    Returns
    -------
    list of Concept
        The weight of a concept is the product of its relations' weights, 0.8 for each further step, and a factor
        between 0.5 and 1 that grows with its specificity. Named individuals, abstract superclasses and
        near-duplicates are left out.
    """
    limits = limits or Limits()
    hierarchy = hierarchy or Hierarchy.of(store)
    found = _from_table(category) + _from_items(store, category, languages)
    found += _from_graph(store, category, limits, hierarchy, languages)
    found.sort(key=lambda c: (-c.weight, c.relation, c.text.casefold(), c.qid or ""))
    kept: list[Concept] = []
    seen: set[str] = set()
    count: dict[tuple[str, bool], int] = {}
    for concept in found:
        key, kind = _near(concept.text), (concept.relation, category.in_anchor(concept.qid))  # counted separately
        if key in seen or count.get(kind, 0) >= limits.of(concept.relation):
            continue
        seen.add(key)
        count[kind] = count.get(kind, 0) + 1
        kept.append(concept)
    return kept


def explain_path(store: GraphStore, concept: Concept) -> str:
    """The path from the category to a concept in words: "robbery is a kind of theft"."""
    if concept.path:
        return path_in_words(store, concept.path)
    name = store.labels([concept.qid]).get(concept.qid, concept.qid) if concept.qid else ""
    if concept.relation == "cue":
        return f"visual cue of {concept.category}, written for kgvad"
    if concept.relation == "alias":
        return f"{name} is also called {concept.text}"
    if concept.relation == "description":
        return f"{name} is described as: {concept.text}"
    if concept.relation == "related":
        return f"{concept.category} is related to {concept.text} in the category table"
    return f"{concept.category} is {name} in Wikidata" if name else f"name of {concept.category}"


def _from_table(category: Category) -> list[Concept]:
    def own(text: str, relation: str, weight: float) -> Concept:
        return Concept(category.name, text, relation, None, None, (), TABLE_SOURCE, None, weight)

    concepts = [own(cue, "cue", CUE) for cue in category.cues]
    if category.text.casefold() not in {item.label.casefold() for item in category.primary}:
        concepts.append(own(category.text, "label", NAME))
    return concepts


def _from_items(store: GraphStore, category: Category, languages: Sequence[str]) -> list[Concept]:
    terms = store.terms((item.qid for item in category.items), languages)
    concepts = []
    for item in category.items:
        of_item = terms.get(item.qid, [])
        label = label_of(of_item)
        wanted: list[tuple[Term | None, str, str, float]] = []
        named = next((term for term in of_item if term.kind in ("label", "title")), None)
        if item.role == "related":
            wanted.append((named, label or item.label, "related", RELATED))
        else:
            wanted.append((named, label or item.label, "label", NAME))
            for term in of_item:
                if term.kind == "alias" and _usable(term.text):
                    wanted.append((term, term.text, "alias", ALIAS))
                elif term.kind == "description":
                    wanted.append((term, term.text, "description", DESCRIPTION))
        for source_term, text, relation, weight in wanted:
            source, at = store.term_source(source_term) if source_term else (TABLE_SOURCE, "")
            concepts.append(
                Concept(category.name, text, relation, item.qid, None, (), source, at or None, round(weight, 4))
            )
    return concepts


def _from_graph(
    store: GraphStore, category: Category, limits: Limits, hierarchy: Hierarchy, languages: Sequence[str]
) -> list[Concept]:
    own = {item.qid for item in category.items}
    reached: list[tuple[Found, float]] = []
    for item in category.items:
        primary = item.role == "primary"
        reach = limits.reach if primary else RELATED_REACH
        for found in walk(store, item.qid, reach, {*ABSTRACT, *category.exclude}):
            if found.qid in own and not primary:
                continue
            specificity = hierarchy.specificity(found.qid)
            if found.relation == "superclass" and specificity < limits.specificity:
                continue
            if found.qid in own:  # a related item that the graph reaches as well: keep the path
                reached.append((found, RELATED + 0.01))
                continue
            weight = found.weight * STEP ** (len(found.path) - 1) * (0.5 + 0.5 * specificity)
            reached.append((found, weight if primary else weight * RELATED_ROOT))
    labels = store.labels((found.qid for found, _ in reached), languages)
    concepts = []
    for found, weight in reached:
        text = labels.get(found.qid)
        if text is not None and _usable(text):
            last = found.facts[-1]
            concepts.append(
                Concept(
                    category.name,
                    text,
                    found.relation,
                    found.qid,
                    last.property,
                    found.path,
                    last.source,
                    last.fetched_at,
                    round(weight, 4),
                )
            )
    return concepts


def _usable(text: str) -> bool:
    """Whether a label names a kind of thing: not an individual, an abbreviation or a sentence."""
    words = text.split()
    if not words or len(text) > 60 or len(words) > 6:
        return False
    return not any(word[0].isupper() for word in words) and any(letter.isalpha() for letter in text)


def _near(text: str) -> str:
    """A key that ignores case, hyphens, spaces, plurals and, from three words on, their order."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    words = re.findall(r"[^\W_]+", plain.replace("-", ""))
    stems = [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]
    return "".join(sorted(stems)) if len(stems) > 2 else "".join(stems)
