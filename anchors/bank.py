"""The anchor bank: every anchor and concept of one dataset for one text encoder, with provenance, in one file.

The file is safetensors; its header holds one JSON text (key ``kgvad``), so it can be read without kgvad::

    from safetensors import safe_open
    with safe_open("ucf.safetensors", "numpy") as bank:
        anchors, about = bank.get_tensor("anchors"), json.loads(bank.metadata()["kgvad"])
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from safetensors.numpy import save_file

from kgvad.anchors.contrastive_selection import select
from kgvad.anchors.pooling import DEFAULT_POOLING, pooling
from kgvad.anchors.prompts import prompt
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.errors import AnchorError, UsageError
from kgvad.files import check_version, parse_json, reading, replacing
from kgvad.kg.graph.concepts import Concept, Hierarchy, category_concepts, explain_path
from kgvad.kg.store.cache import Store
from kgvad.kg.store.database import now
from kgvad.kg.tables import Category, CategoryTable, ItemRef, is_qid

logger = logging.getLogger(__name__)


VERSION = 1
TENSORS = ("anchors", "concept_vectors", "concept_category", "concept_weight")


class BankConcept(BaseModel):
    """A concept as the bank keeps it: text, the prompt that was encoded, and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    prompt: str
    relation: str
    qid: str | None
    property: str | None
    path: tuple[tuple[str, str, str], ...]  # statements (subject, property, object)
    path_text: str  # the path in words
    source: str
    fetched_at: str | None


class EncoderInfo(BaseModel):
    """The text encoder that made the vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    dim: int
    joint: str | None
    folder: str | None = None  # of a model of the user's; None: found by ``name``

    @property
    def source(self) -> str:
        """What ``load_text_encoder`` finds the encoder by: its folder, else its name."""
        return self.folder or self.name


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int
    dataset: str
    categories: list[str]
    normal: int
    concepts: list[BankConcept]
    encoder: EncoderInfo
    table_fingerprint: str
    pooling: str
    created: str
    facts_date: str
    made_by: str


class AnchorBank:
    """Anchors and concepts of one dataset for one text encoder.

    Attributes
    ----------
    dataset
        Name of the category table.
    categories, normal
        C names in the table's order, and the index of Normal.
    anchors
        float32 [C, d], unit rows.
    concept_vectors
        float32 [P, d], unit rows: one for each of ``concepts``.
    concept_category
        int64 [P]: index of the category that a concept belongs to.
    concept_weight
        float32 [P]: the concept's weight in the graph; 0 where the category table keeps it out of the anchor.
    concepts
        P concepts with prompt and provenance.
    encoder
        The text encoder.
    table_fingerprint, pooling, created, facts_date
        The category table, the pooling, when the bank was made, and the date of the newest fact in it.
    """

    def __init__(self, header: _Header, tensors: dict[str, NDArray[Any]], origin: str = "the anchor bank") -> None:
        self._header = header
        self.dataset, self.categories, self.normal = header.dataset, header.categories, header.normal
        self.concepts, self.encoder = header.concepts, header.encoder
        self.table_fingerprint, self.pooling = header.table_fingerprint, header.pooling
        self.created, self.facts_date = header.created, header.facts_date
        self.anchors: NDArray[np.float32] = tensors["anchors"].astype(np.float32)
        self.concept_vectors: NDArray[np.float32] = tensors["concept_vectors"].astype(np.float32)
        self.concept_category: NDArray[np.int64] = tensors["concept_category"].astype(np.int64)
        self.concept_weight: NDArray[np.float32] = tensors["concept_weight"].astype(np.float32)
        self._check(origin)

    def _check(self, origin: str) -> None:
        categories, concepts, dim = len(self.categories), len(self.concepts), self.encoder.dim
        shapes = {
            "anchors": (self.anchors.shape, (categories, dim)),
            "concept_vectors": (self.concept_vectors.shape, (concepts, dim)),
            "concept_category": (self.concept_category.shape, (concepts,)),
            "concept_weight": (self.concept_weight.shape, (concepts,)),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise AnchorError(f"{origin}: {name} is {found} instead of {expected}", "build it again")
        if not (np.isfinite(self.anchors).all() and np.isfinite(self.concept_vectors).all()):
            raise AnchorError(f"{origin} holds values that are not numbers", "build it again")
        if not 0 <= self.normal < categories or sorted(set(self.concept_category)) != list(range(categories)):
            raise AnchorError(f"{origin}: its concepts do not fit its categories", "build it again")

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the vectors, the concepts or their order; not with the date."""
        digest = hashlib.sha256()
        for array in (self.anchors, self.concept_vectors, self.concept_category):
            digest.update(np.ascontiguousarray(array).tobytes())
        kept = self._header.model_dump(mode="json", exclude={"created": True, "made_by": True, "encoder": {"folder"}})
        digest.update(json.dumps(kept, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def of(self, category: str) -> list[BankConcept]:
        """Concepts of a category, the most helpful first."""
        index = self.categories.index(category)
        return [concept for concept, own in zip(self.concepts, self.concept_category, strict=True) if own == index]

    def save(self, path: str | Path) -> None:
        """Write the bank to ``path`` in one piece."""
        tensors = {
            "anchors": self.anchors,
            "concept_vectors": self.concept_vectors,
            "concept_category": self.concept_category,
            "concept_weight": self.concept_weight,
        }
        with replacing(path) as temporary:
            save_file(
                {name: np.ascontiguousarray(array) for name, array in tensors.items()},
                temporary,
                metadata={"kgvad": self._header.model_dump_json()},
            )

    @classmethod
    def load(cls, path: str | Path) -> AnchorBank:
        """Read a bank.

        Raises
        ------
        AnchorError
            Missing, damaged, no anchor bank, or written by a newer version.
        """
        path = Path(path)
        if not path.is_file():
            raise AnchorError(f"there is no anchor bank {path}", "make it with: kgvad build-anchors --dataset NAME")
        try:
            with reading(path, AnchorError, "build it again"), safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                if "kgvad" not in metadata:
                    raise AnchorError(f"{path} is no anchor bank", "make one with: kgvad build-anchors")
                about = parse_json(metadata["kgvad"], f"{path}: kgvad", AnchorError, "build it again")
                check_version(about, path, VERSION, AnchorError, "build it again")
                tensors = {name: file.get_tensor(name) for name in TENSORS}
            header = _Header.model_validate(about)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise AnchorError(f"{path}: {place}: {first['msg']}", "build it again") from error
        return cls(header, tensors, str(path))


def build_bank(
    table: CategoryTable,
    store: Store,
    encoder: TextEncoder,
    pooling_name: str = DEFAULT_POOLING,
    *,
    contrast: bool = False,
    languages: Sequence[str] = ("en", "mul"),
    explain: Callable[[str], None] | None = None,
) -> AnchorBank:
    """Build the anchor bank of a category table.

    Parameters
    ----------
    table
        The categories.
    store
        Knowledge graph that holds the facts about their items.
    encoder
        Makes the vectors.
    pooling_name
        How concepts become an anchor; see :data:`kgvad.anchors.pooling.POOLINGS`.
    contrast
        Keep only the concepts that separate a category from what it is confused with
        (:mod:`kgvad.anchors.contrastive_selection`).
    languages
        Of labels and aliases, in order of preference.
    explain
        Called with one line for each concept that says why contrast kept or dropped it.

    Raises
    ------
    AnchorError
        A category has no concept at all, or the knowledge graph has no labels in any of the languages.
    """
    pooling(pooling_name)  # a wrong name is told before anything is encoded
    _check_languages(table, store, [language for language in languages if language != "mul"])
    hierarchy = Hierarchy.of(store)
    concepts: list[BankConcept] = []
    owner: list[int] = []
    weight: list[float] = []
    for index, category in enumerate(table.categories):
        found = category_concepts(store, category, hierarchy=hierarchy, languages=tuple(languages))
        if not found:
            raise AnchorError(
                f"the category {category.name} of {table.dataset} has no concept", "give it cues or items"
            )
        for concept in found:
            concepts.append(_bank_concept(store, concept, category))
            owner.append(index)
            weight.append(0.0 if category.is_quiet(concept.qid) else concept.weight)
    vectors = encoder.encode([concept.prompt for concept in concepts])
    owners, weights = np.array(owner, np.int64), np.array(weight, np.float32)
    if contrast:
        kept = _contrast(table, concepts, vectors, owners, explain)
        concepts = [concepts[row] for row in kept]
        vectors, owners, weights = vectors[kept], owners[kept], weights[kept]
    header = _Header(
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
    return _assemble(header, vectors, owners, weights)


def open_vocabulary(bank: AnchorBank, encoder: TextEncoder, store: Store, queries: Sequence[str]) -> AnchorBank:
    """The bank with one more category for each query, without any training.

    Parameters
    ----------
    bank
        Made with ``encoder``; it is not changed.
    encoder
        Text encoder.
    store
        Knowledge graph, for queries that are items.
    queries
        Words (``"a dog attacks a person"``) or items (``"Q4654740"``).

    Raises
    ------
    AnchorError
        The bank was made with another encoder, or the knowledge graph knows nothing of an item.
    UsageError
        A query is empty, or the bank has such a category.
    """
    if bank.encoder.fingerprint != encoder.fingerprint:
        raise AnchorError(
            f"the anchor bank was made with {bank.encoder.name} ({bank.encoder.fingerprint}), not with {encoder.name} "
            f"({encoder.fingerprint})",
            "use the encoder of the bank",
        )
    header = bank._header.model_copy(deep=True)
    names, owners, weights, new = list(bank.categories), list(bank.concept_category), list(bank.concept_weight), []
    for query in (" ".join("".join(c if c.isprintable() else " " for c in text).split()) for text in queries):
        if is_qid(query):
            label = store.labels([query]).get(query)
            if label is None:
                raise AnchorError(f"the knowledge graph has no item {query}", f"fetch it: kgvad kg fetch {query}")
            category = Category(name=label, text=label, items=(ItemRef(qid=query, label=label),))
        elif query:
            category = Category(name=query[:300], text=query[:300], cues=(query[:300],))
        else:
            raise UsageError("--open needs words or an item", 'for example --open "a dog attacks a person"')
        if category.name.casefold() in (name.casefold() for name in names):
            raise UsageError(f"the bank has a category {category.name!r} already", "leave it out")
        for concept in category_concepts(store, category):
            if not category.items:
                concept = replace(concept, relation="cue")  # words say what is seen, they are no name
            new.append(_bank_concept(store, concept, category))
            owners.append(np.int64(len(names)))
            weights.append(np.float32(concept.weight))
        names.append(category.name)
    header.categories, header.concepts = names, [*bank.concepts, *new]
    vectors = np.concatenate([bank.concept_vectors, encoder.encode([concept.prompt for concept in new])])
    return _assemble(header, vectors, np.array(owners, np.int64), np.array(weights, np.float32), bank.anchors)


def _check_languages(table: CategoryTable, store: Store, languages: Sequence[str]) -> None:
    """A language in which the graph names none of the table's items is told."""
    absent = [language for language in languages if table.qids and not store.labels(table.qids, [language])]
    if not absent:
        return
    told = f"the knowledge graph has no label in {' or '.join(absent)} for any item of {table.dataset}"
    if len(absent) == len(languages):
        raise AnchorError(told, f"fetch them: kgvad kg fetch --language {absent[0]}; or use --language en")
    logger.info(f"{told}; the other languages are used")


def _assemble(
    header: _Header,
    vectors: NDArray[np.float32],
    owners: NDArray[np.int64],
    weights: NDArray[np.float32],
    anchors: NDArray[np.float32] | None = None,
) -> AnchorBank:
    """The bank; ``anchors`` are the first categories' where they are there already."""
    pool = pooling(header.pooling)
    rows = [] if anchors is None else list(anchors)
    for index in range(len(rows), len(header.categories)):
        own = np.flatnonzero(owners == index)
        rows.append(pool(vectors[own], weights[own], [header.concepts[i].relation for i in own]))
    return AnchorBank(
        header,
        {"anchors": np.stack(rows), "concept_vectors": vectors, "concept_category": owners, "concept_weight": weights},
    )


def _bank_concept(store: Store, concept: Concept, category: Category) -> BankConcept:
    # "handgun, a kind of gun", not "shooting, a kind of gun": what a related item leads to is said of that item
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
    explain: Callable[[str], None] | None,
) -> list[int]:
    """Rows of the concepts that are kept; a category that would lose all keeps its first."""
    names = table.names
    rivals = [[names.index(other) for other in category.confused_with] for category in table.categories]
    decisions = select(vectors, owners, [concept.relation for concept in concepts], rivals)
    kept = {decision.index for decision in decisions if decision.kept}
    for index in range(len(names)):
        own = np.flatnonzero(owners == index)
        if not kept.intersection(own.tolist()):
            kept.add(int(own[0]))
    if explain is not None:
        for decision in decisions:
            by = "" if decision.rival_category is None else f" (nearest rival {names[decision.rival_category]})"
            explain(
                f"{'kept' if decision.index in kept else 'dropped'}\t{names[owners[decision.index]]}\t"
                f"{concepts[decision.index].prompt}\t{decision.reason}{by}"
            )
    return sorted(kept)
