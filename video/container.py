"""PyAV's containers: opened with every failure as one line, read past damage, frames turned into pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from kgvad.console import count_of
from kgvad.errors import VideoError

logger = logging.getLogger(__name__)

_NUMBERED = {"avi"}  # containers that number frames and do not time them; what FFmpeg then guesses is wrong
_NO_TIMESTAMPS = 0x80  # flag of FFmpeg for bare streams, such as .h264
_NOT_VIDEO = {"tty", "image2", "png_pipe", "jpeg_pipe"}  # containers that make a "video" of a text or a picture
_PLAYLISTS = {"concat", "hls", "dash", "sdp", "imf"}  # containers that name other files
STRICT_REMEDY = "copy it again, or leave out --strict to use the frames before the damage"


@dataclass(frozen=True)
class Decoding:
    """How videos are decoded.

    Attributes
    ----------
    threads
        Decoder threads; 0 takes one per core.
    strict
        Whether damage is an error. Otherwise what can be decoded is used, with a warning.
    hardware
        FFmpeg's name of a hardware decoder, such as ``cuda``, ``vaapi`` or ``videotoolbox``. Where it cannot decode a
        video, the CPU does, with one warning for all videos. The frames are the same.
    """

    threads: int = 0
    strict: bool = False
    hardware: str | None = None


SOFTWARE = Decoding()
_refused: set[str] = set()  # hardware decoders that were warned about


@contextmanager
def open_video(path: str | os.PathLike[str], decoding: Decoding = SOFTWARE) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, every failure as one line."""
    path = Path(path)
    if path.is_dir():
        raise VideoError(f"{path} is a folder, not a video", "name a file, or use 'kgvad extract' for a folder")
    if not path.exists():
        raise VideoError(f"{path} does not exist", "check the name")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)", "copy or download it again")
    try:
        # absolute, so that a colon in the name is no protocol; files only, so that a playlist cannot reach the network
        container = _opened(os.path.abspath(path), decoding.hardware)  # noqa: PTH100
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be opened as a video ({reason_of(error)})", _open_remedy(path)) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if _PLAYLISTS & set(container.format.name.split(",")):
            raise VideoError(f"{path} is a playlist, which names other files", "name the videos themselves")
        if not streams or container.format.name in _NOT_VIDEO:
            what = "has sound but no picture" if container.streams.audio else "is not a video"
            raise VideoError(f"{path} {what}", "name a video file")
        stream = streams[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = decoding.threads
        yield container, stream


def _opened(path: str, hardware: str | None) -> Any:
    """The container, decoded by ``hardware`` where that works."""
    options = {"protocol_whitelist": "file"}
    if hardware is not None:
        try:
            accelerated: Any = HWAccel(hardware, allow_software_fallback=False)
            container = av.open(path, options=options, metadata_errors="replace", hwaccel=accelerated)
            if all(stream.codec_context.is_hwaccel for stream in container.streams.video):
                return container
            container.close()
            reason = "it does not decode this codec"
        except Exception as error:  # PyAV raises many kinds, also for a device that is not there
            reason = reason_of(error)
        if hardware not in _refused:
            _refused.add(hardware)
            logger.warning(f"hardware decoding with {hardware} does not work here ({reason}); the CPU decodes instead")
    return av.open(path, options=options, metadata_errors="replace")


def _open_remedy(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if b"ftyp" in head[:12]:
        return "its index is missing, so it was probably cut off while it was copied or recorded; copy it again"
    return "it is damaged or no video; use another file"


def reason_of(error: Exception) -> str:
    """What an error of PyAV or the system says, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class DecodedFrames:
    """Decoded frames in order of presentation; packets that cannot be decoded are skipped, with one warning at the end.

    Attributes
    ----------
    damaged
        Whether a packet was damaged, or the container broke off.

    Raises
    ------
    VideoError
        A packet is damaged or the container breaks off, and ``strict`` is true.
    """

    def __init__(self, container: Any, stream: Any, path: Path, *, strict: bool = False) -> None:
        self.damaged = False
        self._container, self._stream, self._path, self._strict = container, stream, path, strict

    def __iter__(self) -> Iterator[Any]:
        skipped = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.FFmpegError as error:
                    self._note(error, "is damaged")
                    skipped += 1
        except av.EOFError:
            pass
        except av.FFmpegError as error:  # the container itself breaks off
            self._note(error, "breaks off")
            logger.warning(f"{self._path} breaks off ({reason_of(error)}); using what could be read")
        if skipped:
            logger.warning(f"{self._path} is damaged: {count_of(skipped, 'packet')} could not be decoded")

    def _note(self, error: Exception, what: str) -> None:
        self.damaged = True
        if self._strict:
            raise VideoError(f"{self._path} {what} ({reason_of(error)})", STRICT_REMEDY) from error


def rotation_of(frame: Any) -> int:
    """Degrees counter-clockwise by which a decoded frame is turned for display: 0, 90, 180 or 270."""
    return int(round(frame.rotation / 90) * 90 % 360)


def declared_fps(stream: Any) -> float:
    """Frames a second that the container declares."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < float(rate) <= 1000:
            return float(rate)
    return 25.0  # a container without any rate: the frames' own timestamps correct this


def is_timed(container: Any) -> bool:
    """Whether a container says when each frame is shown."""
    return container.format.name not in _NUMBERED and not container.format.flags & _NO_TIMESTAMPS


def packet_times(container: Any, stream: Any) -> list[tuple[float, float | None]] | None:
    """Presentation and decoding time of every packet, in seconds; ``None`` where the container has none (AVI).

    A bare stream (``.h264``) has no times at all: its frames follow each other at the declared rate.
    """
    if container.format.name in _NUMBERED:
        return None
    base = float(stream.time_base)
    stamps = []
    untimed = 0
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                if packet.pts is None:
                    untimed += 1
                else:
                    stamps.append((packet.pts * base, None if packet.dts is None else packet.dts * base))
    except av.FFmpegError:
        return None
    if untimed and not stamps:
        return [(index / declared_fps(stream), None) for index in range(untimed)]
    return None if untimed else stamps or None


class Converter:
    """Decoded frames to upright RGB pictures of one size; keeps libswscale's tables from frame to frame."""

    def __init__(self, size: tuple[int, int], rotation: int) -> None:
        self._size = size[::-1] if rotation % 180 else size
        self._turns = rotation // 90
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        width, height = self._size
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC)
        picture: Any = rgb.to_ndarray()
        upright: NDArray[np.uint8] = np.rot90(picture, self._turns) if self._turns else picture
        return upright
