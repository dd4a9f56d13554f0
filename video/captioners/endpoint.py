"""Captions by an OpenAI-compatible service. The pictures are sent to it, and to nobody else."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kgvad.chat_endpoint import ChatEndpoint
from kgvad.video.captioners.base import CaptionerOptions, Clip
from kgvad.video.captioners.prompts import PARTS, PROMPT, SYSTEM

logger = logging.getLogger(__name__)

QUALITY = 85  # of the JPEG pictures


class EndpointCaptioner:
    """A vision-language model of a service; see :class:`~kgvad.video.captioners.base.Captioner`."""

    batch = 8  # requests at the same time; such services batch by themselves

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        self.endpoint = ChatEndpoint(address, options.model)
        self.pictures = options.pictures
        self.name = f"{options.model} at {address}"
        self._prompt = options.prompt or PROMPT
        facts = (address, options.model, SYSTEM, self._prompt, str(self.pictures))
        self.fingerprint = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
        logger.info("pictures of the videos are sent to %s", address)

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """One text for each clip, which the service sees between the clips beside it."""
        with ThreadPoolExecutor(self.batch) as pool:
            return list(pool.map(self._one, clips))

    def _one(self, clip: Clip) -> str:
        content: list[dict[str, object]] = []
        for part, pictures in zip(PARTS, (clip.before, clip.pictures, clip.after), strict=True):
            content.append({"type": "text", "text": part})
            content += [{"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in pictures]
        content.append({"type": "text", "text": self._prompt})
        return self.endpoint.complete([{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}])


def _data_url(picture: NDArray[np.uint8]) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
