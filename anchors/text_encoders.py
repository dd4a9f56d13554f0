"""Text encoders: sentences in, unit vectors out. Chosen by name, by model folder, or from another package.

MiniLM needs no model hub. BLIP and CLIP share one space with their image encoders (``joint``), so that frames can be
compared with anchors directly.

A package adds an encoder through the entry-point group ``kgvad.text_encoders``. In its ``pyproject.toml``::

    [project.entry-points."kgvad.text_encoders"]
    my-encoder = "my_package.encoders:load"

``load(device: str)`` returns an object with the members of :class:`TextEncoder`, whose ``name`` is ``"my-encoder"``.
Then ``kgvad build-anchors --encoder my-encoder`` uses it, and every command that reads the bank finds it again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kgvad import plugins, weights
from kgvad.device import resolve_device
from kgvad.errors import AnchorError, UsageError, WeightsError
from kgvad.model_folder import is_model_folder, model_type

if TYPE_CHECKING:
    from kgvad.anchors.transformers_encoder import TransformersEncoder

logger = logging.getLogger(__name__)

GROUP = "kgvad.text_encoders"
PUBLISHED = {  # name: weights
    "blip": "blip-itm-base-coco",
    "blip-cls": "blip-itm-base-coco",
    "clip": "clip-vit-base-patch16",
    "minilm": "minilm-l6",
}
KIND_OF_MODEL_TYPE = {
    "blip": "blip",
    "clip": "clip",
    "clip_text_model": "clip",
    "siglip": "siglip",
    "siglip2": "siglip",
    **dict.fromkeys(("bert", "roberta", "mpnet", "xlm-roberta", "distilbert", "modernbert"), "minilm"),
}
PROMPTABLE = ("minilm", "blip", "blip-cls", "clip")  # kinds whose sentences have a start and an end token


@runtime_checkable
class TextEncoder(Protocol):
    """What kgvad needs of a text encoder."""

    name: str
    dim: int
    fingerprint: str  # hash of weights, tokenizer and configuration; vectors of two fingerprints are never compared
    joint: str | None  # the visual encoder whose features share the space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of sentences, float32 [len(texts), dim]."""
        ...


def takes_prompts(name: str) -> bool:
    """Whether prompts and adapters can be learned through the encoder ``name`` (``EncoderInfo.name``).

    Otherwise gradients cannot pass through it, and only a residual on its vectors can be learned.
    """
    return name in PROMPTABLE


def text_encoder_names() -> list[str]:
    """Names of all text encoders: kgvad's, then those of other packages."""
    return [*PUBLISHED, *_of_other_packages()]


def load_text_encoder(name: str | os.PathLike[str] | None, device: str = "cpu") -> TextEncoder:
    """Load a text encoder.

    Parameters
    ----------
    name
        One of :func:`text_encoder_names`, or a model folder in the Transformers layout. ``None``: BLIP, or MiniLM where
        BLIP is neither installed nor reachable; the log says so. An encoder that was named is never replaced.
    device
        Torch device.

    Raises
    ------
    UsageError
        The name or the device is unknown; the message lists those that are installed.
    WeightsError
        The weights are missing, damaged or of another kind.
    KgvadError
        The package that registers the encoder cannot be imported, or what it returns is not a text encoder.
    """
    if name is None:
        try:
            return _published("blip", resolve_device(device))
        except WeightsError:
            logger.info("BLIP is not available: anchors and captions are encoded with MiniLM, which compares text only")
            name = "minilm"
    name, device = os.fspath(name), resolve_device(device)
    if name in PUBLISHED:
        return _published(name, device)
    if name in (found := _of_other_packages()):
        return _from_plugin(found[name], device)
    return _from_folder(name, device)


def _published(name: str, device: str) -> TransformersEncoder:
    folder = weights.find(PUBLISHED[name])

    from kgvad.anchors.transformers_encoder import TransformersEncoder

    return TransformersEncoder(name, folder, device, cached=True)


def _of_other_packages() -> dict[str, EntryPoint]:
    """Entry points by name; kgvad's own names cannot be taken."""
    return {name: point for name, point in plugins.registered(GROUP).items() if name not in PUBLISHED}


def _from_plugin(point: EntryPoint, device: str) -> TextEncoder:
    encoder = plugins.make(point, "text encoder", TextEncoder, device)
    if encoder.name != point.name:
        raise AnchorError(
            f"text encoder {point.name!r} ({point.value}) calls itself {encoder.name!r}", "give both the same name"
        )
    return encoder


def _from_folder(name: str, device: str) -> TextEncoder:
    folder = Path(name).expanduser()
    if not is_model_folder(folder):
        if os.sep in name or folder.is_dir():
            raise UsageError(
                f"there is no model in the folder {name}",
                "name a folder with a config.json, in the Transformers layout",
            )
        known = ", ".join(text_encoder_names())
        raise UsageError(f"unknown text encoder {name!r}", f"choose one of {known}, or a folder with a model")
    found = model_type(folder)
    if found not in KIND_OF_MODEL_TYPE:
        raise UsageError(
            f"{folder} holds a model of type {found!r}", "use a sentence encoder (BERT family), BLIP, CLIP or SigLIP"
        )

    from kgvad.anchors.transformers_encoder import TransformersEncoder

    encoder = TransformersEncoder(KIND_OF_MODEL_TYPE[found], folder, device, cached=True)
    encoder.folder = str(folder.absolute())  # its kind alone would find the published model of that kind
    return encoder
