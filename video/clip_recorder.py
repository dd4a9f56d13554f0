"""The latest packets of a camera, and clips that are written from them while an event lasts.

Packets are copied as the camera sent them, so that recording costs no CPU. While it grows, a clip is a Matroska file,
which can be read whatever ends the process. :func:`finish_clip` makes an MP4 of it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import av

from kgvad.errors import VideoError
from kgvad.files import replacing
from kgvad.video.redaction import FaceFinder, FrameSink, RedactedStream
from kgvad.video.write import H264Stream, even_size

BEFORE_S = 30.0  # kept: what led to an event, and the time that its detection takes
MOST_BYTES = 64 << 20  # kept, whatever the bit rate is
JUMP_S = 10.0  # by which the timestamps of packets jump where the camera's clock was set; what came before is no use
COPIED = ("h264", "hevc", "av1", "vp9")  # an MP4 holds these, and browsers play them; other codecs are encoded anew
QUALITY = 23  # constant rate factor of those
KILL_SAFE = {"flush_packets": "1", "cluster_time_limit": "1000"}  # a second of a growing clip is lost at most


@dataclass(frozen=True)
class _Packet:
    data: bytes
    pts: int
    dts: int
    time_base: Fraction
    is_keyframe: bool

    @property
    def time_s(self) -> float:
        return float(self.pts * self.time_base)


class ClipRecorder:
    """Keeps the latest packets of a connection; the thread that reads the camera adds them, others start clips.

    It can be used after the connection was closed.

    Parameters
    ----------
    stream
        Of the open connection.
    before_s, most_bytes
        How much is kept.
    """

    def __init__(self, stream: Any, before_s: float = BEFORE_S, most_bytes: int = MOST_BYTES) -> None:
        self._before_s, self._most_bytes = before_s, most_bytes
        self._lock = Lock()
        self._kept: deque[_Packet] = deque()
        self._bytes = 0
        self._template: Any = None
        with suppress(av.FFmpegError, ValueError):  # a codec that Matroska cannot hold
            self._nowhere = av.open(BytesIO(), "w", format="matroska")
            self._template = self._nowhere.add_stream_from_template(stream)
        self._clip: Any = None
        self._out: Any = None
        self._first: _Packet | None = None  # of the clip that is written
        self._last_dts: int | None = None

    @property
    def bytes(self) -> int:
        """Size of what is kept."""
        return self._bytes

    def clear(self) -> None:
        """End the clip that is written, and keep nothing."""
        with self._lock:
            self._finish()
            self._kept.clear()
            self._bytes, self._template = 0, None

    def add(self, packet: Any) -> None:
        """Keep a copy of a packet, and write it where a clip is written."""
        if packet.pts is None and packet.dts is None:
            return
        pts = packet.dts if packet.pts is None else packet.pts
        dts = pts if packet.dts is None else packet.dts
        kept = _Packet(bytes(packet), pts, dts, packet.time_base, packet.is_keyframe)
        with self._lock:
            if self._kept and not -JUMP_S < kept.time_s - self._kept[-1].time_s < JUMP_S:
                self._finish()
                self._kept.clear()
                self._bytes = 0
            self._kept.append(kept)
            self._bytes += len(kept.data)
            while len(self._kept) > 1 and self._is_too_much():
                self._bytes -= len(self._kept.popleft().data)
            if self._clip is not None:
                self._write(kept)

    def start(self, path: Path, time_s: float) -> bool:
        """Begin a clip at the last key frame before ``time_s``, a timestamp of the camera.

        False: there is none, or the clip cannot be written.
        """
        with self._lock:
            self._finish()
            keys = [number for number, packet in enumerate(self._kept) if packet.is_keyframe]
            before = [number for number in keys if self._kept[number].time_s <= time_s]
            if self._template is None or not keys:
                return False
            first = before[-1] if before else keys[0]
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._clip = av.open(str(path), "w", format="matroska", options=KILL_SAFE)
            except (OSError, av.FFmpegError):
                return False
            self._out = self._clip.add_stream_from_template(self._template)
            self._first = self._kept[first]
            for packet in list(self._kept)[first:]:
                self._write(packet)
            return self._clip is not None

    def stop(self) -> float | None:
        """End the clip; the camera's timestamp at which it began, or ``None`` where none was written."""
        with self._lock:
            began = None if self._first is None else self._first.time_s
            self._finish()
            self._first = None
            return began

    def _is_too_much(self) -> bool:
        oldest, newest = self._kept[0], self._kept[-1]
        return self._bytes > self._most_bytes or newest.time_s - oldest.time_s > self._before_s

    def _write(self, kept: _Packet) -> None:
        assert self._first is not None
        if self._clip is None or (self._last_dts is not None and kept.dts <= self._last_dts):
            return
        self._last_dts = kept.dts
        packet = av.Packet(kept.data)
        packet.pts, packet.dts = kept.pts - self._first.dts, kept.dts - self._first.dts
        packet.time_base, packet.is_keyframe = kept.time_base, kept.is_keyframe
        packet.stream = self._out
        try:
            self._clip.mux(packet)
        except (av.FFmpegError, ValueError):
            self._finish()  # a full disk: what was written stays

    def _finish(self) -> None:
        if self._clip is not None:
            with suppress(av.FFmpegError):
                self._clip.close()
        self._clip = self._out = self._last_dts = None


def finish_clip(recorded: Path, target: Path, face_finder: FaceFinder | None = None) -> None:
    """Make an MP4 of a recorded clip, with a ``face_finder`` one with blurred faces, and remove the recording.

    Raises
    ------
    VideoError
        The recording holds no picture.
    """
    try:
        with av.open(str(recorded), options={"protocol_whitelist": "file"}) as source, replacing(target) as temporary:
            pictures = source.streams.video[0]
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as clip:
                if face_finder is None and pictures.codec_context.name in COPIED:
                    _copy(source, pictures, clip)
                else:
                    _encode(source, pictures, clip, face_finder)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise VideoError(f"{recorded} is not a clip that can be finished ({error})", "delete it") from error
    recorded.unlink(missing_ok=True)


def _copy(source: Any, pictures: Any, clip: Any) -> None:
    out = clip.add_stream_from_template(pictures)
    step = max(1, round(1 / (float(pictures.average_rate or 25) * float(pictures.time_base))))
    waiting: list[Any] = []  # Matroska gives the first packets no decoding time where frames are reordered
    for packet in source.demux(pictures):
        if not packet.size:
            continue
        waiting.append(packet)
        if packet.dts is None:
            continue
        for back, one in enumerate(reversed(waiting)):
            one.dts = packet.dts - back * step
        for one in waiting:
            one.stream = out
            clip.mux(one)
        waiting = []


def _encode(source: Any, pictures: Any, clip: Any, face_finder: FaceFinder | None) -> None:
    width, height = even_size(pictures.width, pictures.height)
    rate = pictures.average_rate or Fraction(25)
    out: FrameSink = H264Stream(clip, width, height, rate, crf=QUALITY)
    if face_finder is not None:
        out = RedactedStream(out, face_finder)
    last = -1.0
    for frame in source.decode(pictures):
        if frame.time is not None and frame.time > last:
            out.write(frame, frame.time)
            last = frame.time
    out.finish()
