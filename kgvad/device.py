"""The torch device to compute on."""

from __future__ import annotations

import logging

from kgvad.errors import UsageError

logger = logging.getLogger(__name__)


def resolve_device(name: str) -> str:
    """Torch device for ``name``: ``auto`` is CUDA where torch sees it, then MPS, else the CPU.

    Raises
    ------
    UsageError
        Torch does not know the device, or does not find it on this machine.
    """
    import torch

    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        logger.info("device: %s", found)
        return found
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {name}: {reason[:120]}", "use auto, cpu, cuda, cuda:1 or mps") from error
    return name
