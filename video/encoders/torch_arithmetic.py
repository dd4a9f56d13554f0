"""How torch computes while an encoder runs: in which precision, and on which threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.video.encoders.runtime import side_by_side
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


def on_one_thread_each(
    compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]], parts: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float32]:
    """:func:`~kgvad.video.encoders.runtime.side_by_side` for what torch computes, without gradients.

    ``compute`` runs in bf16 where the caller does.
    """
    threads = torch.get_num_threads()
    cast = torch.is_autocast_enabled("cpu")

    def computed(part: NDArray[np.uint8]) -> NDArray[np.float32]:
        torch.set_num_threads(1)  # of this thread, and of threads that start later
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=cast):
            return compute(part)

    try:
        return side_by_side(computed, parts)
    finally:
        torch.set_num_threads(threads)
