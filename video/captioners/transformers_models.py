"""Captions by models of the Transformers library: BLIP and its relatives, and vision-language models that chat."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from kgvad import plugins, weights
from kgvad.checksums import digest_of_all
from kgvad.errors import UsageError, WeightsError, first_line
from kgvad.model_folder import is_model_folder, loading
from kgvad.video.captioners.base import DEFAULT, GROUP, CaptionerOptions, Clip
from kgvad.video.captioners.prompts import PARTS, PROMPT, SYSTEM

logger = logging.getLogger(__name__)

BLIP = "blip-image-captioning-base"
CAPTION_TOKENS = 40  # of a model that captions one picture
ANSWER_TOKENS = 128  # of a model that chats


class TransformersCaptioner:
    """An image-to-text model; see :class:`~kgvad.video.captioners.base.Captioner`.

    A model with a chat template sees the clip between its neighbours, with a system and a user prompt. A model without
    one (BLIP, GIT) sees the picture in the middle of the clip. Decoding is greedy.

    Parameters
    ----------
    folder
        Model in the Transformers layout.
    """

    def __init__(self, name: str, folder: Path, options: CaptionerOptions, device: str, *, trusted: bool) -> None:
        self.name = name
        self._prompt = options.prompt or PROMPT
        self.device = torch.device(device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        with loading(folder) as transformers:
            how = {"local_files_only": True, "trust_remote_code": trusted}
            self._processor: Any = transformers.AutoProcessor.from_pretrained(folder, **how)
            model: Any = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, **how)
            self._model = model.to(self.device).eval()
        self.chats = bool(getattr(self._processor, "chat_template", None))
        if options.prompt is not None and not self.chats:
            raise UsageError(
                f"{name} captions pictures without a prompt", "leave out --prompt, or use a model that chats"
            )
        self.pictures = options.pictures if self.chats else 1
        self.batch = 1 if self.chats else 8
        words = (SYSTEM, self._prompt, str(self.pictures)) if self.chats else ()
        facts = (digest_of_all(folder), str(dtype), *words)
        self.fingerprint = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """One text for each clip."""
        if self.chats:
            return [self._chat(clip) for clip in clips]
        pictures = [Image.fromarray(clip.middle) for clip in clips]
        inputs = self._processor(images=pictures, return_tensors="pt").to(self.device, self._model.dtype)
        found = self._model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=CAPTION_TOKENS)
        texts: list[str] = self._processor.batch_decode(found, skip_special_tokens=True)
        return texts

    def _chat(self, clip: Clip) -> str:
        content: list[dict[str, Any]] = []
        for part, pictures in zip(PARTS, (clip.before, clip.pictures, clip.after), strict=True):
            content.append({"type": "text", "text": part})
            content += [{"type": "image", "image": Image.fromarray(picture)} for picture in pictures]
        content.append({"type": "text", "text": self._prompt})
        messages = [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
            {"role": "user", "content": content},
        ]
        inputs = self._processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self.device, self._model.dtype)
        found = self._model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=ANSWER_TOKENS)
        answer = found[:, inputs["input_ids"].shape[1] :]
        text: str = self._processor.batch_decode(answer, skip_special_tokens=True)[0]
        return text


def load(name: str, options: CaptionerOptions, device: str) -> TransformersCaptioner:
    """The captioner called ``blip``, in a folder, or on the hub.

    Raises
    ------
    UsageError
        No such model, or an option that does not fit it.
    WeightsError
        The model is damaged or cannot be fetched.
    """
    if options.model:
        raise UsageError(f"--model names a model of a service, and {name} is none", "leave it out")
    trusted = options.trusted is not None and options.trusted == name
    if options.trusted is not None and not trusted:
        raise UsageError(f"--trust-remote-code names {options.trusted}, not {name}", "give the captioner's own name")
    if name == DEFAULT:
        return TransformersCaptioner(name, weights.find(BLIP), options, device, trusted=False)
    folder = Path(name).expanduser()
    if is_model_folder(folder):
        return TransformersCaptioner(name, folder, options, device, trusted=trusted)
    if folder.exists() or name.count("/") != 1:
        known = ", ".join([DEFAULT, *plugins.registered(GROUP)])
        raise UsageError(
            f"unknown captioner {name!r}",
            f"use {known}, OWNER/MODEL on the hub, a folder in the Transformers layout, or the address of a service",
        )
    return TransformersCaptioner(name, _from_hub(name), options, device, trusted=trusted)


def _from_hub(name: str) -> Path:
    """The newest snapshot of a model, from the hub library's own cache where it is offline."""
    from huggingface_hub import snapshot_download

    try:
        if not weights.offline():
            weights.knock(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
            logger.info("fetching %s from the model hub where it is not on this machine", name)
        return Path(snapshot_download(name, local_files_only=weights.offline()))
    except Exception as error:  # the hub library raises many unrelated types for "cannot be reached"
        raise WeightsError(
            f"cannot fetch {name} from the model hub ({first_line(error)})", "check name and network, or give a folder"
        ) from error
