"""Building an anchor bank from a category table and the knowledge graph, and adding categories to one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.bank import VERSION, AnchorBank, BankConcept, BankHeader, EncoderInfo
from kgvad.anchors.contrastive_selection import select
from kgvad.anchors.pooling import DEFAULT_POOLING, pooling
from kgvad.anchors.prompts import prompt
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.errors import AnchorError, UsageError
from kgvad.kg.graph.concepts import Concept, category_concepts, explain_path
from kgvad.kg.graph.traversal import Hierarchy
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.store.database import now
from kgvad.kg.tables import Category, CategoryTable, ItemRef, is_qid

logger = logging.getLogger(__name__)

LONGEST_QUERY = 300  # characters
LEAST_CONCEPTS = 3  # of a category; fewer make an anchor of its name alone


def build_bank(
    table: CategoryTable,
    store: GraphStore,
    encoder: TextEncoder,
    pooling_name: str = DEFAULT_POOLING,
    *,
    contrast: bool = False,
    languages: Sequence[str] = ("en", "mul"),
    log_selection: Callable[[str], None] | None = None,
) -> AnchorBank:
    """Build the anchor bank of a category table.

    Parameters
    ----------
    table
        The categories.
    store
        Knowledge graph with the facts about their items.
    encoder
        Encodes the prompts.
    pooling_name
        How concepts are pooled into an anchor; see :data:`kgvad.anchors.pooling.POOLINGS`.
    contrast
        Keep only the concepts that separate a category from what it is confused with
        (:mod:`kgvad.anchors.contrastive_selection`).
    languages
        Of labels and aliases, in order of preference.
    log_selection
        Called with one line for each concept: whether contrast kept or dropped it, and why.

    Raises
    ------
    AnchorError
        A category has no concept at all, or the knowledge graph has no labels in any of the languages.
    """
    pooling(pooling_name)  # an unknown name fails before anything is encoded
    _check_languages(table, store, [language for language in languages if language != "mul"])
    concepts, owners, weights = _collect(table, store, tuple(languages))
    vectors = encoder.encode([concept.prompt for concept in concepts])
    if contrast:
        kept = _contrast(table, concepts, vectors, owners, log_selection)
        concepts = [concepts[index] for index in kept]
        vectors, owners, weights = vectors[kept], owners[kept], weights[kept]
    header = _header(table, concepts, encoder, pooling_name)
    return assemble(header, vectors, owners, weights)


def few_concepts(bank: AnchorBank) -> list[tuple[str, int]]:
    """Categories with fewer than ``LEAST_CONCEPTS`` concepts, and how many they have."""
    counts = np.bincount(bank.concept_category, minlength=len(bank.categories))
    return [(name, int(count)) for name, count in zip(bank.categories, counts, strict=True) if count < LEAST_CONCEPTS]


def _header(table: CategoryTable, concepts: list[BankConcept], encoder: TextEncoder, pooling_name: str) -> BankHeader:
    return BankHeader(
        version=VERSION,
        dataset=table.dataset,
        categories=table.names,
        normal=table.names.index(table.normal.name),
        concepts=concepts,
        encoder=EncoderInfo(
            name=encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            joint=encoder.joint,
            folder=getattr(encoder, "folder", None),
        ),
        table_fingerprint=table.fingerprint,
        pooling=pooling_name,
        created=now(),
        facts_date=max((concept.fetched_at for concept in concepts if concept.fetched_at), default=""),
        made_by=f"kgvad {version('kgvad')}",
    )


def _collect(
    table: CategoryTable, store: GraphStore, languages: tuple[str, ...]
) -> tuple[list[BankConcept], NDArray[np.int64], NDArray[np.float32]]:
    """Concepts of all categories, and for each the index of its category and its weight in the anchor."""
    hierarchy = Hierarchy.of(store)
    concepts: list[BankConcept] = []
    owners: list[int] = []
    weights: list[float] = []
    for index, category in enumerate(table.categories):
        found = category_concepts(store, category, hierarchy=hierarchy, languages=languages)
        if not found:
            raise AnchorError(
                f"the category {category.name} of {table.dataset} has no concept", "give it cues or items"
            )
        for concept in found:
            concepts.append(_bank_concept(store, concept, category))
            owners.append(index)
            weights.append(concept.weight if category.in_anchor(concept.qid) else 0.0)
    return concepts, np.array(owners, np.int64), np.array(weights, np.float32)


def open_vocabulary(bank: AnchorBank, encoder: TextEncoder, store: GraphStore, queries: Sequence[str]) -> AnchorBank:
    """The bank with one more category for each query, without training.

    Parameters
    ----------
    bank
        Built with ``encoder``; it is not changed.
    encoder
        Text encoder.
    store
        Knowledge graph, for queries that are items.
    queries
        Words (``"a dog attacks a person"``) or items (``"Q4654740"``).

    Raises
    ------
    AnchorError
        The bank was made with another encoder, or the knowledge graph lacks an item.
    UsageError
        A query is empty, or the bank already has the category.
    """
    if bank.encoder.fingerprint != encoder.fingerprint:
        raise AnchorError(
            f"the anchor bank was built with {bank.encoder.name} ({bank.encoder.fingerprint}), not with {encoder.name} "
            f"({encoder.fingerprint})",
            "use the encoder of the bank",
        )
    names, concepts = list(bank.categories), list(bank.concepts)
    owners, weights = list(bank.concept_category), list(bank.concept_weight)
    for query in queries:
        category = _category_of(query, store)
        if category.name.casefold() in (name.casefold() for name in names):
            known = category.name.casefold() in (name.casefold() for name in bank.categories)
            what = "is a category of the bank already" if known else "is given twice"
            raise UsageError(f"--open: {category.name!r} {what}", "leave it out")
        for concept in category_concepts(store, category):
            if not category.items:
                concept = replace(concept, relation="cue")  # the words describe what is visible and are not a name
            concepts.append(_bank_concept(store, concept, category))
            owners.append(np.int64(len(names)))
            weights.append(np.float32(concept.weight))
        names.append(category.name)
    header = bank.header.model_copy(deep=True)
    header.categories, header.concepts = names, concepts
    new = encoder.encode([concept.prompt for concept in concepts[len(bank.concepts) :]])
    vectors = np.concatenate([bank.concept_vectors, new])
    return assemble(header, vectors, np.array(owners, np.int64), np.array(weights, np.float32), bank.anchors)


def _category_of(query: str, store: GraphStore) -> Category:
    """A category from words or from an item."""
    words = " ".join("".join(c if c.isprintable() else " " for c in query).split())[:LONGEST_QUERY]
    words = words.upper() if is_qid(words.upper()) else words
    if not words:
        raise UsageError("--open needs words or an item", 'for example --open "a dog attacks a person"')
    if not is_qid(words):
        return Category(name=words, text=words, cues=(words,))
    label = store.labels([words]).get(words)
    if label is None:
        raise AnchorError(f"the knowledge graph has no item {words}", f"fetch it: kgvad kg fetch {words}")
    return Category(name=label, text=label, items=(ItemRef(qid=words, label=label),))


def _check_languages(table: CategoryTable, store: GraphStore, languages: Sequence[str]) -> None:
    """Report languages in which the graph has no label for any item of the table."""
    absent = [language for language in languages if table.qids and not store.labels(table.qids, [language])]
    if not absent:
        return
    message = f"the knowledge graph has no label in {' or '.join(absent)} for any item of {table.dataset}"
    if len(absent) == len(languages):
        raise AnchorError(message, f"fetch them: kgvad kg fetch --language {absent[0]}; or use --language en")
    logger.info(f"{message}; the other languages are used")


def assemble(
    header: BankHeader,
    vectors: NDArray[np.float32],
    owners: NDArray[np.int64],
    weights: NDArray[np.float32],
    anchors: NDArray[np.float32] | None = None,
) -> AnchorBank:
    """The bank of a header and its arrays, pooled as the header says.

    Parameters
    ----------
    header
        Its categories and P concepts are those of the arrays.
    vectors, owners, weights
        Unit vectors [P, d] of the concepts, index of the category of each, [P], and weight in its anchor, [P].
    anchors
        Of the first categories, taken as they are; the others are pooled.
    """
    pool = pooling(header.pooling)
    pooled = [] if anchors is None else list(anchors)
    for index in range(len(pooled), len(header.categories)):
        own = np.flatnonzero(owners == index)
        pooled.append(pool(vectors[own], weights[own], [header.concepts[i].relation for i in own]))
    return AnchorBank(
        header,
        {
            "anchors": np.stack(pooled),
            "concept_vectors": vectors,
            "concept_category": owners,
            "concept_weight": weights,
        },
    )


def _bank_concept(store: GraphStore, concept: Concept, category: Category) -> BankConcept:
    # A concept reached from a related item is described with that item: "handgun, a kind of gun", not "shooting, ..."
    related = {item.qid: item.label for item in category.items if item.role == "related"}
    ends = {concept.path[0][0], concept.path[0][2]} if concept.path else set()
    root = next((qid for qid in related if qid in ends and qid != concept.qid), None)
    subject = category.text if root is None else store.labels([root]).get(root, related[root])
    return BankConcept(
        text=concept.text,
        prompt=prompt(concept, subject),
        relation=concept.relation,
        qid=concept.qid,
        property=concept.property,
        path=concept.path,
        path_text=explain_path(store, concept),
        source=concept.source,
        fetched_at=concept.fetched_at,
    )


def _contrast(
    table: CategoryTable,
    concepts: list[BankConcept],
    vectors: NDArray[np.float32],
    owners: NDArray[np.int64],
    log_selection: Callable[[str], None] | None,
) -> list[int]:
    """Indices of the concepts to keep; at least the first of each category."""
    names = table.names
    rivals = [[names.index(other) for other in category.confused_with] for category in table.categories]
    decisions = select(vectors, owners, [concept.relation for concept in concepts], rivals)
    kept = {decision.index for decision in decisions if decision.kept}
    for index in range(len(names)):
        own = np.flatnonzero(owners == index)
        if not kept.intersection(own.tolist()):
            kept.add(int(own[0]))
    if log_selection is not None:
        for decision in decisions:
            by = "" if decision.rival_category is None else f" (nearest rival {names[decision.rival_category]})"
            log_selection(
                f"{'kept' if decision.index in kept else 'dropped'}\t{names[owners[decision.index]]}\t"
                f"{concepts[decision.index].prompt}\t{decision.reason}{by}"
            )
    return sorted(kept)
