"""Subgraphs around items, specificity of items, and paths between them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import networkx as nx

from kgvad.kg.properties import TABLE
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.store.schema import Fact
from kgvad.kg.tables import Category, qid_number

LONGEST_PATH = 6  # steps between two items

Step = tuple[str, str, str]  # subject, property, object of a statement


@dataclass(frozen=True)
class Reach:
    """Largest distance of a subgraph's items from the category's items, in steps."""

    up: int = 3  # superclasses
    down: int = 2  # subclasses
    aside: int = 1  # causes, effects, parts, uses and the rest
    degree: int = 60  # the subclasses of an item with more than this are left out


RELATED_REACH = Reach(up=1, down=0, aside=0)  # around an item that a category is only related to


class Hierarchy:
    """The ``is a kind of`` edges of the whole cache.

    Specificity is the intrinsic information content of Seco, Veale and Hayes (ECAI 2004):
    ``1 - log(1 + descendants) / log(1 + items)``: 1 for a leaf, 0 for the root of everything.
    """

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        self._below: dict[str, list[str]] = {}
        items = set()
        for child, parent in edges:
            self._below.setdefault(parent, []).append(child)
            items |= {child, parent}
        self._count = len(items)
        self._specificity: dict[str, float] = {}

    @classmethod
    def of(cls, store: GraphStore) -> Hierarchy:
        """The hierarchy of all cached statements."""
        return cls(store.edges("P279"))

    def specificity(self, qid: str) -> float:
        """Information content, 0 to 1."""
        if qid not in self._specificity:
            seen, queue = {qid}, deque([qid])
            while queue:
                for child in self._below.get(queue.popleft(), ()):
                    if child not in seen:
                        seen.add(child)
                        queue.append(child)
            self._specificity[qid] = (
                1.0 - math.log(len(seen)) / math.log(1 + max(self._count, 1)) if self._count else 1.0
            )
        return self._specificity[qid]


@dataclass(frozen=True)
class Found:
    """An item reached from a root, with its path."""

    qid: str
    root: str
    relation: str  # relation of the item to its predecessor on the path
    weight: float  # product of the weights of the relations on the path
    path: tuple[Step, ...]
    facts: tuple[Fact, ...]


def walk(store: GraphStore, root: str, reach: Reach, without: Iterable[str] = ()) -> list[Found]:
    """Items around ``root``: superclasses, subclasses, causes, effects, parts, uses; nearest first, sorted."""
    excluded = {root, *without}
    found: dict[str, Found] = {}
    for direction, depth in (("up", reach.up), ("down", reach.down), ("aside", reach.aside)):
        frontier = [Found(root, root, "", 1.0, (), ())]
        for _ in range(depth):
            following: dict[str, Found] = {}
            for here, fact in _steps(store, frontier, direction, reach):
                row = TABLE[fact.property]
                forward = fact.subject == here.qid
                qid = fact.object if forward else fact.subject
                relation, weight = (row.relation, row.weight) if forward else (row.inverse, row.inverse_weight)
                if qid in excluded or qid in found or weight <= 0:
                    continue
                step = (fact.subject, fact.property, fact.object)
                new = Found(qid, root, relation, here.weight * weight, (*here.path, step), (*here.facts, fact))
                if qid not in following or _merit(new) > _merit(following[qid]):
                    following[qid] = new
            found.update(following)
            frontier = [following[qid] for qid in sorted(following, key=qid_number)]
    return sorted(found.values(), key=lambda f: (len(f.path), -f.weight, qid_number(f.qid)))


def _merit(found: Found) -> tuple[float, int, tuple[Step, ...]]:
    return (found.weight, -sum(fact.inferred for fact in found.facts), found.path)


def _steps(store: GraphStore, frontier: Sequence[Found], direction: str, reach: Reach) -> Iterator[tuple[Found, Fact]]:
    here = {found.qid: found for found in frontier}
    kinds = {"up": ["P279", "P31"], "down": ["P279"], "aside": [p for p in TABLE if p not in ("P279", "P31")]}
    if direction in ("up", "aside"):
        for fact in store.facts(here, kinds[direction]):
            yield here[fact.subject], fact
    if direction in ("down", "aside"):
        facts = store.facts_to(here, kinds[direction])
        degree: dict[str, int] = {}
        for fact in facts:
            degree[fact.object] = degree.get(fact.object, 0) + 1
        for fact in facts:
            if degree[fact.object] <= reach.degree:
                yield here[fact.object], fact


def category_graph(store: GraphStore, category: Category) -> nx.MultiDiGraph[str]:
    """The subgraph of a category.

    Returns
    -------
    networkx.MultiDiGraph
        Nodes are item ids with ``label``, ``description``, ``role`` ("primary", "related" or "") and
        ``distance`` (steps from the nearest item of the category). Edges run as in Wikidata; their key
        is the property id, with ``words``, ``provenance``, ``fetched_at`` and ``inferred``.
    """
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(category=category.name)
    distance = {item.qid: 0 for item in category.items}
    for item in category.items:
        reach = Reach() if item.role == "primary" else RELATED_REACH
        for found in walk(store, item.qid, reach, category.exclude):
            distance[found.qid] = min(distance.get(found.qid, len(found.path)), len(found.path))
    terms = store.terms(distance)
    labels = store.labels(distance)
    roles = {item.qid: item.role for item in category.items}
    for qid in sorted(distance, key=qid_number):
        texts = [term.text for term in terms.get(qid, []) if term.kind == "description"]
        graph.add_node(
            qid,
            label=labels.get(qid, qid),
            description=texts[0] if texts else "",
            role=roles.get(qid, ""),
            distance=distance[qid],
        )
    for fact in store.facts(distance):
        if fact.object in distance and fact.property in TABLE:
            graph.add_edge(
                fact.subject,
                fact.object,
                key=fact.property,
                words=TABLE[fact.property].words,
                provenance=fact.source,
                fetched_at=fact.fetched_at,
                inferred=fact.inferred,
            )
    return graph


def shortest_path(store: GraphStore, start: str, end: str) -> tuple[Step, ...] | None:
    """The shortest path between two items over the cached statements; None if it is longer than LONGEST_PATH.

    Of several, a path towards superclasses comes first, then the one whose ids sort first.
    """
    paths: dict[str, tuple[Step, ...]] = {start: ()}
    frontier = [start]
    for _ in range(LONGEST_PATH):
        if end in paths:
            break
        following: dict[str, tuple[Step, ...]] = {}
        # Statements about an item come before statements that point to it: superclasses are preferred.
        for facts, forward in ((store.facts(frontier), True), (store.facts_to(frontier), False)):
            for fact in facts:
                if fact.property not in TABLE or TABLE[fact.property].weight <= 0:
                    continue
                here, there = (fact.subject, fact.object) if forward else (fact.object, fact.subject)
                if there not in paths and there not in following:
                    following[there] = (*paths[here], (fact.subject, fact.property, fact.object))
        paths.update(following)
        frontier = sorted(following, key=qid_number)
    return paths.get(end)


def path_in_words(store: GraphStore, path: Sequence[Step]) -> str:
    """A path as a sentence: "burglary is a kind of theft; theft is a kind of property crime"."""
    labels = store.labels({qid for subject, _, value in path for qid in (subject, value)})

    def name(qid: str) -> str:
        return labels.get(qid, qid)

    return "; ".join(f"{name(s)} {TABLE[p].words if p in TABLE else p} {name(o)}" for s, p, o in path)
