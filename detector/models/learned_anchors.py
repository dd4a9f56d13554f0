"""What a detector learns of its anchors, and the text encoder that this may need.

vectors    a learned vector of each category beside its anchor
context    learned context around the category's words, through the frozen text encoder of the bank (CoOp, VadCLIP)
adapters   adapters in the first layers of that encoder (DSANet)
residual   a residual adapter on the finished anchors, for encoders that are not differentiable
none       nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from kgvad.anchors.learnable_prompts import ContextLayout, LearnedAnchors, PromptLearner, ResidualAdapter, TextAdapter
from kgvad.detector.api import Problem
from kgvad.errors import AnchorError, KgvadError, WeightsError

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.transformers_encoder import TransformersEncoder

Learn = Literal["vectors", "context", "adapters", "residual", "none"]
LEARN_VALUES = "vectors, context or adapters (through the text encoder), residual, or none."
THROUGH_ENCODER = ("context", "adapters")  # their training backpropagates through the text encoder
ALTERNATIVE = "use --set learn=residual, which needs no text encoder"


def learned_anchors(
    problem: Problem, learn: Learn, context: int, table_size: int | None = None, mixed: bool = False
) -> LearnedAnchors | None:
    """Anchors that training changes, or ``None`` where these are fixed (``vectors``, ``none``).

    Parameters
    ----------
    problem
        Its ``text_encoder`` is ``None`` outside training; then the vectors come from the state dict.
    learn
        What is learned.
    context
        Context vectors before and after the words.
    table_size
        Of VadCLIP's prompt table; see :class:`kgvad.anchors.learnable_prompts.ContextLayout`.
    mixed
        Whether the encoder's output is mixed with the bank's anchors, as unit vectors, or replaces them, as in the
        published detectors.
    """
    if problem.anchors is None or learn in ("vectors", "none"):
        return None
    if learn == "residual":
        return LearnedAnchors(problem.anchors, ResidualAdapter(problem.anchors), mixed=False)
    module: nn.Module | None = None
    if problem.text_encoder is not None and learn == "context":
        module = PromptLearner(
            problem.text_encoder,
            problem.words,
            ContextLayout(context, context, table_size=table_size),
            unit=mixed,
            seed=_drawn_seed(),
        )
    elif problem.text_encoder is not None:
        module = TextAdapter(problem.text_encoder, problem.words, seed=_drawn_seed())
    return LearnedAnchors(problem.anchors, module, mixed)


def text_encoder_adapters(problem: Problem, layers: int, weight: float, width: int) -> LearnedAnchors:
    """DSANet's text features, ``width`` wide, of adapters in the first ``layers`` of the text encoder."""
    encoder = problem.text_encoder
    module = None if encoder is None else TextAdapter(encoder, problem.words, layers, weight, width, seed=_drawn_seed())
    return LearnedAnchors(torch.zeros(len(problem.categories), width), module, mixed=False)


def _drawn_seed() -> int:
    return int(torch.randint(2**31, ()))


def load_prompt_encoder(detector: str, bank: AnchorBank, name: str | None, device: str) -> TransformersEncoder:
    """The bank's text encoder, for a detector whose training backpropagates through it.

    Parameters
    ----------
    detector
        Name of the detector, for messages.
    bank
        Anchor bank of the run.
    name
        Name or folder of the encoder; default: as recorded in the bank.
    device
        Torch device.

    Raises
    ------
    WeightsError
        The encoder cannot be loaded.
    AnchorError
        It is not the encoder of the bank, or not differentiable.
    """
    from kgvad.anchors.text_encoders import load_text_encoder, takes_prompts
    from kgvad.anchors.transformers_encoder import TransformersEncoder

    recorded = bank.encoder
    purpose = f"{detector} would learn through {recorded.name}, the text encoder of the anchor bank"
    if not takes_prompts(recorded.name):
        raise AnchorError(f"{purpose}, but it is not differentiable", ALTERNATIVE)
    try:
        encoder = load_text_encoder(name or recorded.source, device)
    except KgvadError as error:
        raise WeightsError(f"{purpose}: {error.message}", f"{error.remedy}; or {ALTERNATIVE}") from error
    if encoder.fingerprint != recorded.fingerprint:
        raise AnchorError(
            f"{purpose} ({recorded.fingerprint}), but {name or 'the one found'} is another ({encoder.fingerprint})",
            f"name the bank's with --text-encoder, build the bank again, or {ALTERNATIVE}",
        )
    assert isinstance(encoder, TransformersEncoder)
    return encoder
