"""What a captioner is, and the registry through which captioners are found by name.

``blip`` is the default. Another name is that of an image-to-text model on the Hugging Face hub, or a folder in the
Transformers layout. An address (``http://localhost:8000/v1``) is an OpenAI-compatible service.

A captioner of another package registers in the entry-point group ``kgvad.captioners``. The value is a factory
``factory(options: CaptionerOptions, device: str) -> Captioner``::

    [project.entry-points."kgvad.captioners"]
    my-captioner = "my_package.captioner:load"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kgvad import plugins
from kgvad.chat_endpoint import is_address

GROUP = "kgvad.captioners"
DEFAULT = "blip"
Pictures = Sequence[NDArray[np.uint8]]  # RGB [H, W, 3] each


@dataclass(frozen=True)
class Clip:
    """A stretch of a video to be described, with the stretches beside it.

    Attributes
    ----------
    before, pictures, after
        Pictures of the clip before, of the clip itself, and of the clip after; at an end of the video, of the clip
        itself.
    """

    before: Pictures
    pictures: Pictures
    after: Pictures

    @property
    def middle(self) -> NDArray[np.uint8]:
        """The picture in the middle of the clip."""
        return self.pictures[len(self.pictures) // 2]


@dataclass(frozen=True)
class CaptionerOptions:
    """What a captioner is asked to do.

    Attributes
    ----------
    model
        Name of the model on a service.
    prompt
        Text of the user's prompt; ``None``: :data:`~kgvad.video.captioners.prompts.PROMPT`.
    trusted
        Name of the one model whose own code may be executed.
    pictures
        Pictures of a clip for models that read several.
    """

    model: str = ""
    prompt: str | None = None
    trusted: str | None = None
    pictures: int = 4


@runtime_checkable
class Captioner(Protocol):
    """Clips to sentences.

    Attributes
    ----------
    name
        Recorded with the captions.
    fingerprint
        Hexadecimal digits that change with the weights, the prompt and everything else that changes captions.
    pictures
        Pictures of a clip that it reads.
    batch
        Clips a call that suit it.
    """

    name: str
    fingerprint: str
    pictures: int
    batch: int

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """One text for each clip."""
        ...


def load_captioner(name: str, device: str = "cpu", options: CaptionerOptions | None = None) -> Captioner:
    """Load a captioner.

    Parameters
    ----------
    name
        ``blip``, a registered name, a model on the hub, a folder, or the address of a service.
    device
        Torch device.

    Raises
    ------
    UsageError
        Unknown name, or an option that does not fit.
    WeightsError
        The model is missing, damaged or cannot be fetched.
    KgvadError
        The package that registers the captioner cannot be imported, or gives something else.
    """
    options = options or CaptionerOptions()
    if is_address(name):
        from kgvad.video.captioners.endpoint import EndpointCaptioner

        return EndpointCaptioner(name, options)
    if (point := plugins.registered(GROUP).get(name)) is not None:
        return plugins.make(point, "captioner", Captioner, options, device)
    from kgvad.video.captioners.transformers_models import load

    return load(name, options, device)
