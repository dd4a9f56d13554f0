"""Pictures to an H.264 video."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kgvad.errors import VideoError
from kgvad.files import replacing

_TIME_BASE = Fraction(1, 90_000)  # seconds per tick: fine enough for every common rate


def write_video(
    path: str | os.PathLike[str],
    pictures: Iterable[NDArray[np.uint8]],
    fps: float,
    *,
    times_s: Sequence[float] | None = None,
    crf: int = 21,
) -> Path:
    """Write RGB pictures as a video.

    Parameters
    ----------
    path
        File to write; the suffix chooses the container (.mp4, .mkv, ...).
    pictures
        uint8 [H, W, 3], all of one size.
    fps
        Pictures a second.
    times_s
        When each picture is shown, seconds, rising; default: evenly by ``fps``.
    crf
        Quality of H.264: 0 is lossless, 51 the worst.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    VideoError
        There are no pictures, or the container cannot hold them.
    KgvadError
        The file cannot be written.
    """
    rate = Fraction(fps).limit_denominator(1001)
    tick = 1 / rate if times_s is None else _TIME_BASE
    shown = (index / fps for index in count()) if times_s is None else iter(times_s)
    stream = None
    try:
        with replacing(path) as temporary, av.open(str(temporary), "w") as container:
            for picture in pictures:
                if stream is None:
                    stream = container.add_stream("libx264", rate=rate)
                    stream.height, stream.width = picture.shape[:2]
                    # 4:2:0 needs even sides
                    stream.pix_fmt = "yuv444p" if stream.height % 2 or stream.width % 2 else "yuv420p"
                    stream.options = {"crf": str(crf), "threads": "1"}
                    stream.codec_context.time_base = tick
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.time_base, frame.pts = tick, round(next(shown) / tick)
                container.mux(stream.encode(frame))
            if stream is None:
                raise VideoError(f"{path}: there are no pictures to write")
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"{path} cannot be written as a video ({error})", "use the suffix .mp4 or .mkv") from error
    return Path(path)
