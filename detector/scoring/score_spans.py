"""Which frames each score of a file covers, from whatever clock the file has."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.clock import VideoClock
from kgvad.errors import ScoresError
from kgvad.types import AnyArray
from kgvad.video import SNIPPET_FRAMES

logger = logging.getLogger(__name__)
CLOCKS = ("spans", "starts", "spans_s", "starts_s")  # fields of a file; it has one of them, or none


def in_seconds(fields: Mapping[str, object]) -> bool:
    """Whether the times of a file are seconds."""
    return any(fields.get(name) is not None for name in CLOCKS if name.endswith("_s"))


def clock_in_words(fields: Mapping[str, object], spans: NDArray[np.int64], frame_count: int) -> str | None:
    """What the times of a file were taken for; ``None`` where it leaves no doubt."""
    name = next((name for name in CLOCKS if fields.get(name) is not None), None)
    if name is None:
        one_a_frame = len(spans) > 1 and (np.diff(spans, axis=1)[:-1] == 1).all()
        return f"{len(spans)} scores for a video of {frame_count} frames: one a frame" if one_a_frame else None
    return None if name == "spans" else f"the clock of the scores is {'seconds' if in_seconds(fields) else 'frames'}"


def spans_of(fields: Mapping[str, object], count: int, video: VideoClock) -> object:
    """Frames [start, end) of each of ``count`` scores, [count, 2].

    Without ends a score holds until the next one starts, and the last one as long as the one before. Without starts
    there is one score for each frame or one for each started or complete snippet, by their number; up to 15 scores of
    frames after the end get no span. What reaches beyond the end of the video by less than its own length ends with
    the video.

    Raises
    ------
    ScoresError
        The clock is no list of numbers, or the number of scores fits neither frames nor snippets.
    """
    given = [name for name in CLOCKS if fields.get(name) is not None]
    if not given:
        return _by_number(count, video)
    if len(given) > 1:
        raise ScoresError(f"{given[0]} and {given[1]} are both given", "give one of them")
    name = given[0]
    if name == "spans" and video.frame_count is None:
        return fields[name]
    values = _numbers(fields[name], name, 2 if name.startswith("spans") else 1)
    if name.endswith("_s"):
        values = video.frames(values)
    elif (values != np.round(values)).any():
        raise ScoresError(
            f"{name}: starts and ends in frames must be whole numbers",
            "call columns of seconds start_s and end_s",
        )
    spans = _within(values if name.startswith("spans") else _until_next(values), video.frame_count)
    if video.frame_count is not None and spans.shape[0] and 2 * spans[-1, 1] < video.frame_count:
        logger.warning(
            "the scores end at frame %d of %d; if their clock is not %s, name it: frame, or time in seconds",
            spans[-1, 1],
            video.frame_count,
            "seconds" if name.endswith("_s") else "frames",
        )
    return spans


def _numbers(value: object, name: str, dimensions: int) -> AnyArray:
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        raise ScoresError(f"{name} must be numbers in equally long rows", "correct the file") from None
    if array.ndim != dimensions or not np.isfinite(array).all():
        raise ScoresError(f"{name} must be {dimensions}-dimensional finite numbers", "correct the file")
    return array


def _until_next(starts: AnyArray) -> AnyArray:
    """[start, next start); the last one is as long as the one before."""
    if not len(starts):
        return np.zeros((0, 2), np.int64)
    step = starts[-1] - starts[-2] if len(starts) > 1 else SNIPPET_FRAMES
    return np.stack([starts, np.append(starts[1:], starts[-1] + step)], axis=1)


def _within(spans: AnyArray, frame_count: int | None) -> AnyArray:
    """``spans`` with a last one that ends with the video, where it starts inside."""
    if frame_count is not None and len(spans) and spans.shape[1] == 2 and spans[-1, 0] < frame_count < spans[-1, 1]:
        spans = spans.copy()
        spans[-1, 1] = frame_count
    return spans


def _by_number(count: int, video: VideoClock) -> NDArray[np.int64]:
    """Spans of scores without any clock."""
    total = video.frame_count
    if total is None:
        return _snippets(count, None)
    if total > SNIPPET_FRAMES and abs(count - total) <= SNIPPET_FRAMES:
        starts = np.arange(min(count, total))
        return np.stack([starts, np.append(starts[1:], total)], axis=1)
    if (count - 1) * SNIPPET_FRAMES < total and total - count * SNIPPET_FRAMES <= SNIPPET_FRAMES:
        return _snippets(count, total)
    raise ScoresError(
        f"{count} scores fit a video of {total} frames neither as one a frame nor as one for {SNIPPET_FRAMES} frames",
        "say when each starts with a column frame or time, or the field spans",
    )


def _snippets(count: int, total: int | None) -> NDArray[np.int64]:
    starts = np.arange(count) * SNIPPET_FRAMES
    spans = np.stack([starts, starts + SNIPPET_FRAMES], axis=1)
    if total is not None and count:
        spans[-1, 1] = total
    return spans
