"""Checks of anomaly scores: every fault is one line that names the field and the snippet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kgvad.errors import ScoresError
from kgvad.types import AnyArray

if TYPE_CHECKING:
    from kgvad.detector.scoring.scores import Scores

CORRECT = "correct the file or score the video again"


def as_array(value: object, dtype: DTypeLike, name: str, ndim: int) -> AnyArray:
    """``value`` as an array of ``dtype`` with ``ndim`` dimensions.

    Raises
    ------
    ScoresError
        It does not hold numbers (whole numbers for int64), or has other dimensions.
    """
    whole = dtype is np.int64
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "iuf" or (whole and raw.dtype.kind == "f" and not (raw == raw.round()).all()):
            raise ValueError
        array = np.ascontiguousarray(raw, dtype=dtype)
    except (ValueError, TypeError, OverflowError):
        kind = "whole numbers" if whole else "numbers"
        raise ScoresError(f"{name} must be {kind} in equally long rows", "correct the file") from None
    if array.ndim != ndim:
        raise ScoresError(f"{name} has {array.ndim} dimensions instead of {ndim}", "correct the file")
    return array


def check(given: Scores) -> None:
    """Raise a ScoresError for the first fault in ``given``."""
    _check_scores(given.scores)
    _check_video(given)
    _check_spans(given.spans, len(given.scores), given.frame_count)
    for name in ("alignment", "concept_alignment", "probabilities"):
        table = getattr(given, name)
        if table is not None:
            _check_table(name, table, len(given.scores))
    _check_categories(given)


def _wrong(message: str) -> ScoresError:
    return ScoresError(message, CORRECT)


def _first(faulty: NDArray[np.bool_]) -> int | None:
    """Index of the first true entry."""
    return int(faulty.argmax()) if faulty.any() else None


def _check_scores(scores: NDArray[np.float32]) -> None:
    if not len(scores):
        raise _wrong("there are no scores")
    if (place := _first(~np.isfinite(scores))) is not None:
        raise _wrong(f"scores: snippet {place} is not a finite number")
    if (place := _first((scores < 0) | (scores > 1))) is not None:
        raise _wrong(f"scores: snippet {place} is {scores[place]:g}, outside 0..1")


def _check_video(given: Scores) -> None:
    if not (np.isfinite(given.fps) and given.fps > 0):
        raise _wrong(f"fps is {given.fps}, not a positive number")
    if given.frame_count <= 0:
        raise _wrong(f"frame_count is {given.frame_count}, not positive")


def _check_spans(spans: NDArray[np.int64], count: int, frame_count: int) -> None:
    if spans.shape != (count, 2):
        raise _wrong(f"spans has shape {list(spans.shape)} for {count} scores")
    starts, ends = spans.T
    if (place := _first((ends <= starts) | (starts < 0))) is not None:
        raise _wrong(f"spans: snippet {place} is [{starts[place]}, {ends[place]}), not a span of frames")
    if (place := _first(starts[1:] < ends[:-1])) is not None:
        raise _wrong(f"spans: snippet {place + 1} starts at {starts[place + 1]}, before snippet {place} ends")
    if ends[-1] > frame_count:
        raise ScoresError(
            f"spans: the last ends at frame {ends[-1]} of a video of {frame_count}",
            "frames count from 0, and times in seconds are called time, or start_s and end_s; or name the right video",
        )


def _check_table(name: str, table: NDArray[np.float32], count: int) -> None:
    if len(table) != count:
        raise _wrong(f"{name} has {len(table)} rows for {count} scores")
    if (place := _first(np.asarray(~np.isfinite(table).all(axis=1)))) is not None:
        raise _wrong(f"{name}: snippet {place} is not finite")
    if name == "probabilities" and not ((table >= 0) & (table <= 1)).all():
        raise _wrong("probabilities must be 0..1")


def _check_categories(given: Scores) -> None:
    names = given.categories or []
    for name in ("alignment", "probabilities"):
        table = getattr(given, name)
        if table is not None and given.categories is None:
            raise _wrong(f"{name} is given without categories")
        if table is not None and table.shape[1] != len(names):
            raise _wrong(f"{name} has {table.shape[1]} columns for {len(names)} categories")
    if len(set(names)) != len(names) or not all(names):
        raise _wrong("categories must be different, non-empty names")
    if given.normal is not None and not 0 <= given.normal < len(names):
        raise _wrong(f"normal is {given.normal}, not the index of a category")
