"""Pictures to an H.264 video."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kgvad.errors import VideoError
from kgvad.files import replacing

TIME_BASE = Fraction(1, 90_000)  # seconds per tick: fine enough for every common rate
PRESET = "veryfast"  # of libx264: half the time of "medium" for files of the same size


class H264Stream:
    """One H.264 stream of an open output container.

    Parameters
    ----------
    container
        From ``av.open(..., "w")``.
    width, height
        Of the stream, pixels. Frames of another size are scaled.
    rate
        Nominal frames a second.
    crf
        Constant rate factor: 0 is lossless, 51 the worst.
    threads
        Of the encoder; default: its own choice. The bytes depend on their number.
    time_base
        Seconds per tick of the timestamps.
    """

    def __init__(
        self,
        container: Any,
        width: int,
        height: int,
        rate: Fraction,
        *,
        crf: int,
        threads: int | None = None,
        time_base: Fraction = TIME_BASE,
    ) -> None:
        self._container, self._time_base = container, time_base
        options = {"crf": str(crf), "preset": PRESET} | ({"threads": str(threads)} if threads else {})
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"  # 4:2:0 needs even sides
        stream.codec_context.time_base = time_base
        self._stream = stream

    def write(self, frame: av.VideoFrame, time_s: float) -> None:
        """Encode ``frame``, shown at ``time_s`` seconds; times must rise."""
        stream = self._stream
        if (frame.width, frame.height, frame.format.name) != (stream.width, stream.height, stream.pix_fmt):
            frame = frame.reformat(stream.width, stream.height, stream.pix_fmt)
        frame.pts, frame.time_base = round(time_s / self._time_base), self._time_base
        self._container.mux(stream.encode(frame))

    def finish(self) -> None:
        """Write the frames that the encoder still holds."""
        self._container.mux(self._stream.encode(None))


def even_size(width: int, height: int, divisor: int = 1) -> tuple[int, int]:
    """Width and height divided by ``divisor``, rounded down to even numbers, at least 2."""
    return max(2, width // divisor // 2 * 2), max(2, height // divisor // 2 * 2)


def write_video(
    path: str | os.PathLike[str],
    pictures: Iterable[NDArray[np.uint8]],
    fps: float,
    *,
    times_s: Sequence[float] | None = None,
    crf: int = 21,
    comment: str | None = None,
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
    comment
        Of the metadata of the file.

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
    tick = 1 / rate if times_s is None else TIME_BASE
    shown = (index / fps for index in count()) if times_s is None else iter(times_s)
    stream = None
    try:
        with replacing(path) as temporary, av.open(str(temporary), "w") as container:
            if comment is not None:
                container.metadata["comment"] = comment
            for picture in pictures:
                if stream is None:
                    height, width = picture.shape[:2]
                    # One thread: the same bytes on every machine.
                    stream = H264Stream(container, width, height, rate, crf=crf, threads=1, time_base=tick)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                stream.write(frame, next(shown))
            if stream is None:
                raise VideoError(f"{path}: there are no pictures to write")
            stream.finish()
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"{path} cannot be written as a video ({error})", "use the suffix .mp4 or .mkv") from error
    return Path(path)


def comment_of(path: Path) -> str | None:
    """The comment in the metadata of a video; ``None`` for any other file."""
    try:
        with av.open(str(path.absolute()), options={"protocol_whitelist": "file"}) as container:
            return container.metadata.get("comment")
    except (av.FFmpegError, OSError, ValueError):
        return None
