"""Class prompts of a training: made of the words of its captions, and encoded as the captions were."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.learnable_prompts import category_texts
from kgvad.anchors.text_encoders import TextEncoder, load_text_encoder
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.detector.data.class_prompts import PromptOptions, WordEncoder, class_prompts
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.run import RunConfig
from kgvad.errors import UsageError
from kgvad.video.store_folders import OF_TEXT
from kgvad.video.video_ids import VideoNames

logger = logging.getLogger(__name__)

UNLIMITED = 1_000_000


def words_of_captions(
    config: RunConfig, samples: Sequence[TrainingSample], captions: Mapping[str, Sequence[str]] | None, bank: AnchorBank
) -> tuple[str, ...]:
    """A class prompt for each category of ``config``, from the captions of the videos of ``samples`` alone.

    Raises
    ------
    UsageError
        There are no captions, or none of these videos.
    """
    options = config.class_prompt_options
    if not isinstance(options, PromptOptions):
        return ()
    remedy = "name their file with --caption-texts, or leave the loss out with --set semantic_weight=0"
    if captions is None:
        raise UsageError(f"{config.detector} makes class prompts of the words of the training captions", remedy)
    labels = {sample.video: sample.target.nonzero()[0].tolist() for sample in samples}
    named = VideoNames(labels).match(captions, "the file of caption texts")
    texts: dict[str, Iterable[str]] = {video: captions[name] for video, name in named.items()}
    if not texts:
        raise UsageError("the file of caption texts has none of the training videos", remedy)
    logger.info(f"class prompts of the captions of {len(texts)} of {len(labels)} training videos")
    encoder = word_encoder(caption_encoder(config, bank))
    return class_prompts(texts, labels, category_texts(bank), config.normal, encoder, options)


def prompt_vectors(config: RunConfig, bank: AnchorBank | None, device: str) -> Tensor | None:
    """Class prompts of a run as vectors of its captions' text encoder, float32 [C, E]; ``None`` without."""
    if not config.class_prompts:
        return None
    return torch.from_numpy(caption_encoder(config, bank, device).encode(list(config.class_prompts)))


def caption_encoder(config: RunConfig, bank: AnchorBank | None, device: str = "cpu") -> TextEncoder:
    """The text encoder that made the captions of a run: the bank's where the names agree, else by its name."""
    name = (config.caption_encoder or "").removesuffix(OF_TEXT)
    source = bank.encoder.source if bank is not None and bank.encoder.name == name else name
    return load_text_encoder(source, device)


def word_encoder(encoder: TextEncoder) -> WordEncoder:
    """The encoder with its count of tokens; where it counts none, a word is one token."""
    if isinstance(encoder, TransformersEncoder):
        return WordEncoder(encoder.encode, lambda text: len(encoder.word_ids(text)) + 2, encoder.context)
    return WordEncoder(encoder.encode, lambda text: len(text.split()) + 2, UNLIMITED)
