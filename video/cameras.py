"""Where live pictures come from: a network stream, a camera device, a file played in real time, a folder of clips."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import av

from kgvad.errors import UsageError, VideoError
from kgvad.video.addresses import PROTOCOLS, ffmpeg_options, kind_of, shown
from kgvad.video.container import Decoding, open_video

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 10.0  # of a network stream


class Clock(Protocol):
    """Time and waiting, so that tests need not wait."""

    def monotonic(self) -> float:
        """Seconds that never fall."""
        ...

    def now(self) -> datetime:
        """The time in UTC."""
        ...

    def wait(self, seconds: float, stop: Event) -> bool:
        """Wait, or return true as soon as ``stop`` is set."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def wait(self, seconds: float, stop: Event) -> bool:
        return stop.wait(max(0.0, seconds))


Kind = Literal["stream", "device", "file", "folder"]


@dataclass(frozen=True)
class Camera:
    """A source of live pictures.

    Attributes
    ----------
    name
        Name in messages, reports and file names.
    address
        URL, device or path.
    kind
        What it is. A ``file`` is played in real time; the clips of a ``folder`` as fast as they can be scored.
    """

    name: str
    address: str
    kind: Kind

    @property
    def is_live(self) -> bool:
        """Whether it does not wait for whoever reads it."""
        return self.kind != "folder"

    @property
    def shown(self) -> str:
        """The address without user name, password and query."""
        return shown(self.address)


def parse_cameras(sources: list[str], *, as_live: bool = False, as_clips: bool = False) -> list[Camera]:
    """Cameras from what the user wrote: ``SOURCE`` or ``NAME=SOURCE``.

    Parameters
    ----------
    sources
        URLs, devices such as ``/dev/video0``, files (with ``as_live``) and folders.
    as_live
        Play files in real time.
    as_clips
        Take a file as a folder with one clip.

    Raises
    ------
    UsageError
        A source is none of these, or two cameras have one name.
    """
    cameras: list[Camera] = []
    for text in sources:
        named = re.match(r"([\w.-]+)=(.+)", text)
        address = named[2] if named else text
        kind = _kind(address, "file" if as_live else "folder" if as_clips else None)
        name = named[1] if named else _default_name(address, kind)
        if any(name == other.name for other in cameras):
            raise UsageError(f"two cameras are called {name}", "name them: front=SOURCE back=SOURCE")
        cameras.append(Camera(name, address, kind))
    return cameras


def _kind(address: str, of_files: Kind | None) -> Kind:
    kind = kind_of(address)
    if kind in PROTOCOLS:
        return "stream"
    if kind is not None:
        raise UsageError(f"{shown(address)} cannot be watched", f"use {', '.join(PROTOCOLS)}")
    path = Path(address)
    if path.is_dir():
        return "folder"
    if path.is_char_device():
        return "device"
    if not path.exists():
        a_file = "a file with --as-live" if of_files is None else "a file"
        raise UsageError(f"{address} does not exist", f"give a URL, a camera device, a folder, or {a_file}")
    if of_files is None:
        raise UsageError(
            f"{address} is a file", "explain it with kgvad explain, or play it in real time with --as-live"
        )
    return of_files


def _default_name(address: str, kind: str) -> str:
    if kind == "stream":
        parts = urlsplit(shown(address))
        text = f"{parts.hostname or 'camera'}{parts.path}"
    else:
        text = Path(address).resolve().stem
    return re.sub(r"[^\w.-]+", "-", text).strip("-._")[:60] or "camera"


@contextmanager
def open_camera(camera: Camera, path: Path | None = None) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, every failure as one line.

    Parameters
    ----------
    camera
        What is opened.
    path
        The clip, of a folder.

    Raises
    ------
    VideoError
        It cannot be reached, or it has no picture.
    """
    if camera.kind in ("file", "folder"):
        with open_video(path or camera.address, Decoding(threads=1)) as opened:
            yield opened
        return
    try:
        container = av.open(camera.address, **_options(camera))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise VideoError(f"camera {camera.name} ({camera.shown}) cannot be opened: {reason}") from error
    with container:
        if not container.streams.video:
            raise VideoError(f"camera {camera.name} ({camera.shown}) has no picture", "check the address")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # several threads delay frames
        yield container, stream


def _options(camera: Camera) -> dict[str, Any]:
    if camera.kind == "device":
        return {"format": "v4l2", "timeout": (OPEN_TIMEOUT_S, READ_TIMEOUT_S)}
    options = ffmpeg_options(kind_of(camera.address) or "")
    return {"options": options, "timeout": (OPEN_TIMEOUT_S, READ_TIMEOUT_S), "metadata_errors": "replace"}
