"""Single frames of a video by index, seeking where the container allows it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import VideoError
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.container import Converter, DecodedFrames, is_timed, open_video
from kgvad.video.decode import VideoInfo, probe

BACK_S = (0.0, 10.0, math.inf)
"""Seconds before a frame that are sought, one after the other; the last is the start of the file. MPEG-TS seeks to any
packet, and frames up to the next key frame cannot be decoded."""


def read_frames(
    path: str | os.PathLike[str],
    indices: Sequence[int],
    *,
    size: tuple[int, int] | None = None,
    info: VideoInfo | None = None,
    skip_missing: bool = False,
) -> dict[int, NDArray[np.uint8]]:
    """Single frames by index, seeking where the container allows it.

    Parameters
    ----------
    path
        The file.
    indices
        Frame indices, any order.
    size
        (width, height) to scale to.
    info
        From :class:`VideoReader` after its pass or ``probe(path, exact=True)``; saves reading the index again.
    skip_missing
        Whether frames that cannot be decoded are left out; otherwise they are an error.

    Returns
    -------
    dict
        Index to RGB picture, uint8 [H, W, 3].

    Raises
    ------
    VideoError
        As :func:`probe`, or an index is not in the video.
    """
    if info is None or info.frame_times is None:
        info = probe(path, exact=True)
    wanted = sorted(set(indices))
    if wanted and (wanted[0] < 0 or (info.frame_times is not None and wanted[-1] >= info.frame_count)):
        bad = wanted[0] if wanted[0] < 0 else wanted[-1]
        raise VideoError(f"{path} has no frame {bad}", f"its frames are 0 to {info.frame_count - 1}")
    convert = Converter(size or (info.width, info.height), info.rotation)
    found: dict[int, NDArray[np.uint8]] = {}
    missing = wanted
    for back_s in BACK_S:
        if missing:
            with open_video(path) as (container, stream):
                for index, frame in _indexed(container, stream, Path(path), info, missing, back_s):
                    found[index] = convert(frame)
            missing = [index for index in wanted if index not in found]
    if missing and not skip_missing:
        raise VideoError(f"{path} has no frame {missing[-1]} that can be decoded", "it is shorter, or damaged there")
    return found


def _indexed(
    container: Any, stream: Any, path: Path, info: VideoInfo, wanted: Sequence[int], back_s: float
) -> Iterator[tuple[int, Any]]:
    """The wanted frames with their index; one seek, ``back_s`` before it, for each run of frames close together."""
    times = info.frame_times
    if times is None or not is_timed(container) or info.breaks or len(np.unique(times)) < len(times):
        # frames cannot be told by their time: count from the start
        left = set(wanted) if back_s == 0 else set()
        for index, frame in enumerate(DecodedFrames(container, stream, path)):
            if index in left:
                yield index, frame
                left.discard(index)
            if not left:
                return
        return
    base = float(stream.time_base)
    start = info.start_s
    runs = np.split(np.asarray(wanted), np.flatnonzero(np.diff(wanted) > 4 * SNIPPET_FRAMES) + 1)
    for run in [np.asarray(wanted)] if math.isinf(back_s) else runs:
        if not math.isinf(back_s):
            container.seek(int((max(0.0, times[run[0]] - back_s) + start) / base), stream=stream)
        left = set(run.tolist())
        for frame in DecodedFrames(container, stream, path):
            if frame.time is None:
                continue
            index = int(np.abs(times - (frame.time - start)).argmin())
            if index in left:
                left.discard(index)
                yield index, frame
            if not left or index > run[-1]:
                break
