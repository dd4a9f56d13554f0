"""Frozen visual encoders: snippets of frames to features.

=================  =====  ==============================  =========================================
name               width  sees                            plain view
=================  =====  ==============================  =========================================
efficientnet-lite0  1280  four frames of a snippet        whole frame, squeezed to 224 x 224
i3d                 1024  the 16 frames as one clip       shorter side 256, middle 224 x 224
clip                 512  16 frames                       shorter side 224, middle 224 x 224
blip                 256  16 frames                       whole frame, squeezed to 384 x 384
=================  =====  ==============================  =========================================

Widths of ``clip`` and ``blip`` are those of the default checkpoints; both put a frame where the text
encoder of the same name puts its description. A path to a folder in the Transformers layout
(``config.json`` of a CLIP or BLIP model) is accepted in place of a name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad import weights
from kgvad.checksums import CONVERTED
from kgvad.errors import FeatureError, UsageError, WeightsError
from kgvad.files import replacing
from kgvad.settings import cache_dir
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.encoders import efficientnet, i3d
from kgvad.video.sampling import SCALED, CropRule, Sampling, TemporalRule, cut

logger = logging.getLogger(__name__)


NAMES = ("efficientnet-lite0", "i3d", "clip", "blip")
FALLBACK = "efficientnet-lite0"


class VisualEncoder(Protocol):
    """Snippets to features.

    Attributes
    ----------
    name
        Key of the encoder; joint ones share it with the text encoder of the same space.
    dim
        Width of a row of features.
    weights
        SHA-256 of the weights.
    sampling
        Crop rule, temporal rule and stride.
    fingerprint
        16 hexadecimal digits over all of these: features with different fingerprints never mix.
    batch
        Snippets per call that suit the encoder.
    """

    name: str
    dim: int
    weights: str
    sampling: Sampling
    batch: int

    @property
    def fingerprint(self) -> str: ...

    def decode_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) to which a video of this size should be scaled while it is decoded."""
        ...

    def encode(self, snippets: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of snippets.

        Parameters
        ----------
        snippets
            uint8 [B, F, H, W, 3], RGB, any size. F is the stride (all frames) or ``len(sampling.positions)``.

        Returns
        -------
        numpy.ndarray
            float32 [B, D], or [B, 10, D] for the crop rule ``ten``.
        """
        ...


class _Encoder(ABC):
    """What all encoders share: choice of frames, crops and batches."""

    name: str
    dim: int
    batch: int
    side: int  # pixels of the square the network takes

    def __init__(self, weights_hash: str, sampling: Sampling, device: str) -> None:
        self.weights = weights_hash
        self.sampling = sampling
        self.device = torch.device(device)

    @property
    def fingerprint(self) -> str:
        facts = {"encoder": self.name, "dim": self.dim, "weights": self.weights, "version": 1, **asdict(self.sampling)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def decode_size(self, width: int, height: int) -> tuple[int, int]:
        if self.sampling.crop != "plain":
            return SCALED
        return self._plain_size(width, height)

    def _plain_size(self, width: int, height: int) -> tuple[int, int]:
        """Whole frame, squeezed to the network's square: nothing at the border is lost."""
        return self.side, self.side

    def encode(self, snippets: NDArray[np.uint8]) -> NDArray[np.float32]:
        frames = self._chosen(snippets)
        height, width = frames.shape[2:4]
        size = self.decode_size(width, height)
        if size != (width, height):
            frames = _resize(frames, size)
        if self.sampling.crop == "plain":
            views = [_middle(frames, self.side)]
        else:
            views = cut(frames, self.sampling.crop)
            if views[0].shape[2] != self.side:
                views = [_resize(view, (self.side, self.side)) for view in views]
        with torch.inference_mode():
            rows = [self._embed(torch.from_numpy(np.ascontiguousarray(view))).float().cpu().numpy() for view in views]
        return rows[0] if self.sampling.crops == 1 else np.stack(rows, axis=1)

    def _chosen(self, snippets: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wanted, stride = self.sampling.positions, self.sampling.stride
        if snippets.ndim != 5 or snippets.shape[-1] != 3 or snippets.dtype != np.uint8:
            raise FeatureError(
                f"snippets must be uint8 [B, frames, height, width, 3], not {snippets.dtype} {list(snippets.shape)}"
            )
        if snippets.shape[1] == len(wanted):
            return snippets
        if snippets.shape[1] == stride:
            return snippets[:, list(wanted)]
        raise FeatureError(
            f"a snippet has {snippets.shape[1]} frames instead of {stride} (or the {len(wanted)} encoded)"
        )

    @abstractmethod
    def _embed(self, frames: Tensor) -> Tensor:
        """Uint8 [B, F, side, side, 3] to float [B, D]."""


class FrameEncoder(_Encoder):
    """An encoder of single frames; the features of a snippet's frames are averaged."""

    chunk = 8  # frames per forward pass: on a CPU, larger ones leave the cache (32: twice the time and the memory)

    def __init__(self, network: nn.Module, weights_hash: str, sampling: Sampling, device: str) -> None:
        super().__init__(weights_hash, sampling, device)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device.type != "cpu":
            self.chunk = 128
        self.batch = max(1, self.chunk // len(sampling.positions))

    def _embed(self, frames: Tensor) -> Tensor:
        batch, count = frames.shape[:2]
        rows = [self.embed_frames(part) for part in torch.split(frames.flatten(0, 1), self.chunk)]
        return torch.cat(rows).view(batch, count, -1).mean(1)

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Uint8 [N, side, side, 3] to features [N, D]."""
        x = frames.to(self.device).permute(0, 3, 1, 2).float()  # [N, 3, side, side], channels last in memory
        return self._forward(x)

    @abstractmethod
    def _forward(self, pixels: Tensor) -> Tensor:
        """Pixels 0..255, float [N, 3, side, side], to features [N, D]."""


class EfficientNetEncoder(FrameEncoder):
    """EfficientNet-Lite0, ImageNet-1k: pooled features of frames."""

    name = "efficientnet-lite0"
    dim = efficientnet.FEATURES
    side = efficientnet.SIZE

    def _forward(self, pixels: Tensor) -> Tensor:
        network: Any = self.network
        features: Tensor = network.features((pixels - 127) / 128)
        return features


class I3DEncoder(_Encoder):
    """I3D, Kinetics-400: features of 16-frame clips."""

    name = "i3d"
    dim = i3d.FEATURES
    side = i3d.SIZE
    batch = 4  # clips: about 0.5 GB of activations

    def __init__(self, network: nn.Module, weights_hash: str, sampling: Sampling, device: str) -> None:
        super().__init__(weights_hash, sampling, device)
        if sampling.stride < 8:
            raise UsageError(
                f"I3D sees motion, so {sampling.stride} frame(s) are no snippet for it", "use another encoder"
            )
        self.network = network.eval().to(self.device)

    def _plain_size(self, width: int, height: int) -> tuple[int, int]:
        return shorter_side(width, height, 256)

    def _embed(self, frames: Tensor) -> Tensor:
        features: Tensor = self._run(frames)[0]
        return features

    def _run(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        x = frames.to(self.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # [B, 3, F, 224, 224]
        result: tuple[Tensor, Tensor] = self.network(x)
        return result

    def probabilities(self, snippets: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Kinetics-400 class probabilities of plain views, float32 [B, 400]; snippets as for :meth:`encode`."""
        height, width = snippets.shape[2:4]
        size = self._plain_size(width, height)
        frames = snippets if size == (width, height) else _resize(snippets, size)
        with torch.inference_mode():
            logits = self._run(torch.from_numpy(np.ascontiguousarray(_middle(frames, self.side))))[1]
        result: NDArray[np.float32] = logits.softmax(-1).cpu().numpy()
        return result


def shorter_side(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) scaled so that the shorter of both is ``side``."""
    if width <= height:
        return side, max(side, round(height * side / width))
    return max(side, round(width * side / height)), side


def _middle(frames: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (frames.shape[-3] - side) // 2, (frames.shape[-2] - side) // 2
    return frames[..., top : top + side, left : left + side, :]


def _resize(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bicubic with antialiasing; [..., H, W, 3] to [..., size[1], size[0], 3]."""
    lead = frames.shape[:-3]
    x = torch.from_numpy(np.ascontiguousarray(frames)).flatten(0, -4).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size[::-1], mode="bicubic", antialias=True, align_corners=False)
    result: NDArray[np.uint8] = x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return result.reshape(*lead, *result.shape[1:])


def load_visual_encoder(
    name: str | None,
    device: str = "cpu",
    *,
    crop: CropRule = "plain",
    temporal: TemporalRule | None = None,
    stride: int = SNIPPET_FRAMES,
) -> VisualEncoder:
    """Load an encoder with its pretrained weights.

    Parameters
    ----------
    name
        One of :data:`NAMES`, or the path of a CLIP or BLIP folder. ``None`` takes BLIP, and where BLIP's weights are
        neither on this machine nor reachable, EfficientNet-Lite0 with one line on stderr.
    device
        Torch device.
    crop
        Crop rule; see :mod:`kgvad.video.sampling`.
    temporal
        Temporal rule; by default ``mean4`` for EfficientNet, ``mean16`` for CLIP and BLIP, ``clip`` for I3D.
    stride
        Frames per row of features.

    Raises
    ------
    UsageError
        Unknown name, rule or device, or a rule that does not fit the encoder.
    WeightsError
        The weights of a named encoder are missing or damaged.
    """
    _check_device(device)
    sampling = Sampling(crop=crop, stride=stride)
    if name is None:
        try:
            return load_visual_encoder("blip", device, crop=crop, temporal=temporal, stride=stride)
        except WeightsError as error:
            logger.info(f"no BLIP ({error.message}): using {FALLBACK} for the frames instead")
            name = FALLBACK
    if name == "i3d":
        if temporal not in (None, "clip"):
            raise UsageError(f"I3D sees whole snippets, so the temporal rule {temporal} does not fit", "leave it out")
        return _load_i3d(replace(sampling, temporal="clip"), device)
    if temporal == "clip":
        raise UsageError(f"{name} sees single frames, so the temporal rule clip does not fit", "use mean16")
    if name == "efficientnet-lite0":
        return _load_efficientnet(replace(sampling, temporal=temporal or "mean4"), device)
    from kgvad.video.encoders.joint import load_joint

    return load_joint(name, replace(sampling, temporal=temporal or "mean16"), device)


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", "use cpu, cuda or mps") from None
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(f"the device {device} is not available here", "use cpu")


def _load_efficientnet(sampling: Sampling, device: str) -> VisualEncoder:
    def build(path: Path) -> nn.Module:
        network = efficientnet.EfficientNetLite0()
        network.load_published(torch.load(path, map_location="cpu", weights_only=True))
        return network

    network, digest = _converted("efficientnet-lite0", efficientnet.EfficientNetLite0, build)
    return EfficientNetEncoder(network, digest, sampling, device)


def _load_i3d(sampling: Sampling, device: str) -> I3DEncoder:
    def build(path: Path) -> nn.Module:
        network = i3d.I3D()
        network.load_published(weights.read_numpy_pickle(path))
        return network

    network, digest = _converted("i3d-k400", i3d.I3D, build)
    return I3DEncoder(network, digest, sampling, device)


def _converted(name: str, architecture: Any, build: Any) -> tuple[nn.Module, str]:
    """The network called ``name``, read from safetensors that are written on first use from the published file."""
    row = weights.lookup(name)
    digest = row.main_sha256 or ""
    path = cache_dir() / "weights" / name / CONVERTED
    if path.is_file():
        # a file that is damaged or of another version is converted again
        with suppress(SafetensorError, RuntimeError, OSError), safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if file.metadata() == _provenance(state, digest):
                network: nn.Module = architecture()
                network.load_state_dict(state)
                return network, digest
    source = weights.find(name) / row.main
    try:
        network = build(source)
    except (KeyError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{source} does not hold {row.about} ({reason})", "delete it and fetch it again") from error
    state = network.state_dict()
    with replacing(path) as temporary:
        save_file(state, os.fspath(temporary), metadata=_provenance(state, digest))
    return network, digest


def _provenance(state: Mapping[str, Tensor], source_sha256: str) -> dict[str, str]:
    """Metadata of converted weights: the hash of the published file and that of the tensors themselves."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy())
    return {"version": "2", "source_sha256": source_sha256, "tensors_sha256": digest.hexdigest()}
