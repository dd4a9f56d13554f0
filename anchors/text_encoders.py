"""Text encoders: sentences in, unit vectors out.

MiniLM needs no model hub. BLIP and CLIP live in one space with their image encoders (``joint``), so that frames can be
compared with anchors directly. Every encoder of this file also takes token embeddings in place of tokens, with
gradients, which is what learnable prompts need.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad import weights
from kgvad.anchors.vector_cache import VectorCache
from kgvad.checksums import TEXT_FILES, digest_of
from kgvad.errors import UsageError, WeightsError
from kgvad.files import read_json

logger = logging.getLogger(__name__)


PUBLISHED = {
    "blip": "blip-itm-base-coco",
    "blip-cls": "blip-itm-base-coco",
    "clip": "clip-vit-base-patch16",
    "minilm": "minilm-l6",
}
BATCH = 64  # sentences encoded at once
MINILM_TOKENS = 256  # the length all-MiniLM-L6-v2 was trained for


class TextEncoder(Protocol):
    """What the rest of kgvad asks of a text encoder."""

    name: str
    dim: int
    fingerprint: str  # hash of weights, tokenizer and configuration; vectors of two fingerprints are never compared
    joint: str | None  # the visual encoder whose features share the space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of sentences, float32 [len(texts), dim]."""
        ...


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
class _Kind:
    """One way from token ids and mask to vectors."""

    architecture: str  # class of transformers
    pool: Callable[[Any, Tensor, Tensor], Tensor]
    dim: str  # where the configuration says it
    joint: str | None = None
    image_side: tuple[str, ...] = ()  # parts that text does not need
    padding: bool | str = True
    state: Callable[[Any, Tensor, Tensor], Tensor] | None = None  # before the projection; None: there is none
    prompts: bool = True  # sentences have a start and an end token, so context vectors have their places


_KINDS = {
    "minilm": _Kind("AutoModel", _mean, "hidden_size"),
    "blip": _Kind(
        "BlipForImageTextRetrieval",
        _blip,
        "image_text_hidden_size",
        "blip",
        ("vision_model", "vision_proj", "itm_head"),
        state=_blip_cls,
    ),
    "blip-cls": _Kind(
        "BlipForImageTextRetrieval",
        _blip_cls,
        "text_config.hidden_size",
        None,
        ("vision_model", "vision_proj", "itm_head", "text_proj"),
    ),
    "clip": _Kind("CLIPTextModelWithProjection", _clip, "projection_dim", "clip", state=_clip_state),
    "siglip": _Kind(
        "AutoModel",
        _siglip,
        "text_config.projection_size",
        None,
        ("vision_model",),
        padding="max_length",
        prompts=False,
    ),
}
_MODEL_TYPES = {
    "blip": "blip",
    "clip": "clip",
    "clip_text_model": "clip",
    "siglip": "siglip",
    "siglip2": "siglip",
    **dict.fromkeys(("bert", "roberta", "mpnet", "xlm-roberta", "distilbert", "modernbert"), "minilm"),
}


class HubEncoder:
    """MiniLM and other sentence encoders (mean of the last hidden states), BLIP, CLIP or SigLIP (text projection).

    Parameters
    ----------
    kind
        ``"minilm"``, ``"blip"``, ``"blip-cls"`` (the state of [CLS] before the projection), ``"clip"`` or ``"siglip"``.
    folder
        Model in the Transformers layout.
    device
        torch device; on a GPU the model runs in mixed precision.
    keep
        Whether :meth:`encode` keeps vectors in kgvad's cache folder and takes them from there.
    """

    def __init__(self, kind: str, folder: Path, device: str = "cpu", keep: bool = False) -> None:
        import transformers

        self.kind = kind
        self.name = kind
        self.folder: str | None = None
        self._how = how = _KINDS[kind]
        self.joint = how.joint
        self.fingerprint = digest_of(folder, _weights_file(folder).name, TEXT_FILES)[:16]
        if kind == "blip-cls":  # same file, other vectors
            self.fingerprint = f"c{self.fingerprint[1:]}"
        try:
            self.device = torch.device(device)
            with _quiet(transformers):
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                self._model: Any = getattr(transformers, how.architecture).from_pretrained(
                    folder, local_files_only=True
                )
            for part in how.image_side:
                delattr(self._model, part)
            self._model = self._model.to(self.device).eval().requires_grad_(False)
        except Exception as error:  # transformers raises many unrelated types for a damaged folder
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise WeightsError(f"the text encoder in {folder} cannot be loaded ({reason})", "copy it again") from error
        config: Any = self._model.config
        self.dim = _dig(config, how.dim)
        positions = int(getattr(config, "text_config", config).max_position_embeddings)
        self.context = min(positions, MINILM_TOKENS) if kind == "minilm" else positions  # tokens at most
        self._cache = VectorCache(self._identity(folder), self.dim) if keep else None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of sentences, float32 [N, dim]; the order of ``texts`` and its batching do not matter."""
        return self._encode(texts) if self._cache is None else self._cache.encode(texts, self._encode)

    def _identity(self, folder: Path) -> str:
        """All that a vector depends on: the files of the model (in the fingerprint), kind and precision."""
        facts = f"{digest_of(folder, _weights_file(folder).name, TEXT_FILES)} {self.kind} {self.device.type}"
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
        """Token ids and mask, int64 [N, L]; what is longer than the context is cut, its end token is kept."""
        found = self._tokenizer(
            list(texts), padding=self._how.padding, truncation=True, max_length=self.context, return_tensors="pt"
        )
        ids: Tensor = found["input_ids"].to(self.device)
        mask = found["attention_mask"] if "attention_mask" in found else torch.ones_like(ids)
        return ids, mask.to(self.device)

    def words(self, text: str) -> list[int]:
        """Token ids of a text without start and end token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def frame(self) -> tuple[int, int]:
        """Ids of the start and the end token."""
        ids = self._tokenizer("")["input_ids"]
        return int(ids[0]), int(ids[-1])

    @property
    def table(self) -> nn.Embedding:
        """Embeddings of the tokens, before positions are added."""
        tower = getattr(self._model, "text_encoder", getattr(self._model, "text_model", self._model))
        table: nn.Embedding = tower.get_input_embeddings()
        return table

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the text tower."""
        tower = getattr(self._model, "text_encoder", getattr(self._model, "text_model", self._model))
        found: nn.ModuleList = getattr(tower.encoder, "layer", None) or tower.encoder.layers
        return found

    def encode_embeddings(
        self, ids: Tensor, mask: Tensor, embeddings: Tensor, form: Literal["unit", "plain", "state"] = "unit"
    ) -> Tensor:
        """Vectors of token embeddings, with gradients, in full precision.

        Parameters
        ----------
        ids, mask
            int64 [N, L]; the ids only tell where the end token is, their own embeddings are not used.
        embeddings
            float32 [N, L, width], before positions are added.
        form
            ``"unit"`` rows; ``"plain"``: as long as the tower leaves them; ``"state"``: also before its projection.

        Returns
        -------
        Tensor
            float32 [N, dim]; [N, width] of states.
        """
        # A hook on the embedding table reaches every architecture alike; few take embeddings, and BLIP adds in place.
        handle = self.table.register_forward_hook(lambda module, inputs, output: embeddings.clone())
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


def takes_prompts(kind: str) -> bool:
    """Whether prompts and adapters can be learned through text encoders of this kind (``EncoderInfo.name``).

    Otherwise nothing is known to send gradients back through, and what is learned is a residual on the vectors.
    """
    return kind in _KINDS and _KINDS[kind].prompts


def load_text_encoder(name: str | None, device: str = "cpu") -> TextEncoder:
    """The text encoder ``minilm``, ``blip``, ``blip-cls`` or ``clip``, or the model in a folder; its vectors are kept.

    Parameters
    ----------
    name
        ``None`` takes BLIP, or MiniLM with one line on stderr where BLIP is neither here nor reachable. An encoder that
        was named is never replaced.
    device
        torch device.

    Raises
    ------
    UsageError
        The name is unknown.
    WeightsError
        The weights are missing, damaged or of another kind.
    """
    if name is None:
        try:
            return HubEncoder("blip", weights.find(PUBLISHED["blip"]), device, keep=True)
        except WeightsError:
            logger.info(
                "BLIP is neither on this machine nor reachable: anchors come from MiniLM, which compares text only"
            )
            name = "minilm"
    if name in PUBLISHED:
        return HubEncoder(name, weights.find(PUBLISHED[name]), device, keep=True)
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"unknown text encoder {name!r}", f"use {', '.join(PUBLISHED)}, or a folder in the Transformers layout"
        )
    encoder = HubEncoder(_kind(folder), folder, device, keep=True)
    encoder.folder = str(folder.absolute())  # its kind alone would find the published model of that kind
    return encoder


def _kind(folder: Path) -> str:
    try:
        kind = read_json(folder / "config.json", WeightsError, "copy it again").get("model_type")
    except AttributeError as error:
        raise WeightsError(f"{folder / 'config.json'} is damaged ({error})", "copy it again") from error
    if kind not in _MODEL_TYPES:
        raise UsageError(
            f"{folder} holds a model of type {kind!r}", "use a sentence encoder (BERT family), BLIP, CLIP or SigLIP"
        )
    return _MODEL_TYPES[kind]


def _dig(config: Any, path: str) -> int:
    for name in path.split("."):
        config = getattr(config, name)
    return int(config)


def _weights_file(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} has no model.safetensors", "copy the whole model folder")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No report about the image side's tensors being left out and no progress bar: both are meant."""
    verbosity, bar = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bar:
            transformers.logging.enable_progress_bar()
