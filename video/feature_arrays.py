"""Arrays of features as .npy files: float16, memory-mapped, checked to be finite."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kgvad.arrays import check_claim
from kgvad.errors import FeatureError
from kgvad.files import reading, replacing
from kgvad.types import AnyArray

LARGEST = float(np.finfo(np.float16).max)


def read_array(path: Path) -> AnyArray:
    """A .npy file of features, memory-mapped, checked to be finite numbers in two or three dimensions.

    Raises
    ------
    FeatureError
        Missing, damaged, not numbers, or not finite; the message names the file and the row.
    """
    if not path.exists():
        raise FeatureError(f"{path} is missing", "extract that video again")
    with reading(path, FeatureError, "extract that video again"):
        with path.open("rb") as file:
            check_claim(file, path.stat().st_size)
        array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim not in (2, 3) or 0 in array.shape:
        shape = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise FeatureError(f"{path} holds {shape}, not float [T, D] or [crops, T, D]", "extract that video again")
    check_finite(array, str(path))
    return array


def check_finite(array: AnyArray, name: str) -> None:
    """Raise :class:`FeatureError` naming the first row of ``array`` that holds NaN or infinity."""
    finite = np.isfinite(array)
    if not finite.all():
        where = np.argwhere(~finite)[0]
        row = where[-2] if array.ndim > 1 else where[0]
        kind = "NaN" if np.isnan(array[tuple(where)]) else "infinity"
        raise FeatureError(f"{name}: row {row} holds {kind}", "extract that video again")


def write_array(path: Path, features: AnyArray, name: str) -> None:
    """Write features as float16, atomically; refuses what float16 cannot hold."""
    check_finite(features, f"features of {name}")
    with np.errstate(over="ignore"):
        small = np.ascontiguousarray(features, dtype=np.float16)
    if not np.isfinite(small).all():
        raise FeatureError(
            f"features of {name} reach {np.abs(features).max():.0f}, above {LARGEST:.0f}, the largest float16",
            "divide all features by one number before importing them",
        )
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(small))
        file.write(small.data)  # np.save does not say why a write failed
