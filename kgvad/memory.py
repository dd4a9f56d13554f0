"""Memory of processes that run for days."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # of mallopt(3)
_LARGE = 128 << 10  # bytes: the limit with which glibc starts


def return_large_blocks() -> None:
    """Let glibc go on giving large blocks back to the system as soon as they are freed.

    By default it stops doing so for every size that was freed once, up to 32 MB. The pictures of a stream then leave
    holes between small objects that stay, and memory grows by gigabytes an hour. Nothing is done where there is no
    glibc.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
