"""Gradients of a full batch of which a process sees only a part at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kgvad.anchors.learnable_prompts import computed_once
from kgvad.detector.api import Batch, Detector, Output
from kgvad.detector.training.distributed import Team
from kgvad.errors import UsageError

ROWS = 2048  # of a part, where a step on the CPU may go part by part: what the caches of a core hold is fastest


def backward(
    detector: Detector, batch: Batch, micro_batch: int = 0, precision: str = "fp32", team: Team | None = None
) -> dict[str, float]:
    """Gradients of the summed losses into the parameters; the losses by name.

    With ``micro_batch`` videos in memory at once, or the videos shared among a team, the gradients are those of the
    full batch. Where losses are means over videos (``Detector.by_video``) those of the parts are added up; on the CPU
    that is done unasked. Where they compare videos, outputs are computed without a graph, the losses' gradients with
    respect to them are kept, and each part is run again to carry them back (Gao et al. 2021, gradient caching).

    A process of a team takes every ``team.size``-th video, so that each has normal and abnormal ones.
    """
    team = team or Team()
    size, rows = batch.features.shape[:2]
    add = detector.by_video and not batch.sigma  # noise is drawn for the whole batch
    if add and not micro_batch and batch.features.device.type == "cpu":
        micro_batch = max(1, ROWS // max(1, rows))
    if team.size == 1 and (not micro_batch or micro_batch >= size):
        terms = detector.losses(run(detector, batch, precision), batch)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        return {name: float(value.detach()) for name, value in terms.items()}
    if team.size > size:
        raise UsageError(f"{team.size} processes share a step of {size} videos", "start fewer processes")
    step = team.size * (micro_batch or size)
    parts = [slice(start, start + step, team.size) for start in range(team.number, size, step)]
    seed = int(torch.randint(2**31, (1,))) if team.size > 1 else 0  # alike in all processes
    if team.size > 1:
        torch.manual_seed(seed + 1 + team.number)
    with computed_once(detector) as shared:
        if add:
            found = _add(detector, batch, parts, team, precision, seed)
        else:
            found = _gather(detector, batch, parts, team, precision, seed, shared)
    if team.size > 1:
        team.total_gradients([p for p in detector.parameters() if p.requires_grad])
    return {name: float(value.detach()) for name, value in found.items()}


def _add(
    detector: Detector, batch: Batch, parts: list[slice], team: Team, precision: str, seed: int
) -> Mapping[str, Tensor]:
    """Losses of the batch as shares of those of its parts, with their gradients."""
    found: dict[str, Tensor] = {}
    for part in parts:
        own = batch.part(part)
        videos, rows = len(own.lengths) / len(batch.lengths), own.lengths.sum() / batch.lengths.sum()
        terms = detector.losses(run(detector, own, precision), own)
        terms = {name: value * (rows if name in detector.by_row else videos) for name, value in terms.items()}
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        found = {name: value.detach() + found.get(name, 0.0) for name, value in terms.items()}
    if team.size > 1:
        torch.manual_seed(seed)  # the processes go on alike
    return {name: team.total(value) for name, value in found.items()}


def _gather(
    detector: Detector,
    batch: Batch,
    parts: list[slice],
    team: Team,
    precision: str,
    seed: int,
    shared: Sequence[Tensor],
) -> Mapping[str, Tensor]:
    """Losses of the batch; the gradients of this process's parts go into the parameters and into ``shared``."""
    size, device = len(batch.lengths), batch.features.device
    keep = len(parts) == 1  # then its graph is kept; otherwise every part runs twice
    states = []
    outputs = []
    with torch.set_grad_enabled(keep):
        for part in parts:
            states.append(_random_state(device))
            outputs.append(run(detector, batch.part(part), precision))
    if team.size > 1:
        torch.manual_seed(seed)  # every process computes the losses of the whole batch, which may draw too
    whole, leaves = _join(outputs, parts, size, team)
    terms = detector.losses(whole, batch)
    after = _random_state(device)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    if not team.first:
        for given in (*detector.parameters(), *shared):  # what the losses give parameters directly counts once
            given.grad = None
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        if not keep:
            _set_random_state(state, device)  # the second pass drops the same units
            outputs[number] = run(detector, batch.part(part), precision)
        output = outputs[number]
        values = _tensors(output)
        pairs = [(values[name], leaf.grad[part]) for name, leaf in leaves.items() if leaf.grad is not None]
        pairs = [(value, grad) for value, grad in pairs if value.requires_grad]  # constants have no way back
        torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])
    _set_random_state(after, device)
    return terms


def run(detector: Detector, batch: Batch, precision: str = "fp32") -> Output:
    """Output for a batch in float32; with ``bf16`` the detector computes in half precision where it may."""
    with torch.autocast(batch.features.device.type, torch.bfloat16, enabled=precision == "bf16"):
        output = detector(batch.features, batch.lengths, batch.text)
    assert isinstance(output, Output)
    return _with(output, {name: value.float() for name, value in _tensors(output).items()})


def _tensors(output: Output) -> dict[str, Tensor]:
    """The tensors of an output by name; those of an output within it by ``its name.name``."""
    found: dict[str, Tensor] = {}
    for field in dataclasses.fields(output):
        value = getattr(output, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif isinstance(value, Output):
            found |= {f"{field.name}.{name}": inner for name, inner in _tensors(value).items()}
    return found


def _with(output: Output, tensors: Mapping[str, Tensor]) -> Output:
    """The output with other tensors, named as :func:`_tensors` names them."""
    changes: dict[str, Any] = {name: value for name, value in tensors.items() if "." not in name}
    for name in {name.partition(".")[0] for name in tensors if "." in name}:
        own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        changes[name] = _with(getattr(output, name), own)
    return dataclasses.replace(output, **changes)


def _join(outputs: list[Output], parts: list[slice], size: int, team: Team) -> tuple[Output, dict[str, Tensor]]:
    """One output of all parts of all processes, and its tensors by name: leaves that collect gradients."""
    leaves: dict[str, Tensor] = {}
    for name in _tensors(outputs[0]):
        values = [_tensors(output)[name].detach() for output in outputs]
        joined = values[0].new_zeros((size, *values[0].shape[1:]))
        for part, value in zip(parts, values, strict=True):
            joined[part] = value
        leaves[name] = team.total(joined).requires_grad_()
    return _with(outputs[0], leaves), leaves


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
