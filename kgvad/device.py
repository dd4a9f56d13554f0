"""The torch device to compute on, and how many threads of a CPU."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from kgvad.errors import UsageError

logger = logging.getLogger(__name__)


def resolve_device(name: str, given: str = "--device") -> str:
    """Torch device for ``name``: ``auto`` is CUDA where torch sees it, then MPS, else the CPU.

    Parameters
    ----------
    name
        ``auto``, or what torch calls a device.
    given
        Where the name was given, for errors: the option, the variable or the key.

    Raises
    ------
    UsageError
        Torch does not know the device, or does not find it on this machine.
    """
    if name == "auto":
        found = "cpu" if _no_gpu() else _found_by_torch()
        logger.info("device: %s", found)
        return found
    if name == "cpu":
        return name
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        if reason.startswith("Expected one of"):  # a list of all that torch can be built for
            reason = "torch has no such device"
        raise UsageError(f"{given} {name}: {reason[:120]}", "use auto, cpu, cuda, cuda:1 or mps") from error
    return name


def _found_by_torch() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _no_gpu() -> bool:
    """Whether torch, which takes a second to import, certainly has no GPU here: by its build, or without a driver."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None or sys.platform == "darwin":
        return False
    libraries = Path(torch.origin).with_name("lib")
    if not libraries.is_dir() or any(libraries.glob("*torch_hip*")):
        return False
    return not any(libraries.glob("*torch_cuda*")) or not _has_cuda_driver()


def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")  # as CUDA itself looks for it
    except OSError:
        return False
    return True


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_threads() -> int:
    """Threads for what one process computes: as torch has it where it is imported, else as it would have it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(asked) if asked.isdecimal() and int(asked) > 0 else cores()


def use_one_thread() -> None:
    """Compute with one thread from now on, in a process that is one of several."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
