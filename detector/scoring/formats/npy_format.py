"""Scores as a single array: one a frame, or one for each snippet of 16 frames; only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.arrays import check_claim
from kgvad.errors import ScoresError
from kgvad.files import reading

REMEDY = "save one number for each frame or snippet with numpy.save"


def read(path: Path, video: str | None) -> dict[str, Any]:
    """Fields of the file."""
    with reading(path, ScoresError, REMEDY):
        with path.open("rb") as file:
            check_claim(file, path.stat().st_size)
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise ScoresError(f"the array has the shape {list(array.shape)}, not [scores]", REMEDY)
    return {"scores": array}


def write(path: Path, fields: dict[str, Any]) -> None:
    """Refuse: an array alone would lose times and categories."""
    raise ScoresError("an .npy file would lose times and categories", "write .npz, .csv or .json")
