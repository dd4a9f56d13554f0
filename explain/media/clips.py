"""Cut each event out of the video, as a video of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from kgvad.console import progress
from kgvad.errors import ReportError, UsageError
from kgvad.explain.report import Report
from kgvad.files import refuse_inputs, replacing
from kgvad.video.decode import probe
from kgvad.video.frame_clock import FrameClock
from kgvad.video.redaction import FaceFinder, FrameSink, RedactedStream
from kgvad.video.write import TIME_BASE, H264Stream, comment_of, even_size

MARGIN_S = 1.0  # kept before and after an event, so that its beginning is seen
QUALITY = 20  # constant rate factor of H.264: visually close to the source
COMMENT = "event cut by kgvad out of "  # in the metadata of a clip, before the name of its video
COPIED_SOUND = ("aac", "mp3")  # codecs that an MP4 holds as they are; other sound is left out


def cut_clips(video: Path, report: Report, folder: Path, face_finder: FaceFinder | None = None) -> dict[int, Path]:
    """Write one MP4 for each event into ``folder`` and return the paths by event number.

    Pictures are encoded again, so that a clip begins exactly where it should and not at the next key frame. AAC and MP3
    sound is copied. A clip is :data:`MARGIN_S` longer than its event at both ends. With a ``face_finder``, faces are
    blurred and there is no sound: voices tell who speaks.

    Raises
    ------
    UsageError
        A file of the same name exists that is not an earlier clip of this video.
    ReportError
        The video cannot be read or cut.
    KgvadError
        The folder cannot be written.
    """
    stem, comment = safe_name(video.stem), f"{COMMENT}{video.name}"
    targets = {event.number: folder / f"{stem}-event-{event.number}.mp4" for event in report.events}
    refuse_inputs({"--clips": list(targets.values())}, [video])
    for target in targets.values():
        if target.exists() and comment_of(target) != comment:
            raise UsageError(
                f"--clips {target} already exists and is not a clip of {video.name}", "choose another folder"
            )
    with progress("cutting clips", len(report.events)) as advance:
        for event in report.events:
            cut_clip(video, targets[event.number], (event.start_s, event.end_s), face_finder)
            advance()
    return targets


def cut_clip(video: Path, target: Path, between_s: tuple[float, float], face_finder: FaceFinder | None = None) -> None:
    """Write one clip, which begins and ends :data:`MARGIN_S` outside ``between_s`` (start and end, seconds).

    Faces and sound as of :func:`cut_clips`.

    Raises
    ------
    ReportError
        The video cannot be read or cut.
    KgvadError
        The file cannot be written.
    """
    info = probe(video, exact=True)
    start, end = max(0.0, between_s[0] - MARGIN_S), min(info.duration_s, between_s[1] + MARGIN_S)
    try:
        clock = FrameClock(info.fps) if info.breaks else None
        _cut(video, target, (start, end), f"{COMMENT}{video.name}", clock, face_finder)
    except av.FFmpegError as error:
        reason = getattr(error, "strerror", None) or error
        raise ReportError(
            f"{between_s[0]:.1f} to {between_s[1]:.1f} s cannot be cut out of {video}: {reason}"
        ) from error


def safe_name(name: str) -> str:
    """``name`` as a part of a file name that every system accepts: no separators, no leading dot, not empty."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "video"


def _cut(
    video: Path,
    target: Path,
    between_s: tuple[float, float],
    comment: str,
    clock: FrameClock | None,
    face_finder: FaceFinder | None,
) -> None:
    """Write what is shown between two times; with a ``clock``, which replaces the timestamps, from the start on."""
    start_s, end_s = between_s
    with (
        replacing(target) as temporary,
        av.open(str(video.absolute()), options={"protocol_whitelist": "file"}) as source,
    ):
        pictures = source.streams.video[0]
        sound = next((s for s in source.streams.audio if s.codec_context.name in COPIED_SOUND), None)
        base = pictures.time_base or TIME_BASE
        first = float((pictures.start_time or 0) * base)
        with av.open(str(temporary), "w", format="mp4") as clip:
            clip.metadata["comment"] = comment
            width, height = even_size(pictures.width, pictures.height)
            rate = pictures.average_rate or Fraction(25)
            out: FrameSink = H264Stream(clip, width, height, rate, crf=QUALITY)
            if face_finder is not None:
                out, sound = RedactedStream(out, face_finder), None
            out_sound = clip.add_stream_from_template(sound) if sound is not None and clock is None else None
            if clock is not None:
                _copy(source.demux(pictures), pictures, clip, out, None, (start_s, end_s), clock)
                return
            source.seek(int((first + start_s) / base), stream=pictures)
            streams = [stream for stream in (pictures, sound) if stream is not None]
            _copy(source.demux(streams), pictures, clip, out, out_sound, (first + start_s, first + end_s))


def _copy(
    packets: Iterable[Any],
    pictures: Any,
    clip: Any,
    out: FrameSink,
    out_sound: Any,
    between_s: tuple[float, float],
    clock: FrameClock | None = None,
) -> None:
    """Encode the pictures of ``packets`` that lie ``between_s`` (start and end, source time), and copy the sound."""
    start_s, end_s = between_s
    for packet in packets:
        if packet.stream is pictures:
            for frame in packet.decode():
                time_s = frame.time if clock is None else clock.add(frame.time)
                if time_s is None or time_s < start_s - 1e-6:
                    continue
                if time_s >= end_s:
                    out.finish()
                    return
                out.write(frame, time_s - start_s)
        elif packet.pts is not None and start_s <= float(packet.pts * packet.time_base) < end_s:
            shift = round(start_s / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = out_sound
            clip.mux(packet)
    out.finish()
