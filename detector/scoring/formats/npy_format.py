"""Scores as a single array: one a frame, or one for each snippet of 16 frames; only read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kgvad.arrays import check_claim
from kgvad.errors import ScoresError
from kgvad.files import reading
from kgvad.types import AnyArray, Fields

REMEDY = "save one number for each frame or snippet with numpy.save"


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    with reading(path, ScoresError, REMEDY):
        with path.open("rb") as file:
            check_claim(file, path.stat().st_size)
        array: AnyArray = np.load(path, allow_pickle=False)
    return {"scores": flat(array)}


def flat(array: AnyArray) -> AnyArray:
    """``array`` as one row of scores.

    Raises
    ------
    ScoresError
        It has more than one row and more than one column.
    """
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise ScoresError(f"the array has the shape {list(array.shape)}, not [scores]", REMEDY)
    return array


def read_videos(path: Path) -> dict[str, Fields]:
    """Nothing: an array does not name videos."""
    return {}


def write(path: Path, fields: Fields) -> None:
    """Refuse: an array alone would lose times and categories."""
    raise ScoresError("an .npy file would lose times and categories", "write .npz, .csv or .json")
