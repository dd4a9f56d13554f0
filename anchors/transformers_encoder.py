"""Text encoders of the Transformers library: MiniLM and its relatives, BLIP, CLIP and SigLIP.

Besides sentences they accept token embeddings with gradients, which learnable prompts need. This module imports torch;
:mod:`kgvad.anchors.text_encoders` loads it on demand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.anchors.vector_cache import VectorCache
from kgvad.checksums import TEXT_FILES
from kgvad.model_folder import digest, loading

BATCH = 64  # sentences per forward pass
MINILM_TOKENS = 256  # the length all-MiniLM-L6-v2 was trained for


def _mean(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state  # [N, L, d]
    pooled: Tensor = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return pooled


def _blip_cls(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    first: Tensor = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    return first


def _blip(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    projected: Tensor = model.text_proj(_blip_cls(model, ids, mask))
    return projected


def _clip(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    embedded: Tensor = model(input_ids=ids, attention_mask=mask).text_embeds
    return embedded


def _siglip(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    pooled: Tensor = model.text_model(input_ids=ids).pooler_output  # trained without a mask, on padded sentences
    return pooled


def _clip_state(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    end: Tensor = model.text_model(input_ids=ids, attention_mask=mask).pooler_output
    return end


@dataclass(frozen=True)
class Kind:
    """How a type of model turns token ids and their mask into vectors."""

    architecture: str  # class of transformers
    pool: Callable[[Any, Tensor, Tensor], Tensor]
    dim: str  # attribute of the configuration
    joint: str | None = None
    image_side: tuple[str, ...] = ()  # parts that text does not need
    padding: bool | str = True
    state: Callable[[Any, Tensor, Tensor], Tensor] | None = None  # before the projection; None: no projection


KINDS = {
    "minilm": Kind("AutoModel", _mean, "hidden_size"),
    "blip": Kind(
        "BlipForImageTextRetrieval",
        _blip,
        "image_text_hidden_size",
        "blip",
        ("vision_model", "vision_proj", "itm_head"),
        state=_blip_cls,
    ),
    "blip-cls": Kind(
        "BlipForImageTextRetrieval",
        _blip_cls,
        "text_config.hidden_size",
        None,
        ("vision_model", "vision_proj", "itm_head", "text_proj"),
    ),
    "clip": Kind("CLIPTextModelWithProjection", _clip, "projection_dim", "clip", state=_clip_state),
    "siglip": Kind(
        "AutoModel",
        _siglip,
        "text_config.projection_size",
        None,
        ("vision_model",),
        padding="max_length",
    ),
}


class TransformersEncoder:
    """Text side of a model in the Transformers layout.

    Sentence encoders such as MiniLM: mean of the last hidden states. BLIP, CLIP, SigLIP: text projection.

    Parameters
    ----------
    kind
        ``"minilm"``, ``"blip"``, ``"blip-cls"`` (the state of [CLS] before the projection), ``"clip"`` or ``"siglip"``.
    folder
        Model in the Transformers layout.
    device
        torch device; on a GPU the model runs in mixed precision.
    cached
        Whether :meth:`encode` stores vectors in kgvad's cache folder and reads them from there.
    """

    def __init__(self, kind: str, folder: Path, device: str = "cpu", cached: bool = False) -> None:
        self.kind = kind
        self.name = kind
        self.folder: str | None = None
        self._how = how = KINDS[kind]
        self.joint = how.joint
        self.fingerprint = digest(folder, TEXT_FILES)[:16]
        if kind == "blip-cls":  # same file, other vectors
            self.fingerprint = f"c{self.fingerprint[1:]}"
        with loading(folder) as transformers:
            self.device = torch.device(device)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = getattr(transformers, how.architecture).from_pretrained(folder, local_files_only=True)
            for part in how.image_side:
                delattr(self._model, part)
            self._model = self._model.to(self.device).eval().requires_grad_(False)
        config: Any = self._model.config
        self.dim = _attribute(config, how.dim)
        positions = int(getattr(config, "text_config", config).max_position_embeddings)
        self.context = min(positions, MINILM_TOKENS) if kind == "minilm" else positions  # tokens at most
        self._cache = VectorCache(self._identity(folder), self.dim) if cached else None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of sentences, float32 [N, dim], independent of the order of ``texts`` and of batching."""
        if isinstance(texts, str):
            raise TypeError("texts is one string, whose letters would be encoded; give a list of strings")
        return self._encode(texts) if self._cache is None else self._cache.encode(texts, self._encode)

    def _identity(self, folder: Path) -> str:
        """Hash of everything a vector depends on: files of the model, kind, and precision by device."""
        facts = f"{digest(folder, TEXT_FILES)} {self.kind} {self.device.type}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding in each batch
        for start in range(0, len(texts), BATCH):
            rows = by_length[start : start + BATCH]
            with torch.inference_mode():
                vectors[rows] = self._vectors(*self.tokens([texts[i] for i in rows])).cpu().numpy()
        return vectors

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, int64 [N, L]; longer texts are truncated before their end token."""
        found = self._tokenizer(
            list(texts), padding=self._how.padding, truncation=True, max_length=self.context, return_tensors="pt"
        )
        ids: Tensor = found["input_ids"].to(self.device)
        mask = found["attention_mask"] if "attention_mask" in found else torch.ones_like(ids)
        return ids, mask.to(self.device)

    def word_ids(self, text: str) -> list[int]:
        """Token ids of a text, without start and end token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def boundary_ids(self) -> tuple[int, int]:
        """Ids of the start and the end token."""
        ids = self._tokenizer("")["input_ids"]
        return int(ids[0]), int(ids[-1])

    @property
    def token_embeddings(self) -> nn.Embedding:
        """Embedding table of the tokens, without positions."""
        tables = self._tower.embeddings  # get_input_embeddings of CLIP and SigLIP is missing in older releases
        found: nn.Embedding = tables.token_embedding if hasattr(tables, "token_embedding") else tables.word_embeddings
        return found

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the text tower."""
        blocks = self._tower.encoder
        found: nn.ModuleList = getattr(blocks, "layer", None) or blocks.layers
        return found

    @property
    def _tower(self) -> Any:
        return getattr(self._model, "text_encoder", getattr(self._model, "text_model", self._model))

    def encode_embeddings(
        self, ids: Tensor, mask: Tensor, embeddings: Tensor, form: Literal["unit", "plain", "state"] = "unit"
    ) -> Tensor:
        """Vectors of token embeddings, with gradients, in full precision.

        Parameters
        ----------
        ids, mask
            int64 [N, L]; the ids give the place of the end token, and ``embeddings`` replace their own.
        embeddings
            float32 [N, L, width], before positions are added.
        form
            ``"unit"``: unit length; ``"plain"``: not normalised; ``"state"``: not normalised, before the projection.

        Returns
        -------
        Tensor
            float32 [N, dim], or [N, width] with ``"state"``.
        """
        # A hook on the embedding table works for every architecture; few accept embeddings, and BLIP adds in place.
        handle = self.token_embeddings.register_forward_hook(lambda module, inputs, output: embeddings.clone())
        pool = self._how.pool if form != "state" else self._how.state or self._how.pool
        try:
            with torch.autocast(self.device.type, enabled=False):
                vectors = pool(self._model, ids, mask)
        finally:
            handle.remove()
        return F.normalize(vectors, dim=-1) if form == "unit" else vectors

    def _vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            pooled = self._how.pool(self._model, ids, mask)
        return F.normalize(pooled.float(), dim=-1)


def _attribute(config: Any, path: str) -> int:
    for name in path.split("."):
        config = getattr(config, name)
    return int(config)
