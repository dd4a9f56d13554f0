"""What a detector returns, checked where it is received, so that an error names the detector and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kgvad.detector.api import Detector, Output
from kgvad.errors import RunError

REMEDY = "repair the detector; the Python reference says what it must return"


def checked_output(detector: Detector, output: object, videos: int, snippets: int) -> Output:
    """``output`` of :meth:`Detector.forward` for a batch.

    Raises
    ------
    RunError
        It is no :class:`Output`, or a tensor of it has another shape.
    """
    if not isinstance(output, Output):
        raise RunError(f"{detector.name}: forward returned {_type(output)}, not an Output", REMEDY)
    categories = len(detector.problem.categories)
    shapes = {
        "logits": (videos, snippets),
        "alignment": (videos, snippets, categories),
        "video": (videos, categories),
    }
    if detector.problem.concepts is not None:
        shapes["concepts"] = (videos, snippets, len(detector.problem.concepts))
    for name, shape in shapes.items():
        value = getattr(output, name)
        if value is None and name != "logits":
            continue
        if not isinstance(value, Tensor):
            raise RunError(f"{detector.name}: Output.{name} is {_type(value)}, not a tensor", REMEDY)
        if value.shape != shape:
            raise RunError(f"{detector.name}: Output.{name} has shape {list(value.shape)}, not {list(shape)}", REMEDY)
    return output


def checked_losses(detector: Detector, losses: object) -> dict[str, Tensor]:
    """``losses`` of :meth:`Detector.losses`.

    Raises
    ------
    RunError
        They are no mapping of names to scalar tensors, or none of them has a gradient.
    """
    if not isinstance(losses, Mapping) or not losses:
        what = "an empty mapping" if isinstance(losses, Mapping) else _type(losses)
        raise RunError(f"{detector.name}: losses returned {what}, not a mapping of names to scalar tensors", REMEDY)
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.ndim:
            what = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else _type(value)
            raise RunError(f"{detector.name}: the loss {name} is {what}, not a scalar tensor", REMEDY)
    if torch.is_grad_enabled() and not any(value.requires_grad for value in losses.values()):
        raise RunError(f"{detector.name}: no loss depends on a parameter, so nothing can be trained", REMEDY)
    return dict(losses)


def _type(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
