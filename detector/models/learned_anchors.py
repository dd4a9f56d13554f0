"""What a detector learns of its anchors, and the text encoder that this may need.

vectors    a learned vector of each category beside its anchor
context    learned context around the category's words, through the frozen text encoder of the bank (CoOp, VadCLIP)
adapters   adapters in the first layers of that encoder (DSANet)
residual   a step on the finished anchors, for encoders that nothing can be sent back through
none       nothing
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.learnable_prompts import ContextLayout, LearnedAnchors, PromptLearner, ResidualAdapter, TextAdapter
from kgvad.anchors.text_encoders import load_text_encoder, takes_prompts
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.detector.api import Problem, check_options, detector_class
from kgvad.detector.run import RunConfig
from kgvad.errors import AnchorError, KgvadError, WeightsError

Learn = Literal["vectors", "context", "adapters", "residual", "none"]
THROUGH = ("context", "adapters")  # these need the text encoder while they learn
INSTEAD = "use --set learn=residual, which needs no text encoder"


def learned_anchors(
    problem: Problem, learn: Learn, context: int, rows: int | None = None, mixed: bool = False
) -> LearnedAnchors | None:
    """Anchors that training moves, or ``None`` where these stay as they are (``vectors``, ``none``).

    Parameters
    ----------
    problem
        Its ``tower`` is ``None`` where nothing is trained; then the vectors come with the state dict.
    learn
        What is learned.
    context
        Vectors before and after the words.
    rows
        Of VadCLIP's prompt table; see :class:`kgvad.anchors.learnable_prompts.ContextLayout`.
    mixed
        Whether what comes out of the tower stands beside the bank's anchors, as unit vectors, or in their place, as
        the published detectors have it.
    """
    if problem.anchors is None or learn in ("vectors", "none"):
        return None
    if learn == "residual":
        return LearnedAnchors(problem.anchors, ResidualAdapter(problem.anchors), mixed=False)
    module: nn.Module | None = None
    if problem.tower is not None and learn == "context":
        module = PromptLearner(
            problem.tower,
            problem.words,
            ContextLayout(context, context, table_size=rows),
            unit=mixed,
            seed=_drawn_seed(),
        )
    elif problem.tower is not None:
        module = TextAdapter(problem.tower, problem.words, seed=_drawn_seed())
    return LearnedAnchors(problem.anchors, module, mixed)


def tower_adapters(problem: Problem, layers: int, weight: float, width: int) -> LearnedAnchors:
    """DSANet's text features, ``width`` wide, of adapters in the first ``layers`` of the text encoder."""
    tower = problem.tower
    module = None if tower is None else TextAdapter(tower, problem.words, layers, weight, width, seed=_drawn_seed())
    return LearnedAnchors(torch.zeros(len(problem.categories), width), module, mixed=False)


def _drawn_seed() -> int:
    return int(torch.randint(2**31, ()))


def open_tower(config: RunConfig, bank: AnchorBank | None, name: str | None, device: str) -> TransformersEncoder | None:
    """The bank's text encoder where the detector's options learn through it; otherwise ``None``.

    Parameters
    ----------
    config
        Of the run.
    bank
        Its anchor bank.
    name
        Name or folder of the encoder; ``None`` takes what the bank names.
    device
        Torch device.

    Raises
    ------
    WeightsError
        The encoder is not here.
    AnchorError
        It is another one than the bank's, or nothing can be sent back through it.
    """
    options = check_options(config.detector, config.options)
    if bank is None or not detector_class(config.detector).needs_tower(options):
        return None
    own = bank.encoder
    told = f"{config.detector} would learn through {own.name}, the text encoder of the anchor bank"
    if not takes_prompts(own.name):
        raise AnchorError(f"{told}, but nothing can be sent back through it", INSTEAD)
    try:
        encoder = load_text_encoder(name or own.source, device)
    except KgvadError as error:
        raise WeightsError(f"{told}: {error.message}", f"{error.remedy}; or {INSTEAD}") from error
    if encoder.fingerprint != own.fingerprint:
        raise AnchorError(
            f"{told} ({own.fingerprint}), and {name or 'what is here'} is another ({encoder.fingerprint})",
            f"name the bank's with --text-encoder, build the bank again, or {INSTEAD}",
        )
    assert isinstance(encoder, TransformersEncoder)
    return encoder
