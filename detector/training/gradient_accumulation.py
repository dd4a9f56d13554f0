"""Gradients of a full batch, computed part by part in one or several processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kgvad.anchors.learnable_prompts import computed_once
from kgvad.detector.api import Batch, Detector, Output
from kgvad.detector.protocol import checked_losses, checked_output
from kgvad.detector.training.distributed import ProcessGroup
from kgvad.errors import UsageError
from kgvad.types import Fields

MICRO_BATCH_SNIPPETS = 2048  # of a part on the CPU, where parts that fit the caches of a core are fastest


def backward(
    detector: Detector, batch: Batch, micro_batch: int = 0, precision: str = "fp32", group: ProcessGroup | None = None
) -> dict[str, float]:
    """Accumulate the gradients of the summed losses into the parameters.

    With a micro-batch, or with videos shared among processes, the gradients are those of the full batch. Where losses
    are means over videos (``Detector.losses_average_over_videos``), those of the parts are added up; on the CPU this is
    the default. Where losses compare videos, outputs are computed without a graph, the gradients of the losses with
    respect to them are kept, and a second forward pass of each part propagates them (gradient caching, Gao et al.
    2021).

    A process takes every ``group.world_size``-th video, so that each has normal and abnormal ones.

    Parameters
    ----------
    detector
        In training mode.
    batch
        Videos of the step, the same in all processes.
    micro_batch
        Videos in memory at a time; 0: all, or the fastest number.
    precision
        ``fp32`` or ``bf16``, of the forward pass.
    group
        Processes that share the batch; default: this one.

    Returns
    -------
    The losses by name.

    Raises
    ------
    UsageError
        There are more processes than videos.
    """
    group = group or ProcessGroup()
    size, snippets = batch.features.shape[:2]
    additive = detector.losses_average_over_videos and not batch.select_by_distance  # distances compare videos
    if additive and not micro_batch and batch.features.device.type == "cpu":
        micro_batch = max(1, MICRO_BATCH_SNIPPETS // max(1, snippets))
    if group.world_size == 1 and (not micro_batch or micro_batch >= size):
        terms = checked_losses(detector, detector.losses(run(detector, batch, precision), batch))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        return {name: float(value.detach()) for name, value in terms.items()}
    if group.world_size > size:
        raise UsageError(f"{group.world_size} processes cannot share a batch of {size} videos", "start fewer processes")
    step = group.world_size * (micro_batch or size)
    parts = [slice(start, start + step, group.world_size) for start in range(group.rank, size, step)]
    seed = int(torch.randint(2**31, (1,))) if group.world_size > 1 else 0  # the same in all processes
    if group.world_size > 1:
        torch.manual_seed(seed + 1 + group.rank)
    with computed_once(detector) as shared:
        if additive:
            found = _sum_over_parts(detector, batch, parts, group, precision, seed)
        else:
            found = _cached_gradients(detector, batch, parts, group, precision, seed, shared)
    if group.world_size > 1:
        group.sum_gradients([p for p in detector.parameters() if p.requires_grad])
    return {name: float(value.detach()) for name, value in found.items()}


def _sum_over_parts(
    detector: Detector, batch: Batch, parts: list[slice], group: ProcessGroup, precision: str, seed: int
) -> Mapping[str, Tensor]:
    """Losses of the batch as weighted sums over its parts, with their gradients."""
    found: dict[str, Tensor] = {}
    for part in parts:
        own = batch.part(part)
        shares = {name: share for share, names in _loss_shares(detector, own, batch) for name in names}
        videos = len(own.lengths) / len(batch.lengths)
        terms = checked_losses(detector, detector.losses(run(detector, own, precision), own))
        terms = {name: value * shares.get(name, videos) for name, value in terms.items()}
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        found = {name: value.detach() + found.get(name, 0.0) for name, value in terms.items()}
    if group.world_size > 1:
        torch.manual_seed(seed)  # from here the processes draw the same numbers
    return {name: group.sum(value) for name, value in found.items()}


def _loss_shares(detector: Detector, part: Batch, batch: Batch) -> list[tuple[float, frozenset[str]]]:
    """Weight of a part's losses in those of the batch, for losses that are not means over videos."""
    abnormal = float(part.abnormal.sum()) / max(1.0, float(batch.abnormal.sum()))
    snippets = float(part.lengths.sum()) / float(batch.lengths.sum())
    return [(snippets, detector.snippet_averaged_losses), (abnormal, detector.abnormal_averaged_losses)]


def _cached_gradients(
    detector: Detector,
    batch: Batch,
    parts: list[slice],
    group: ProcessGroup,
    precision: str,
    seed: int,
    shared: Sequence[Tensor],
) -> Mapping[str, Tensor]:
    """Losses of the batch; accumulates the gradients of this process's parts into the parameters and ``shared``."""
    size, device = len(batch.lengths), batch.features.device
    keep = len(parts) == 1  # a single part keeps its graph and needs no second forward pass
    states = []
    outputs = []
    with torch.set_grad_enabled(keep):
        for part in parts:
            states.append(_random_state(device))
            outputs.append(run(detector, batch.part(part), precision))
    if group.world_size > 1:
        torch.manual_seed(seed)  # the losses of the whole batch, which may draw numbers, are computed in every process
    whole, leaves = _join(outputs, parts, size, group)
    terms = checked_losses(detector, detector.losses(whole, batch))
    after = _random_state(device)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    if not group.is_main:
        for given in (*detector.parameters(), *shared):  # direct gradients of the losses count once
            given.grad = None
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        if not keep:
            _set_random_state(state, device)  # the same dropout as in the first pass
            outputs[number] = run(detector, batch.part(part), precision)
        output = outputs[number]
        values = _tensors(output)
        pairs = [(values[name], leaf.grad[part]) for name, leaf in leaves.items() if leaf.grad is not None]
        pairs = [(value, grad) for value, grad in pairs if value.requires_grad]  # constants have no graph
        torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])
    _set_random_state(after, device)
    return terms


def run(detector: Detector, batch: Batch, precision: str = "fp32") -> Output:
    """Output for a batch in float32; with ``bf16`` the forward pass runs under autocast."""
    with torch.autocast(batch.features.device.type, torch.bfloat16, enabled=precision == "bf16"):
        given = detector(batch.features, batch.lengths, batch.captions)
    output = checked_output(detector, given, *batch.features.shape[:2])
    return _with(output, {name: value.float() for name, value in _tensors(output).items()})


def _tensors(output: Output) -> dict[str, Tensor]:
    """Tensors of an output by name; those of a nested output as ``field.name``."""
    found: dict[str, Tensor] = {}
    for field in dataclasses.fields(output):
        value = getattr(output, field.name)
        if isinstance(value, Tensor):
            found[field.name] = value
        elif isinstance(value, Output):
            found |= {f"{field.name}.{name}": inner for name, inner in _tensors(value).items()}
    return found


def _with(output: Output, tensors: Mapping[str, Tensor]) -> Output:
    """The output with other tensors, named as by :func:`_tensors`."""
    changes: Fields = {name: value for name, value in tensors.items() if "." not in name}
    for name in {name.partition(".")[0] for name in tensors if "." in name}:
        own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        changes[name] = _with(getattr(output, name), own)
    return dataclasses.replace(output, **changes)


def _join(
    outputs: list[Output], parts: list[slice], size: int, group: ProcessGroup
) -> tuple[Output, dict[str, Tensor]]:
    """One output of all parts of all processes, and its tensors by name, which are leaves that collect gradients."""
    leaves: dict[str, Tensor] = {}
    for name in _tensors(outputs[0]):
        values = [_tensors(output)[name].detach() for output in outputs]
        joined = values[0].new_zeros((size, *values[0].shape[1:]))
        for part, value in zip(parts, values, strict=True):
            joined[part] = value
        leaves[name] = group.sum(joined).requires_grad_()
    return _with(outputs[0], leaves), leaves


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
