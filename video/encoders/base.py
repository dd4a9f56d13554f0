"""What a visual encoder is, and the registry through which encoders are found by name.

==================  =====  =====  ==================================  ==================================
name                width  named  frames it sees                      plain crop
==================  =====  =====  ==================================  ==================================
efficientnet-lite0   1280  no     four frames of a snippet            whole frame, squeezed to 224 x 224
i3d                  1024  no     the 16 frames of a snippet          shorter side 256, middle 224 x 224
i3d-actions           400  yes    18 frames .1 s apart, every 1.6 s   shorter side 256, middle 224 x 224
clip                  512  no     the 16 frames of a snippet          shorter side 224, middle 224 x 224
blip                  256  no     the 16 frames of a snippet          whole frame, squeezed to 384 x 384
==================  =====  =====  ==================================  ==================================

Widths of ``clip`` and ``blip`` are those of the default checkpoints; both embed a frame in the space of the text
encoder of the same name. A path to a folder in the Transformers layout (``config.json`` of a CLIP, BLIP, SigLIP or
SigLIP 2 model) is accepted in place of a name. ``named``: each column has a name (:attr:`VisualEncoder.columns`).

An encoder of another package registers in the entry-point group ``kgvad.visual_encoders``. The value is a factory
``factory(options: EncoderOptions, device: str) -> VisualEncoder``::

    [project.entry-points."kgvad.visual_encoders"]
    my-encoder = "my_package.encoder:load"

The factory raises :class:`~kgvad.errors.UsageError` for an option that does not fit. Its encoder then works by name in
``kgvad extract``, :func:`load_visual_encoder` and :func:`~kgvad.video.extract.extract_video`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kgvad import plugins
from kgvad.errors import UsageError, WeightsError
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.sampling import CropRule, EncoderOptions, Precision, SamplingRule, TemporalRule

logger = logging.getLogger(__name__)

GROUP = "kgvad.visual_encoders"
FALLBACK = "efficientnet-lite0"
_OWN = {
    "efficientnet-lite0": "kgvad.video.encoders.efficientnet:load",
    "i3d": "kgvad.video.encoders.i3d:load",
    "i3d-actions": "kgvad.video.encoders.i3d_actions:load",
    "clip": "kgvad.video.encoders.joint:load_clip",
    "blip": "kgvad.video.encoders.joint:load_blip",
}


@runtime_checkable
class VisualEncoder(Protocol):
    """Clips of frames to features.

    Attributes
    ----------
    name
        Name in the registry; CLIP and BLIP share it with the text encoder of the same space.
    dim
        Width D of a row of features.
    weights
        SHA-256 of the weights.
    columns
        D names, where each column of the features has a meaning of its own; otherwise ``None``.
    sampling
        Which frames make a clip, and which frames of the video a row of features stands for:
        :class:`~kgvad.video.sampling.Sampling` (snippets) or :class:`~kgvad.video.windows.WindowSampling` (seconds).
    fingerprint
        16 hexadecimal digits over all of these: features with different fingerprints are never mixed. How the network
        is run (torch or ONNX Runtime, CPU or GPU) is not part of it: fp32 results differ by less than 1e-5 of the
        largest value, below the precision of a feature store (torch and ONNX Runtime on a CPU; a GPU was not measured).
        That it computes in bf16 is part of it.
    batch
        Clips per call that suit the encoder.
    """

    name: str
    dim: int
    weights: str
    columns: tuple[str, ...] | None
    batch: int

    @property
    def sampling(self) -> SamplingRule: ...

    @property
    def fingerprint(self) -> str: ...

    def decode_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) to which a video of this size should be scaled while it is decoded."""
        ...

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of clips.

        Parameters
        ----------
        clips
            uint8 [B, F, H, W, 3], RGB, any size; F is what ``sampling.clips`` gives.

        Returns
        -------
        numpy.ndarray
            float32 [B, D], or [B, crops, D] for the crop rules ``five`` and ``ten``.
        """
        ...


Factory = Callable[[EncoderOptions, str], VisualEncoder]


def visual_encoder_names() -> list[str]:
    """Names of all visual encoders, those of kgvad first."""
    return list(plugins.registered(GROUP, _OWN))


def load_visual_encoder(
    name: str | None,
    device: str = "cpu",
    *,
    crop: CropRule = "plain",
    temporal: TemporalRule | None = None,
    stride: int = SNIPPET_FRAMES,
    step_s: float | None = None,
    precision: Precision = "fp32",
) -> VisualEncoder:
    """Load an encoder with its pretrained weights.

    Parameters
    ----------
    name
        One of :func:`visual_encoder_names`, or the path of a CLIP, BLIP, SigLIP or SigLIP 2 folder. ``None`` takes
        BLIP, and where BLIP's weights are neither on this machine nor reachable, EfficientNet-Lite0 with one log line.
    device
        Torch device.
    crop
        Crop rule; see :mod:`kgvad.video.sampling`.
    temporal
        Temporal rule; by default ``mean4`` for EfficientNet, ``mean16`` for CLIP and BLIP, ``clip`` for I3D.
    stride
        Frames per row of features; 1 for footage that keeps one frame per snippet.
    step_s
        Seconds from one row of ``i3d-actions`` to the next; default 1.6.
    precision
        fp32, or bf16: torch's autocast, fast on GPUs and on CPUs with bf16 instructions. Features differ by about 1 %.

    Raises
    ------
    UsageError
        Unknown name, rule or device, or an option that does not fit the encoder.
    WeightsError
        The weights of a named encoder are missing or damaged.
    KgvadError
        The package that registers the encoder cannot be imported, or what it returns is not a visual encoder.
    """
    device = _checked(device)
    options = EncoderOptions(crop, temporal, stride, step_s, precision)
    if name is not None:
        encoder = _factory(name)(options, device)
        if getattr(encoder, "precision", "fp32") != precision:  # that of another package
            raise UsageError(f"{name} does not compute in {precision}", "leave out the precision")
        return encoder
    try:
        return _factory("blip")(options, device)
    except WeightsError as error:
        logger.info(f"no BLIP ({error.message}): using {FALLBACK} for the frames instead")
        return _factory(FALLBACK)(options, device)


def options_of(encoder: VisualEncoder) -> EncoderOptions:
    """The options with which ``encoder`` is loaded again, in another process."""
    return replace(encoder.sampling.options(), precision=getattr(encoder, "precision", "fp32"))


def _factory(name: str) -> Factory:
    if (point := plugins.registered(GROUP, _OWN).get(name)) is not None:
        if name in _OWN:
            return cast(Factory, plugins.load_factory(point, "visual encoder"))
        return partial(plugins.make, point, "visual encoder", VisualEncoder)
    folder = Path(name).expanduser()
    if not folder.exists():
        known = ", ".join(visual_encoder_names())
        raise UsageError(f"unknown visual encoder {name!r}", f"use {known}, or a path")
    from kgvad.video.encoders.joint import load_folder

    return lambda options, device: load_folder(folder, options, device)


def _checked(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", "use cpu, cuda or mps") from None
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(f"the device {device} is not available here", "use cpu")
    return kind if kind == "cpu" else device
