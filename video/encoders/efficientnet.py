"""EfficientNet-Lite0, ImageNet-1k, as an encoder of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.video.encoders.pretrained import State, converted
from kgvad.video.encoders.runtime import Network, Runner
from kgvad.video.encoders.views import FrameEncoder
from kgvad.video.sampling import EncoderOptions, Precision, Sampling

NAME = "efficientnet-lite0"
NETWORK = Network(NAME, "kgvad.video.encoders.efficientnet_network:EfficientNetLite0", "channels_last")


class EfficientNetEncoder(FrameEncoder):
    """EfficientNet-Lite0, ImageNet-1k: pooled features of frames."""

    name = NAME
    dim = 1280
    side = 224

    def __init__(
        self,
        state: State,
        weights_hash: str,
        sampling: Sampling,
        device: str,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(weights_hash, sampling, device, precision)
        self.runner = Runner(NETWORK, state, device, _scaled, precision)

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.runner.run(frames, "features")


def _scaled(pixels: Any) -> Any:
    return (pixels - 127) / 128


def load(options: EncoderOptions, device: str) -> EfficientNetEncoder:
    """The encoder with its pretrained weights."""
    sampling = options.frame_sampling(NAME, default="mean4")
    state, digest = converted(NAME, "kgvad.video.encoders.efficientnet_network:published_state")
    return EfficientNetEncoder(state, digest, sampling, device, options.precision)
