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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from safetensors.numpy import save_file

from kgvad.errors import AnchorError, UsageError, first_fault
from kgvad.files import check_version, parse_json, reading, replacing
from kgvad.types import AnyArray

VERSION = 1  # of the file format
TENSORS = ("anchors", "concept_vectors", "concept_category", "concept_weight")


class BankConcept(BaseModel):
    """A concept of a bank: its text, the prompt that was encoded, and its provenance."""

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
    """The text encoder of a bank's vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    dim: int
    joint: str | None
    folder: str | None = None  # of a model that is loaded from a folder; None: loaded by ``name``

    @property
    def source(self) -> str:
        """Argument with which ``load_text_encoder`` loads the encoder again: its folder, else its name."""
        return self.folder or self.name


class BankHeader(BaseModel):
    """Everything in a bank but its arrays; the JSON text in the header of its file."""

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
    header
        Everything but the arrays.
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
        float32 [P]: weight of each concept in the graph; 0 where the category table excludes it from the anchor.
    concepts
        P concepts with prompt and provenance.
    encoder
        The text encoder.
    table_fingerprint, pooling, created, facts_date
        Hash of the category table, name of the pooling, time of the build, and date of the newest fact.
    """

    def __init__(self, header: BankHeader, tensors: dict[str, AnyArray], where: str = "the anchor bank") -> None:
        self.header = header
        self.dataset, self.categories, self.normal = header.dataset, header.categories, header.normal
        self.concepts, self.encoder = header.concepts, header.encoder
        self.table_fingerprint, self.pooling = header.table_fingerprint, header.pooling
        self.created, self.facts_date = header.created, header.facts_date
        self.anchors: NDArray[np.float32] = tensors["anchors"].astype(np.float32)
        self.concept_vectors: NDArray[np.float32] = tensors["concept_vectors"].astype(np.float32)
        self.concept_category: NDArray[np.int64] = tensors["concept_category"].astype(np.int64)
        self.concept_weight: NDArray[np.float32] = tensors["concept_weight"].astype(np.float32)
        self._check(where)

    def _check(self, where: str) -> None:
        categories, concepts, dim = len(self.categories), len(self.concepts), self.encoder.dim
        shapes = {
            "anchors": (self.anchors.shape, (categories, dim)),
            "concept_vectors": (self.concept_vectors.shape, (concepts, dim)),
            "concept_category": (self.concept_category.shape, (concepts,)),
            "concept_weight": (self.concept_weight.shape, (concepts,)),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise AnchorError(f"{where}: {name} is {found} instead of {expected}", "build it again")
        if not (np.isfinite(self.anchors).all() and np.isfinite(self.concept_vectors).all()):
            raise AnchorError(f"{where} contains values that are not finite", "build it again")
        if not 0 <= self.normal < categories or sorted(set(self.concept_category)) != list(range(categories)):
            raise AnchorError(f"{where}: its concepts do not fit its categories", "build it again")

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a hash of vectors, concepts and their order; the date does not matter."""
        digest = hashlib.sha256()
        for array in (self.anchors, self.concept_vectors, self.concept_category):
            digest.update(np.ascontiguousarray(array).tobytes())
        content = self.header.model_dump(mode="json", exclude={"created": True, "made_by": True, "encoder": {"folder"}})
        digest.update(json.dumps(content, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def of(self, category: str) -> list[BankConcept]:
        """Concepts of a category by falling weight.

        Raises
        ------
        UsageError
            The bank has no such category.
        """
        if category not in self.categories:
            raise UsageError(f"the anchor bank has no category {category!r}", f"it has {', '.join(self.categories)}")
        index = self.categories.index(category)
        return [concept for concept, own in zip(self.concepts, self.concept_category, strict=True) if own == index]

    def save(self, path: str | Path) -> None:
        """Write the bank to ``path``, atomically."""
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
                metadata={"kgvad": self.header.model_dump_json()},
            )

    @classmethod
    def load(cls, path: str | Path) -> AnchorBank:
        """Read a bank.

        Raises
        ------
        AnchorError
            Missing, damaged, not an anchor bank, or of another version of the format.
        """
        path = Path(path)
        if not path.is_file():
            raise AnchorError(f"there is no anchor bank {path}", "make it with: kgvad build-anchors --dataset NAME")
        try:
            with reading(path, AnchorError, "build it again"), safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                if "kgvad" not in metadata:
                    raise AnchorError(f"{path} is not an anchor bank", "make one with: kgvad build-anchors")
                about = parse_json(metadata["kgvad"], f"{path}: kgvad", AnchorError, "build it again")
                check_version(about, path, VERSION, AnchorError, "build it again")
                tensors = {name: file.get_tensor(name) for name in TENSORS}
            header = BankHeader.model_validate(about)
        except ValidationError as error:
            raise AnchorError(f"{path}: {first_fault(error)}", "build it again") from error
        return cls(header, tensors, str(path))
