"""Scores of the 400 Kinetics actions as features: I3D on windows of 18 frames, .1 s apart."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kgvad.errors import FeatureError
from kgvad.video.action_labels import action_labels
from kgvad.video.encoders import i3d
from kgvad.video.encoders.views import check_clips, fingerprint_of, middle, resize
from kgvad.video.sampling import EncoderOptions, Precision
from kgvad.video.windows import WindowSampling


class I3DActionsEncoder:
    """I3D, Kinetics-400: logits of the 400 actions, one column each."""

    name = "i3d-actions"
    dim = i3d.CLASSES

    def __init__(
        self,
        network: nn.Module,
        weights_hash: str,
        sampling: WindowSampling,
        device: str,
        precision: Precision = "fp32",
    ) -> None:
        self.weights = weights_hash
        self.sampling = sampling
        self.columns: tuple[str, ...] | None = action_labels()
        self.device = torch.device(device)
        self.batch = 1 if self.device.type == "cpu" else 16  # a CPU gains nothing from more
        self.precision = precision
        self.runner = i3d.i3d_runner(network, self.device, precision)

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.name, self.dim, self.weights, self.sampling, self.precision)

    def decode_size(self, width: int, height: int) -> tuple[int, int]:
        return i3d.decode_size(width, height)

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        check_clips(clips)
        if clips.shape[1] != self.sampling.frames:
            raise FeatureError(f"a window has {clips.shape[1]} frames instead of {self.sampling.frames}")
        height, width = clips.shape[2:4]
        size = self.decode_size(width, height)
        frames = clips if size == (width, height) else resize(clips, size)
        pixels = torch.from_numpy(np.ascontiguousarray(middle(frames, i3d.SIZE)))
        logits: NDArray[np.float32] = i3d.run_clips(self.runner, pixels, "logits").numpy()
        return logits


def load(options: EncoderOptions, device: str) -> I3DActionsEncoder:
    """The encoder with its pretrained weights."""
    sampling = WindowSampling.of(I3DActionsEncoder.name, options)
    network, digest = i3d.load_network()
    return I3DActionsEncoder(network, digest, sampling, device, options.precision)
