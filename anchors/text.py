"""Text encoders: sentences in, unit vectors out.

MiniLM needs no model hub. BLIP and CLIP live in one space with their image encoders (``joint``), so that frames can be
compared with anchors directly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kgvad import weights
from kgvad.console import note
from kgvad.errors import UsageError, WeightsError
from kgvad.files import sha256

PUBLISHED = {"blip": "blip-itm-base-coco", "clip": "clip-vit-base-patch16", "minilm": "minilm-l6"}
BATCH = 64  # sentences encoded at once
MINILM_TOKENS = 256  # the length all-MiniLM-L6-v2 was trained for


class TextEncoder(Protocol):
    """What the rest of kgvad asks of a text encoder."""

    name: str
    dim: int
    fingerprint: str  # hash of the weights; vectors of two fingerprints are never compared
    joint: str | None  # the visual encoder whose features share the space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of sentences, float32 [len(texts), dim]."""
        ...


class HubEncoder:
    """MiniLM (mean of the last hidden states), BLIP ([CLS] and text projection) or CLIP (text projection).

    Parameters
    ----------
    kind
        ``"minilm"``, ``"blip"`` or ``"clip"``.
    folder
        Model in the Transformers layout.
    device
        torch device.
    """

    def __init__(self, kind: str, folder: Path, device: str = "cpu") -> None:
        import transformers

        self.kind = kind
        self.name = kind
        self.joint = kind if kind in ("blip", "clip") else None
        self.device = torch.device(device)
        self.fingerprint = sha256(_weights_file(folder))[:16]
        try:
            with _quiet(transformers):
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                self._model: Any = _ARCHITECTURE[kind](transformers).from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises many unrelated types for a damaged folder
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise WeightsError(f"the text encoder in {folder} cannot be loaded ({reason})", "copy it again") from error
        if kind == "blip":
            del self._model.vision_model, self._model.vision_proj, self._model.itm_head
        self._model = self._model.to(self.device).eval().requires_grad_(False)
        config = self._model.config
        self.dim: int = {
            "minilm": lambda: config.hidden_size,
            "blip": lambda: config.image_text_hidden_size,
            "clip": lambda: config.projection_dim,
        }[kind]()
        text_config = getattr(config, "text_config", config)
        self.context = min(int(text_config.max_position_embeddings), MINILM_TOKENS if kind == "minilm" else 1 << 30)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of sentences, float32 [N, dim]; the order of ``texts`` and its batching do not matter."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding in each batch
        for start in range(0, len(texts), BATCH):
            rows = by_length[start : start + BATCH]
            tokens = self._tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=self.context, return_tensors="pt"
            ).to(self.device)
            vectors[rows] = F.normalize(self._pool(tokens).float(), dim=-1).cpu().numpy()
        return vectors

    def _pool(self, tokens: Any) -> Tensor:
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        if self.kind == "clip":
            embedded: Tensor = self._model(input_ids=ids, attention_mask=mask).text_embeds
            return embedded
        if self.kind == "blip":
            hidden = self._model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            projected: Tensor = self._model.text_proj(hidden[:, 0])
            return projected
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state  # [N, L, d]
        pooled: Tensor = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return pooled


_ARCHITECTURE: dict[str, Any] = {
    "minilm": lambda t: t.AutoModel,
    "blip": lambda t: t.BlipForImageTextRetrieval,
    "clip": lambda t: t.CLIPTextModelWithProjection,
}


def load_text_encoder(name: str | None, device: str = "cpu") -> TextEncoder:
    """The text encoder ``minilm``, ``blip`` or ``clip``, or the model in a folder.

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
            return HubEncoder("blip", weights.find(PUBLISHED["blip"]), device)
        except WeightsError:
            note("BLIP is neither on this machine nor reachable: anchors come from MiniLM, which compares text only")
            name = "minilm"
    if name in PUBLISHED:
        return HubEncoder(name, weights.find(PUBLISHED[name]), device)
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"unknown text encoder {name!r}", f"use {', '.join(PUBLISHED)}, or a folder in the Transformers layout"
        )
    return HubEncoder(_kind(folder), folder, device)


def _kind(folder: Path) -> str:
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / 'config.json'} is damaged ({error})", "copy it again") from error
    if kind in ("blip", "clip"):
        return str(kind)
    if kind in ("bert", "roberta", "mpnet", "xlm-roberta", "distilbert", "nomic_bert", "modernbert"):
        return "minilm"  # any sentence encoder that is pooled by the mean
    raise UsageError(f"{folder} holds a model of type {kind!r}", "use a sentence encoder (BERT family), BLIP or CLIP")


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
