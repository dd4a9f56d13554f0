"""The anchor bank: every anchor and concept of one dataset for one text encoder, with provenance, in one file.

The file is safetensors; its header holds one JSON text (key ``kgvad``), so it can be read without kgvad::

    from safetensors import safe_open
    with safe_open("ucf.safetensors", "numpy") as bank:
        anchors, about = bank.get_tensor("anchors"), json.loads(bank.metadata()["kgvad"])
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from kgvad.anchors.pool import DEFAULT_POOLING, pooling
from kgvad.anchors.prompts import prompt
from kgvad.anchors.text import TextEncoder
from kgvad.kg.database import now
from kgvad.kg.graph import Hierarchy, category_concepts, explain_path
from kgvad.kg.store import Store
from kgvad.kg.tables import CategoryTable
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kgvad.errors import AnchorError
from kgvad.files import replacing

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
        float32 [P]: the concept's weight in the graph.
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
        kept = self._header.model_dump(mode="json", exclude={"created", "made_by"})
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
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                if "kgvad" not in metadata:
                    raise AnchorError(f"{path} is no anchor bank", "make one with: kgvad build-anchors")
                about = json.loads(metadata["kgvad"])
                if isinstance(about, dict) and about.get("version", 0) > VERSION:
                    raise AnchorError(
                        f"{path} was written by {about.get('made_by', 'a newer kgvad')} (version {about['version']})",
                        "update kgvad, or build the bank again",
                    )
                tensors = {name: file.get_tensor(name) for name in TENSORS}
            header = _Header.model_validate(about)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise AnchorError(f"{path}: {place}: {first['msg']}", "build it again") from error
        except (SafetensorError, OSError, ValueError) as error:
            raise AnchorError(f"{path} is damaged or no anchor bank ({error})", "build it again") from error
        return cls(header, tensors, str(path))


def build_bank(
    table: CategoryTable, store: Store, encoder: TextEncoder, pooling_name: str = DEFAULT_POOLING
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
        How concepts become an anchor; see :data:`kgvad.anchors.pool.POOLINGS`.

    Raises
    ------
    AnchorError
        A category has no concept at all.
    """
    pool = pooling(pooling_name)
    hierarchy = Hierarchy.of(store)
    concepts: list[BankConcept] = []
    owner: list[int] = []
    weight: list[float] = []
    for index, category in enumerate(table.categories):
        found = category_concepts(store, category, hierarchy=hierarchy)
        if not found:
            raise AnchorError(
                f"the category {category.name} of {table.dataset} has no concept", "give it cues or items"
            )
        for concept in found:
            concepts.append(
                BankConcept(
                    text=concept.text,
                    prompt=prompt(concept, category.text),
                    relation=concept.relation,
                    qid=concept.qid,
                    property=concept.property,
                    path=concept.path,
                    path_text=explain_path(store, concept),
                    source=concept.source,
                    fetched_at=concept.fetched_at,
                )
            )
            owner.append(index)
            weight.append(concept.weight)
    vectors = encoder.encode([concept.prompt for concept in concepts])
    owners, weights = np.array(owner, np.int64), np.array(weight, np.float32)
    anchors = np.stack(
        [
            pool(vectors[own], weights[own], [concepts[i].relation for i in np.flatnonzero(own)])
            for own in (owners == index for index in range(len(table.categories)))
        ]
    )
    header = _Header(
        version=VERSION,
        dataset=table.dataset,
        categories=table.names,
        normal=table.names.index(table.normal.name),
        concepts=concepts,
        encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim, joint=encoder.joint),
        table_fingerprint=table.fingerprint,
        pooling=pooling_name,
        created=now(),
        facts_date=max((concept.fetched_at for concept in concepts if concept.fetched_at), default=""),
        made_by=f"kgvad {version('kgvad')}",
    )
    return AnchorBank(
        header,
        {"anchors": anchors, "concept_vectors": vectors, "concept_category": owners, "concept_weight": weights},
    )
