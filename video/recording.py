"""Streams of the network and standard input, kept as a file: from there on they are videos like any other.

A camera cannot be read a second time for its key frames, and most containers need seeking, which a pipe does not allow.
So the compressed packets are copied into Matroska as they arrive, without decoding, in constant memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import av

from kgvad.console import progress
from kgvad.errors import UsageError, VideoError
from kgvad.files import replacing
from kgvad.video.addresses import PROTOCOLS, REMEDY, ffmpeg_options, kind_of, shown
from kgvad.video.container import reason_of

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
TIMEOUT_S = 20.0  # without a byte from the other side


def is_stream(source: str) -> bool:
    """Whether ``source`` is ``-`` or an address, and not the name of a file."""
    return source == STANDARD_INPUT or kind_of(source) is not None


def record(
    source: str, folder: Path, stdin: BinaryIO, *, longest_s: float | None = None, timeout_s: float = TIMEOUT_S
) -> Path:
    """Copy a stream into a file below ``folder``, and return the file.

    Parameters
    ----------
    source
        An address of a kind in :data:`~kgvad.video.addresses.PROTOCOLS`, or ``-`` for standard input.
    folder
        Where recordings are kept.
    stdin
        Standard input, binary.
    longest_s
        Seconds of footage after which the recording of an address ends. Default: when the stream ends.
    timeout_s
        Seconds to wait for an answer.

    Raises
    ------
    UsageError
        The kind of address is not supported, or ``longest_s`` was given for standard input.
    VideoError
        Nothing answers, or what arrives is no video.
    """
    if source == STANDARD_INPUT:
        if longest_s is not None:
            raise UsageError("--seconds is for addresses of streams, not for standard input", "leave it out")
        return _spooled(folder, stdin)
    kind = kind_of(source) or ""
    if kind not in PROTOCOLS:
        raise UsageError(f"addresses of the kind {kind}:// are not supported", f"use {', '.join(PROTOCOLS)}, or a file")
    target = folder / hashlib.sha256(source.encode()).hexdigest()[:16] / f"{_name(source)}.mkv"
    before = total = 0.0
    with (
        replacing(target) as temporary,
        closing(_remuxed(source, kind, temporary, longest_s, timeout_s)) as seconds,
        progress(f"recording {shown(source)}", longest_s) as advance,
    ):
        for total in seconds:
            advance(total - before)
            before = total
    logger.info(f"recorded {total:.0f} s of {shown(source)}")
    return target


def _name(source: str) -> str:
    """A file name for an address: its last part, or its host."""
    parts = urlsplit(source)
    stem = Path(unquote(parts.path)).stem or parts.hostname or "stream"
    return re.sub(r"[^\w.-]+", "_", stem)[:80].strip(".") or "stream"


def _spooled(folder: Path, stdin: BinaryIO) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"stdin-{os.getpid()}.part"
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            while block := stdin.read(1 << 20):
                digest.update(block)
                file.write(block)
        if part.stat().st_size == 0:
            raise VideoError("standard input is empty", "pipe a video into it")
        target = folder / digest.hexdigest()[:16] / "stdin.video"
        if not target.is_file():  # the same bytes: features that were made from them are reused
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _remuxed(
    source: str, kind: str, target: Path, longest_s: float | None, timeout_s: float
) -> Generator[float, None, None]:
    """Copy packets, and yield the seconds of footage copied so far."""
    where = shown(source)
    copied = 0
    try:
        with av.open(source, options=ffmpeg_options(kind), timeout=timeout_s, metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(f"{where} has no picture", "name the address of a video")
            with av.open(str(target), "w", format="matroska") as output:
                for seconds in _copied(container, output, where, longest_s):
                    copied += 1
                    yield seconds
    except (av.FFmpegError, OSError, ValueError) as error:
        if not copied:
            raise VideoError(f"{where} cannot be read as a video ({reason_of(error)})", REMEDY) from error
        logger.warning(f"{where} breaks off ({reason_of(error)}); using what was received")


def _copied(container: Any, output: Any, where: str, longest_s: float | None) -> Iterator[float]:
    stream = container.streams.video[0]
    copy = output.add_stream_from_template(stream)
    first = None
    latest = float("-inf")
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue  # the empty packet at the end
            stamp = packet.pts if packet.dts is None else packet.dts  # Matroska has no decoding times at first
            now = latest if stamp is None else max(latest, float(stamp * packet.time_base))
            latest = now
            first = now if first is None else first
            if longest_s is not None and now - first >= longest_s:
                return
            packet.stream = copy
            output.mux(packet)
            yield now - first
    except av.FFmpegError as error:  # the connection: what was written stays a whole file
        if first is None:
            raise
        logger.warning(f"{where} breaks off ({reason_of(error)}); using what was received")
    if first is None:
        raise VideoError(f"{where} sends no frame", "check the address")
