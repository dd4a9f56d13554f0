"""Image side of CLIP, BLIP, SigLIP and SigLIP 2 through transformers: features in the space of their text encoders.

Features are what the model's projection gives (SigLIP has none after its pooling head), averaged over the frames of a
snippet and not normalised; whoever compares them with text divides by their length first. A SigLIP 2 model for any
aspect ratio (``naflex``) gets the same square picture as the others, in as many patches as it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kgvad import weights
from kgvad.checksums import IMAGE_FILES
from kgvad.errors import UsageError, WeightsError
from kgvad.files import read_json
from kgvad.model_folder import digest, is_model_folder, loading, model_type
from kgvad.types import Fields
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.encoders.torch_arithmetic import arithmetic, on_one_thread_each
from kgvad.video.encoders.views import FrameEncoder, shorter_side
from kgvad.video.sampling import EncoderOptions, Precision, Sampling

CACHED = 8  # frames that a thread of a CPU takes at once; more leave the cache (32: twice the time and the memory)
PUBLISHED = {"clip": "clip-vit-base-patch16", "blip": "blip-itm-base-coco"}
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP; BLIP took them over
_HALF = (0.5, 0.5, 0.5)  # mean and standard deviation of SigLIP


def _clip(network: Any, pixels: Tensor) -> Tensor:
    embedded: Tensor = network.visual_projection(network.vision_model(pixel_values=pixels).pooler_output)
    return embedded


def _blip(network: Any, pixels: Tensor) -> Tensor:
    embedded: Tensor = network.vision_proj(network.vision_model(pixel_values=pixels).last_hidden_state[:, 0])
    return embedded


def _siglip(network: Any, pixels: Tensor) -> Tensor:
    embedded: Tensor = network.vision_model(pixel_values=pixels).pooler_output
    return embedded


def _siglip2(network: Any, pixels: Tensor) -> Tensor:
    size = network.config.vision_config.patch_size
    batch, _, height, width = pixels.shape
    shape = torch.tensor([height // size, width // size]).expand(batch, 2)
    patches = pixels.unfold(2, size, size).unfold(3, size, size)  # [B, 3, rows, columns, size, size]
    patches = patches.permute(0, 2, 3, 4, 5, 1).reshape(batch, -1, 3 * size * size)
    mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
    embedded: Tensor = network.vision_model(patches, mask, shape).pooler_output
    return embedded


@dataclass(frozen=True)
class Kind:
    """How a type of model is loaded, and turns pictures into vectors."""

    architecture: str  # class of transformers
    embed: Callable[[Any, Tensor], Tensor]
    dim: Callable[[Any], int]  # of the configuration
    text_side: tuple[str, ...]  # parts that pictures do not need
    side: Callable[[Any], int] = lambda config: int(config.vision_config.image_size)
    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD


def _patches_side(config: Any) -> int:
    return int(config.vision_config.num_patches**0.5) * int(config.vision_config.patch_size)


def _width(config: Any) -> int:
    return int(config.vision_config.hidden_size)


KINDS = {  # by model type
    "clip": Kind("CLIPModel", _clip, lambda config: int(config.projection_dim), ("text_model", "text_projection")),
    "blip": Kind(
        "BlipForImageTextRetrieval",
        _blip,
        lambda config: int(config.image_text_hidden_size),
        ("text_encoder", "text_proj", "itm_head"),
    ),
    "siglip": Kind("SiglipModel", _siglip, _width, ("text_model",), mean=_HALF, std=_HALF),
    "siglip2": Kind("Siglip2Model", _siglip2, _width, ("text_model",), _patches_side, _HALF, _HALF),
}


class JointEncoder(FrameEncoder):
    """The image encoder of a model of pictures and texts."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        folder: Path,
        weights_hash: str,
        sampling: Sampling,
        device: str,
        precision: Precision,
    ) -> None:
        config: Any = network.config
        self._kind = kind = KINDS[name]
        self.name = name
        self.side = kind.side(config)
        self.dim = kind.dim(config)
        super().__init__(weights_hash, sampling, device, precision)
        self._place = torch.device(device)
        self.network = network.eval().to(self._place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        settings = _preprocessing(folder)
        self._mean = torch.tensor(settings.get("image_mean", kind.mean), device=device)[:, None, None]
        self._std = torch.tensor(settings.get("image_std", kind.std), device=device)[:, None, None]

    def _plain_size(self, width: int, height: int) -> tuple[int, int]:
        return shorter_side(width, height, self.side) if self.name == "clip" else (self.side, self.side)

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        def compute(part: NDArray[np.uint8]) -> NDArray[np.float32]:
            pixels = torch.from_numpy(np.ascontiguousarray(part)).to(self._place).permute(0, 3, 1, 2).float()
            embedded = self._kind.embed(self.network, (pixels / 255 - self._mean) / self._std)
            rows: NDArray[np.float32] = embedded.float().cpu().numpy()
            return rows

        with torch.inference_mode(), arithmetic(self._place, self.precision):
            if self._place.type != "cpu":
                return compute(frames)
            return on_one_thread_each(compute, [frames[i : i + CACHED] for i in range(0, len(frames), CACHED)])


def _preprocessing(folder: Path) -> Fields:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    settings: Fields = read_json(path, WeightsError, "copy it again")
    return settings


def load_clip(options: EncoderOptions, device: str) -> VisualEncoder:
    """The default CLIP checkpoint."""
    sampling = options.frame_sampling("clip", default="mean16")
    return _load("clip", weights.find(PUBLISHED["clip"]), sampling, device, options.precision)


def load_blip(options: EncoderOptions, device: str) -> VisualEncoder:
    """The default BLIP checkpoint."""
    sampling = options.frame_sampling("blip", default="mean16")
    return _load("blip", weights.find(PUBLISHED["blip"]), sampling, device, options.precision)


def load_folder(folder: Path, options: EncoderOptions, device: str) -> VisualEncoder:
    """The CLIP, BLIP, SigLIP or SigLIP 2 model in a folder.

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
    if kind not in KINDS:
        raise UsageError(f"{folder} holds a model of type {kind!r}", "use a CLIP, BLIP, SigLIP or SigLIP 2 model")
    return _load(kind, folder, sampling, device, options.precision)


def _load(kind: str, folder: Path, sampling: Sampling, device: str, precision: Precision) -> VisualEncoder:
    weights_hash = digest(folder, IMAGE_FILES)  # also says which file is missing
    return JointEncoder(kind, _network(kind, folder), folder, weights_hash, sampling, device, precision)


def _network(kind: str, folder: Path) -> nn.Module:
    with loading(folder) as transformers:
        network: Any = getattr(transformers, KINDS[kind].architecture).from_pretrained(folder, local_files_only=True)
    for part in KINDS[kind].text_side:
        delattr(network, part)
    module: nn.Module = network
    return module
