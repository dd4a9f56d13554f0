"""Large blocks go back to the system, so that a process that runs for days stays as small as it began."""

import platform
import subprocess
import sys

import pytest

PROBE = """
import ctypes, sys
import numpy as np
from kgvad.memory import return_large_blocks

class Info(ctypes.Structure):
    NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if sys.argv[1] == "returned":
    return_large_blocks()
for _ in range(3):
    block = np.ones(10_000_000, np.uint8)
    del block
before = libc.mallinfo2().hblks
block = np.ones(10_000_000, np.uint8)
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps large blocks")
@pytest.mark.parametrize(("how", "mapped"), [("returned", "1"), ("by default", "0")])
def test_a_large_block_is_mapped_and_so_returned_when_it_is_freed(how, mapped):
    done = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=False)
    if "undefined symbol: mallinfo2" in done.stderr:
        pytest.skip("this glibc is older than 2.33")
    assert done.stdout.strip() == mapped, done.stderr
