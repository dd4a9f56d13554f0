"""Gradients of a full batch with only a part of it in memory at once."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from kgvad.detector.api import Batch, Detector, Output


def cached_backward(detector: Detector, batch: Batch, micro_batch: int, precision: str) -> dict[str, float]:
    """See :func:`kgvad.detector.train.backward`."""
    parts = [slice(start, start + micro_batch) for start in range(0, len(batch.lengths), micro_batch)]
    states = []
    outputs = []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(batch.features.device))
            outputs.append(run(detector, batch, part, precision))
    whole, leaves = _join(outputs)
    terms = detector.losses(whole, batch)
    after = _random_state(batch.features.device)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    for part, state in zip(parts, states, strict=True):
        _set_random_state(state, batch.features.device)  # the second pass drops the same units
        output = run(detector, batch, part, precision)
        pairs = [(getattr(output, name), leaf.grad[part]) for name, leaf in leaves.items() if leaf.grad is not None]
        pairs = [(value, grad) for value, grad in pairs if value.requires_grad]  # constants have no way back
        torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])
    _set_random_state(after, batch.features.device)
    return {name: float(value.detach()) for name, value in terms.items()}


def run(detector: Detector, batch: Batch, part: slice = slice(None), precision: str = "fp32") -> Output:
    """Output for a part of the batch in float32; with ``bf16`` the detector computes in half precision where it may."""
    text = None if batch.text is None else batch.text[part]
    with torch.autocast(batch.features.device.type, torch.bfloat16, enabled=precision == "bf16"):
        output = detector(batch.features[part], batch.lengths[part], text)
    assert isinstance(output, Output)
    tensors = {name: getattr(output, name) for name in _tensors(output)}
    return dataclasses.replace(output, **{name: value.float() for name, value in tensors.items()})


def _tensors(output: Output) -> list[str]:
    names = [field.name for field in dataclasses.fields(output)]
    return [name for name in names if isinstance(getattr(output, name), Tensor)]


def _join(outputs: list[Output]) -> tuple[Output, dict[str, Tensor]]:
    """One output of all parts, and its tensors by name: leaves that collect gradients."""
    leaves: dict[str, Tensor] = {}
    for field in dataclasses.fields(outputs[0]):
        if isinstance(getattr(outputs[0], field.name), Tensor):
            joined = torch.cat([getattr(output, field.name) for output in outputs])
            leaves[field.name] = joined.requires_grad_()
    return dataclasses.replace(outputs[0], **leaves), leaves


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
