"""Scores of the 400 Kinetics actions as features: I3D on windows of 18 frames, .1 s apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import FeatureError
from kgvad.video.action_labels import action_labels
from kgvad.video.encoders import i3d
from kgvad.video.encoders.pretrained import State
from kgvad.video.encoders.views import check_clips, fingerprint_of, middle, resize
from kgvad.video.sampling import EncoderOptions, Precision
from kgvad.video.windows import WindowSampling


class I3DActionsEncoder:
    """I3D, Kinetics-400: logits of the 400 actions, one column each."""

    name = "i3d-actions"
    dim = i3d.CLASSES

    def __init__(
        self,
        state: State,
        weights_hash: str,
        sampling: WindowSampling,
        device: str,
        precision: Precision = "fp32",
    ) -> None:
        self.weights = weights_hash
        self.sampling = sampling
        self.columns: tuple[str, ...] | None = action_labels()
        self.device = device
        self.batch = i3d.clips_at_once(device)
        self.precision = precision
        self.runner = i3d.i3d_runner(state, device, precision)

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
        return self.runner.run(middle(frames, i3d.SIZE), "logits")


def load(options: EncoderOptions, device: str) -> I3DActionsEncoder:
    """The encoder with its pretrained weights."""
    sampling = WindowSampling.of(I3DActionsEncoder.name, options)
    state, digest = i3d.load_state()
    return I3DActionsEncoder(state, digest, sampling, device, options.precision)
