"""In which precision torch computes while an encoder runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from kgvad.video.sampling import Precision

_CUDNN: Any = torch.backends.cudnn
# Where torch says how cuDNN computes convolutions, and the value for fp32 throughout; up to torch 2.8 the latter.
_TF32 = (_CUDNN.conv, "fp32_precision", "ieee") if hasattr(_CUDNN, "conv") else (_CUDNN, "allow_tf32", False)


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """A context in which torch computes in bf16 where that is safe, or in fp32 throughout.

    Convolutions of NVIDIA GPUs use TF32 by default, with 10 bits of the fraction in place of 23. Features in fp32 agree
    with those of a CPU only without it.
    """
    cast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    place, name, full = _TF32
    before = getattr(place, name)
    setattr(place, name, full)
    try:
        with cast:
            yield
    finally:
        setattr(place, name, before)
