"""The forms in which captions are published, as :class:`Track` objects.

JSON: ``{frame: text}``; ``[{start, end, text}]``; ``{timestamps, sentences}`` (UCA, ActivityNet) and ``{events,
events_summary}`` (HIVAU); a list of texts, one a second; one text for the whole video. Each may stand under the name of
a video, or in a list whose entries name theirs. SubRip and WebVTT: one file a video. Tables and plain text:
:mod:`.caption_tables`. All may be gzipped.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.caption_tables import decoded, read_lines, read_table
from kgvad.detector.data.clock import VideoClock, seconds_of
from kgvad.errors import ScoresError
from kgvad.files import check_version
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.captioners import FORMAT, VERSION
from kgvad.video.video_ids import by_video_id

logger = logging.getLogger(__name__)
MAX_CHARACTERS = 2000  # of one caption; text encoders read far fewer
FORMS = (
    "known forms: {frame: text}, [{start, end, text}], {timestamps, sentences}, a list of texts for each second, each "
    "also as {video: ...}; SRT; WebVTT; CSV with the columns start and text"
)
SUBTITLES = (".srt", ".vtt")
TEXTS = ("text", "caption", "sentence", "description", "content", "english text", "summary")
VIDEOS = ("video", "video_name", "video name", "video_id", "name", "file", "filename")
FRAMES = ("start_frame", "frame", "frame_index", "frame_idx", "frame_id")
SECONDS = ("start", "start_s", "start_time", "begin", "time", "timestamp", "t", "second", "seconds")
# captions of one video; the first two of Whisper, beside the whole text
SEGMENTS = ("segments", "chunks", "captions", "frames")
# lists of times and of texts; times are starts, or [start, end], in seconds except for "frames"
SPANS = (
    *(("timestamps", "sentences"), ("timestamps", "captions"), ("events", "events_summary"), ("events", "sentences")),
    *(("frames", "captions"), ("frames", "sentences"), ("frames", "texts")),
)
Clock = Literal["frames", "seconds", "order"]


@dataclass(frozen=True)
class Track:
    """Captions of one video, ordered by start.

    Attributes
    ----------
    clock
        Unit of the starts: ``frames``, ``seconds``, or ``order`` for texts without times.
    items
        (start, text).
    count
        Texts, also blank ones, which are in no item.
    """

    clock: Clock
    items: tuple[tuple[float, str], ...]
    count: int

    def frames(self, clock: VideoClock | None, where: str) -> list[tuple[int, str]]:
        """(frame, text), ordered by frame.

        Parameters
        ----------
        clock
            Of the video; needed for other clocks than frames.
        where
            The file, for messages.

        Raises
        ------
        ScoresError
            The clock is seconds and that of the video is unknown, or most captions start after its end.
        """
        if self.clock == "frames":
            found = [(int(start), text) for start, text in self.items]
            self._check_end(np.array([frame for frame, _ in found]), clock, where)
            return found
        if clock is None:
            raise ScoresError(f"{where}: the clock is seconds, and the frame rate is unknown", "name the video")
        starts = self._starts(clock, where)
        if clock.frame_count is not None and len(starts) and starts[0] >= max(clock.frame_count, clock.fps):
            raise ScoresError(
                f"{where}: the first caption starts at {self.items[0][0]:g} s, after the end of the video",
                "name times in frames start_frame",
            )
        self._check_end(starts, clock, where)
        return [(int(frame), text) for frame, (_, text) in zip(starts, self.items, strict=True)]

    def _check_end(self, starts: NDArray[np.int64], clock: VideoClock | None, where: str) -> None:
        """Refuse captions of which most start after the end of the video: another clock, or another video."""
        if clock is None or clock.frame_count is None:
            return
        late = int((starts >= clock.frame_count + clock.fps).sum())
        if late > len(starts) / 2:
            other = "frames, as start_frame" if self.clock == "seconds" else "seconds, as start"
            raise ScoresError(
                f"{where}: {late} of {len(starts)} captions start after the end of the video, by the clock "
                f"{self.clock}",
                f"name times in {other}, or the captions of this video",
            )
        if late:
            logger.warning("%s: %d of %d captions start after the end of the video", where, late, len(starts))
        steps = np.diff(np.unique(starts))
        if len(steps) > 1 and 2 * (starts[-1] + np.median(steps)) < clock.frame_count:
            logger.warning(
                "%s: the last caption starts at frame %d of %d, by the clock %s; if that is not their clock, write "
                "[{start, text}] in seconds or [{start_frame, text}]",
                where,
                starts[-1],
                clock.frame_count,
                self.clock,
            )

    def _starts(self, clock: VideoClock, where: str) -> NDArray[np.int64]:
        starts = np.array([start for start, _ in self.items], np.float64)
        if self.clock == "seconds":
            return clock.frames(starts)
        count, total = self.count, clock.frame_count
        if total is None:
            return clock.frames(starts)
        lengths = (clock.fps, SNIPPET_FRAMES, 1)  # frames of a second, a snippet and a frame
        fitting = min(lengths, key=lambda length: abs(count - total / length))
        if abs(count - total / fitting) > 1:
            raise ScoresError(
                f"{where}: {count} texts fit {total} frames neither as one a second, nor a snippet, nor a frame",
                "say when each starts: [{start, text}]",
            )
        return clock.frames(starts) if fitting == clock.fps else (starts * fitting).astype(np.int64)


def parse(content: object, where: str) -> dict[str | None, Track]:
    """Tracks of a JSON value by the identifier of the video; under ``None`` where it names none.

    Raises
    ------
    ScoresError
        The value has none of the forms; the message says which one it has.
    """
    if isinstance(content, dict) and content:
        if content.get("format") == FORMAT and isinstance(content.get("videos"), dict):
            check_version(content, where, VERSION, ScoresError, "caption the videos again with kgvad caption")
            return _own(content["videos"], where)
        if isinstance(_field(content, VIDEOS), str) and _track(content, where) is not None:
            return _listed([content], where)
        track = _track(content, where)
        if track is not None:
            return {None: track}
        return _named(content.items(), where)
    if isinstance(content, str):
        return {None: _ordered("seconds", [(0.0, content)], where)}
    if isinstance(content, list) and content:
        if all(isinstance(one, Mapping) and _field(one, VIDEOS) is not None for one in content):
            return _listed(content, where)
        track = _track(content, where)
        if track is not None:
            return {None: track}
    raise ScoresError(f"{where} holds {_shape(content)}, which is not a known caption format", FORMS)


def _own(videos: Mapping[str, object], where: str) -> dict[str | None, Track]:
    """Captions that ``kgvad caption`` made: the names are the identifiers of a folder of videos."""
    found: dict[str | None, Track] = {}
    for video, value in videos.items():
        track = _track(value, f"{where}: {video[:60]}")
        if track is None:
            raise ScoresError(f"{where}: {video[:60]!r} is {_shape(value)}, not captions", "caption the videos again")
        found[video] = track
    if not found:
        raise ScoresError(f"{where}: no video has captions", "caption the videos again")
    return found


def _shape(content: object, depth: int = 4) -> str:
    """The form of a JSON value down to ``depth``, for messages: ``{video: {start, end}}``."""
    if depth == 0:
        return "..."
    if isinstance(content, dict) and content:
        keys = [str(key)[:30] for key in content]
        inside = _shape(next(iter(content.values())), depth - 1)
        return f"{{{keys[0]}: {inside}}}" if len(keys) == 1 else f"{{{', '.join(keys[:5])}}}"
    if isinstance(content, list) and content:
        return f"[{_shape(content[0], depth - 1)}]"
    return f"an empty {type(content).__name__}" if isinstance(content, dict | list) else type(content).__name__


def _named(entries: Iterable[tuple[str, object]], where: str) -> dict[str | None, Track]:
    values = dict(entries)
    found: dict[str | None, Track] = {}
    silent = []
    for video, name in by_video_id(map(str, values), where, ScoresError).items():
        if len(values) > 1 and _has_no_text(values[name]):
            silent.append(name)
            continue
        track = _track(values[name], f"{where}: {name[:60]}")
        if track is None:
            form = _shape(values[name])
            raise ScoresError(f"{where}: {name[:60]!r} is {form}, which is not a known caption format", FORMS)
        found[video] = track
    if silent:
        logger.warning("%s: %d videos have no captions, the first is %s", where, len(silent), silent[0])
    if not found:
        raise ScoresError(f"{where}: no video has captions", FORMS)
    return found


def _has_no_text(value: object) -> bool:
    """Whether an entry of a video has a place for texts and none in it, or blank ones."""
    if isinstance(value, Mapping):
        own = next((value[texts] for _, texts in SPANS if texts in value), _field(value, TEXTS))
        value = list(value.values()) if own is None else own
    if isinstance(value, list):
        return all(_has_no_text(one) for one in value)
    return value is None or (isinstance(value, str) and not value.strip())


def _listed(entries: Sequence[Mapping[str, object]], where: str) -> dict[str | None, Track]:
    """Entries that name their video: one entry a video, or one a caption."""
    groups: dict[str, list[Mapping[str, object]]] = {}
    for one in entries:
        groups.setdefault(str(_field(one, VIDEOS)), []).append(one)
    return _named(((name, own[0] if len(own) == 1 else own) for name, own in groups.items()), where)


def _track(value: object, where: str) -> Track | None:
    """The captions of one video in any form; ``None`` where ``value`` has none of them."""
    if isinstance(value, str):
        return _ordered("seconds", [(0.0, value)], where)
    if isinstance(value, list) and value:
        if all(isinstance(one, str) for one in value):
            return _ordered("order", list(enumerate(value)), where)
        if all(isinstance(one, Mapping) for one in value):
            return _records(value, where)
        return None
    if not isinstance(value, Mapping) or not value:
        return None
    for times, texts in SPANS:
        if times in value and texts in value:
            return _spans(value[times], value[texts], "frames" if times == "frames" else "seconds", where)
    for name in SEGMENTS:
        if isinstance(value.get(name), list | dict) and value[name]:
            return _track(value[name], where)
    if _field(value, TEXTS) is not None:
        return _records([value], where)
    return _by_time(value, where)


def _by_time(value: Mapping[str, object], where: str) -> Track | None:
    """``{frame: text}``, or ``{seconds: text}`` where a key has a decimal point; a text may be a list of texts."""
    if not all(re.fullmatch(r"-?\d+(\.\d+)?", str(key)) for key in value) or isinstance(
        next(iter(value.values())), dict
    ):
        return None
    clock: Clock = "seconds" if any("." in key for key in value) else "frames"
    items = []
    for key, texts in value.items():
        if key.startswith("-") or len(key.partition(".")[0]) > 11:
            raise ScoresError(f"{where}: {key[:40]!r} is not a frame number", "use whole numbers from 0")
        for text in texts if isinstance(texts, list) else [texts]:
            if not isinstance(text, str):
                raise ScoresError(f"{where}: the caption of {key} is not a string", FORMS)
            items.append((float(key), text))
    return _ordered(clock, items, where)


def _records(value: Sequence[Mapping[str, object]], where: str) -> Track | None:
    """``[{start, end, text}]``: seconds, or frames where the start is called ``frame`` or ``start_frame``."""
    items: list[tuple[float, str]] = []
    clocks: set[Clock] = set()
    for one in value:
        text = _field(one, TEXTS)
        if not isinstance(text, str):
            return None
        frame, second = _field(one, FRAMES), _field(one, SECONDS)
        start = frame if frame is not None else second
        if isinstance(start, list) and start:
            start = start[0]  # Whisper's {"timestamp": [start, end]}
        if start is None and (len(value) > 1 or any(re.match(r"start|begin|from|time", str(key), re.I) for key in one)):
            return None
        clocks.add("seconds" if frame is None else "frames")
        items.append((_time(0 if start is None else start, where), text))
    if len(clocks) > 1:
        raise ScoresError(f"{where}: some captions start at frames, others at seconds", "use one clock")
    return _ordered(clocks.pop(), items, where)


def _spans(times: object, texts: object, clock: Clock, where: str) -> Track:
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(times, list) or not isinstance(texts, list) or len(times) != len(texts):
        raise ScoresError(f"{where}: there are not as many times as sentences", "correct the file")
    items = []
    for time, text in zip(times, texts, strict=True):
        span = time if isinstance(time, list) else [time]
        if len(span) not in (1, 2) or not isinstance(text, str):
            raise ScoresError(f"{where}: {str(span)[:40]} is not [start, end] of a sentence", "correct the file")
        items.append((min(_time(one, where) for one in span), text))  # some lists have the end first
    return _ordered(clock, items, where)


def _time(value: object, where: str) -> float:
    """Seconds or frames from a number or a text such as ``00:01:02.5``."""
    try:
        if isinstance(value, bool):
            raise ValueError
        found = seconds_of(str(value))
    except (ValueError, OverflowError):
        found = math.nan
    if not 0 <= found < 1e11:
        raise ScoresError(f"{where}: {str(value)[:40]!r} is not a time", "give seconds, or frames as start_frame")
    return found


def _ordered(clock: Clock, items: Sequence[tuple[float, str]], where: str) -> Track:
    kept = sorted(
        ((start, text.strip()[:MAX_CHARACTERS]) for start, text in items if text.strip()), key=lambda item: item[0]
    )
    if not kept:
        raise ScoresError(f"{where}: there is no text", FORMS)
    return Track(clock, tuple(kept), len(items))


def _field(record: Mapping[str, object], names: Sequence[str]) -> object:
    """The first of the fields ``names`` that the record has, whatever the case of its keys."""
    lower = {str(key).strip().lower(): value for key, value in record.items()}
    return next((lower[name] for name in names if lower.get(name) is not None), None)


def parse_text(data: bytes, suffix: str, where: str) -> dict[str | None, Track]:
    """Tracks of a file that is not JSON, as of :func:`parse`.

    Parameters
    ----------
    suffix
        ``.srt``, ``.vtt``, ``.csv``, ``.tsv`` or ``.txt``.
    """
    text = decoded(data, where)
    if suffix in SUBTITLES:
        return {None: _subtitles(text, where)}
    if suffix == ".txt":
        return parse(read_lines(text), where)
    return parse(read_table(text, where, lambda names: _field(dict.fromkeys(names, ""), TEXTS) is not None), where)


def _subtitles(text: str, where: str) -> Track:
    """Captions of a SubRip or WebVTT file."""
    import pysubs2

    text = re.sub(r"<\d+(:\d+)+\.\d+>", "", text)  # of single words, in WebVTT
    blocks = re.split(r"\n[ \t]*\n", text)
    # the library reads a comment or style of WebVTT as a line of the caption before it
    text = "\n\n".join(block for block in blocks if not re.match(r"\s*(NOTE|STYLE|REGION)\b", block))
    try:
        found = pysubs2.SSAFile.from_string(text)
    except Exception as error:  # the library raises its own and many built-in errors
        raise ScoresError(f"{where} is neither SubRip nor WebVTT", "correct the file") from error
    items = [(event.start / 1000, " ".join(event.plaintext.split())) for event in found]
    return _ordered("seconds", items, where)
