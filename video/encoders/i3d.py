"""I3D, Kinetics-400, as an encoder of snippets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.device import cpu_threads
from kgvad.errors import UsageError
from kgvad.video.encoders.pretrained import State, converted
from kgvad.video.encoders.runtime import Network, Runner
from kgvad.video.encoders.views import SnippetEncoder, shorter_side
from kgvad.video.sampling import EncoderOptions, Precision, Sampling

CLASSES = 400
SIZE = 224  # pixels
# Clips of fewer than nine frames need a smaller pool than the graph has.
NETWORK = Network("i3d", "kgvad.video.encoders.i3d_network:I3D", "channels_last_3d", fewest_frames=9)


class I3DEncoder(SnippetEncoder):
    """I3D, Kinetics-400: features of snippets."""

    name = "i3d"
    dim = 1024
    side = SIZE

    def __init__(
        self,
        state: State,
        weights_hash: str,
        sampling: Sampling,
        device: str,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(weights_hash, sampling, device, precision)
        if sampling.stride < 8:
            raise UsageError(
                f"I3D needs motion, and a snippet of {sampling.stride} frame(s) has none", "use another encoder"
            )
        self.batch = clips_at_once(device)
        self.runner = i3d_runner(state, device, precision)

    def _plain_size(self, width: int, height: int) -> tuple[int, int]:
        return decode_size(width, height)

    def _embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.runner.run(frames, "features")


def decode_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of decoded frames: the shorter side is 256 pixels; the network takes the middle."""
    return shorter_side(width, height, 256)


def clips_at_once(device: str) -> int:
    """Clips of one call: on a CPU one for each thread."""
    return cpu_threads() if device == "cpu" else 16


def i3d_runner(state: State, device: str, precision: Precision = "fp32") -> Runner:
    """A runner of I3D for uint8 clips [B, F, 224, 224, 3]."""
    return Runner(NETWORK, state, device, _scaled, precision)


def _scaled(pixels: Any) -> Any:
    return pixels / 127.5 - 1


def load_state() -> tuple[State, str]:
    """The pretrained tensors and the hash of the published file."""
    return converted("i3d-k400", "kgvad.video.encoders.i3d_network:published_state")


def load(options: EncoderOptions, device: str) -> I3DEncoder:
    """The encoder with its pretrained weights."""
    sampling = options.clip_sampling("i3d")
    state, digest = load_state()
    return I3DEncoder(state, digest, sampling, device, options.precision)
