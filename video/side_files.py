"""Files that other programs write beside features: the frame rate, and when each row was taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.arrays import check_claim
from kgvad.errors import FeatureError
from kgvad.files import reading

REMEDY = "remove the file, or set the frame rate with --fps"


def side_rate(file: Path, video: str, stride: int) -> tuple[float | None, float | None]:
    """Frames per second of a video from the files ``NAME_fps.npy`` and ``NAME_timestamps_ms.npy`` beside its features.

    Parameters
    ----------
    file
        The features.
    video
        Identifier of the video; NAME is its last part, or the stem of ``file``.
    stride
        Frames from one row to the next; with it, times alone tell the rate.

    Returns
    -------
    (rate, step)
        Frames per second, and frames from one row to the next where both files are there; ``None``: not known.

    Raises
    ------
    FeatureError
        A file holds something else.
    """
    names = dict.fromkeys((video.rpartition("/")[2], file.stem))
    rates = [path for name in names if (path := file.with_name(f"{name}_fps.npy")).is_file()]
    times = [path for name in names if (path := file.with_name(f"{name}_timestamps_ms.npy")).is_file()]
    rate = _rate(rates[0]) if rates else None
    step_s = _step_s(times[0]) if times else None
    if step_s is None:
        return rate, None
    return (stride / step_s, None) if rate is None else (rate, step_s * rate)


def _numbers(path: Path) -> NDArray[np.float64]:
    with reading(path, FeatureError, REMEDY):
        with path.open("rb") as file:
            check_claim(file, path.stat().st_size)
        values = np.load(path, allow_pickle=False)
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise ValueError("it holds no numbers")
        return np.asarray(values, np.float64).reshape(-1)


def _rate(path: Path) -> float:
    values = _numbers(path)
    if len(values) != 1 or not 0 < values[0] < 1e4:
        raise FeatureError(f"{path} does not hold one frame rate", REMEDY)
    return float(values[0])


def _step_s(path: Path) -> float | None:
    """Median time between rows; ``None`` for a single row."""
    values = _numbers(path)
    if len(values) < 2:
        return None
    step = float(np.median(np.diff(values))) / 1000
    if step <= 0:
        raise FeatureError(f"{path} does not hold rising times in milliseconds", REMEDY)
    return step
