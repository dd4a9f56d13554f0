"""Image side of CLIP and BLIP through transformers: projected features, in the space of their text encoders.

Features are what the model's projection gives, averaged over the frames of a snippet and not
normalised; whoever compares them with text divides by their length first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kgvad import weights
from kgvad.checksums import IMAGE_FILES
from kgvad.errors import UsageError, WeightsError
from kgvad.files import read_json
from kgvad.model_folder import digest, is_model_folder, loading, model_type
from kgvad.types import Fields
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.encoders.views import FrameEncoder, shorter_side
from kgvad.video.sampling import EncoderOptions, Sampling

PUBLISHED = {"clip": "clip-vit-base-patch16", "blip": "blip-itm-base-coco"}
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP; BLIP took them over


class JointEncoder(FrameEncoder):
    """A CLIP or BLIP image encoder with its projection."""

    chunk = 8  # on a CPU, larger ones leave the cache (32: twice the time and the memory)

    def __init__(self, name: str, network: nn.Module, folder: Path, weights_hash: str, sampling: Sampling, device: str):
        config: Any = network.config
        self.name = name
        self.side = config.vision_config.image_size
        self.dim = config.image_text_hidden_size if name == "blip" else config.projection_dim
        super().__init__(weights_hash, sampling, device)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        settings = _preprocessing(folder)
        self._mean = torch.tensor(settings.get("image_mean", _MEAN), device=self.device)[:, None, None]
        self._std = torch.tensor(settings.get("image_std", _STD), device=self.device)[:, None, None]

    def _plain_size(self, width: int, height: int) -> tuple[int, int]:
        return shorter_side(width, height, self.side) if self.name == "clip" else (self.side, self.side)

    def _forward(self, pixels: Tensor) -> Tensor:
        network: Any = self.network
        x = (pixels / 255 - self._mean) / self._std
        if self.name == "clip":
            embedded: Tensor = network.visual_projection(network.vision_model(pixel_values=x).pooler_output)
            return embedded
        projected: Tensor = network.vision_proj(network.vision_model(pixel_values=x).last_hidden_state[:, 0])
        return projected


def _preprocessing(folder: Path) -> Fields:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    settings: Fields = read_json(path, WeightsError, "copy it again")
    return settings


def load_clip(options: EncoderOptions, device: str) -> VisualEncoder:
    """The default CLIP checkpoint."""
    sampling = options.frame_sampling("clip", default="mean16")
    return _load("clip", weights.find(PUBLISHED["clip"]), sampling, device)


def load_blip(options: EncoderOptions, device: str) -> VisualEncoder:
    """The default BLIP checkpoint."""
    sampling = options.frame_sampling("blip", default="mean16")
    return _load("blip", weights.find(PUBLISHED["blip"]), sampling, device)


def load_folder(folder: Path, options: EncoderOptions, device: str) -> VisualEncoder:
    """The CLIP or BLIP model in a folder.

    Raises
    ------
    UsageError
        The folder is not in the Transformers layout, or holds another kind of model.
    WeightsError
        The weights are missing or damaged.
    """
    sampling = options.frame_sampling(str(folder), default="mean16")
    if not is_model_folder(folder):
        raise UsageError(f"{folder} is not a folder in the Transformers layout", "it needs a config.json")
    kind = model_type(folder)
    if kind not in PUBLISHED:
        raise UsageError(f"{folder} holds a model of type {kind!r}", "use a CLIP or BLIP model")
    return _load(kind, folder, sampling, device)


def _load(kind: str, folder: Path, sampling: Sampling, device: str) -> VisualEncoder:
    weights_hash = digest(folder, IMAGE_FILES)  # also says which file is missing
    return JointEncoder(kind, _network(kind, folder), folder, weights_hash, sampling, device)


def _network(kind: str, folder: Path) -> nn.Module:
    with loading(folder) as transformers:
        architecture = transformers.CLIPModel if kind == "clip" else transformers.BlipForImageTextRetrieval
        network: Any = architecture.from_pretrained(folder, local_files_only=True)
    # the text side and the matching head are not needed
    for part in ("text_model", "text_projection") if kind == "clip" else ("text_encoder", "text_proj", "itm_head"):
        delattr(network, part)
    module: nn.Module = network
    return module
