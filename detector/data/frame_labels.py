"""Frame labels of a user's own test videos: tables of intervals, text in the form of UCF-Crime, or 0/1 arrays."""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgvad.console import count_of
from kgvad.detector.data.annotations import Truth, VideoTruth, read_mask
from kgvad.detector.data.clock import seconds_of
from kgvad.detector.data.labels import find_category, is_normal_name, same_category
from kgvad.errors import FeatureError
from kgvad.files import decode_text, read_json, reading
from kgvad.masks import true_runs
from kgvad.spreadsheets import delimiter_of
from kgvad.video.feature_lists import Split
from kgvad.video.feature_sources import names_of
from kgvad.video.frame_counts import NAMES
from kgvad.video.video_ids import VIDEO_SUFFIXES, VideoNames, by_video_id, video_id

logger = logging.getLogger(__name__)

FRAMES = (("start_frame", "end_frame"), ("begin_frame", "end_frame"), ("start", "end"))
SECONDS = (("start_s", "end_s"), ("start_sec", "end_sec"), ("start_seconds", "end_seconds"),
           ("start_time", "end_time"))  # fmt: skip
SPLITS: dict[Split, str] = {"train": "training", "test": "test"}  # in messages
MASKS = (".npy", ".txt")
CATEGORY = ("category", "label", "class", "event")
NONE = ("", "-1", "-1.0", "nan", "na", "none", "null")  # for the start and end of a normal video
REMEDY = "give the columns video, start_s and end_s (seconds) or start_frame and end_frame, and one line for each event"


@dataclass(frozen=True)
class Event:
    """One annotated event; times are frames, or seconds where ``in_seconds``."""

    start: float
    end: float
    category: str | None = None
    in_seconds: bool = False


@dataclass(frozen=True)
class Annotated:
    """What a file says of one video: its events, none for a normal one, and its frames where the file has them."""

    events: tuple[Event, ...]
    frame_count: int | None = None


def read_frame_labels(path: Path) -> dict[str, Annotated]:
    """Frame labels by identifier of the video.

    Parameters
    ----------
    path
        A folder of arrays ``NAME.npy`` with one number a frame, 0 for normal. A CSV with a column ``video`` and an
        interval in seconds (``start_s``, ``end_s``) or frames (``start_frame``, ``end_frame``), and perhaps a
        ``category``. Or text, one video a line: name, perhaps frames and category, then starts and ends in frames, -1
        for none. Or JSON, ``{video: [[start, end], ...]}`` in frames.

    Raises
    ------
    FeatureError
        A line or an array is wrong; the message names it.
    """
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in MASKS and not file.name.startswith(".") and file.is_file()
        ]
        if not files:
            raise FeatureError(
                f"{path} holds no arrays of frame labels",
                "save one a video, NAME.npy or NAME.txt with a 0 or 1 a frame",
            )
        plain = {file.relative_to(path).with_suffix("").as_posix(): file for file in files}
        if len(plain) < len(files):
            raise FeatureError(f"{path} holds NAME.npy and NAME.txt of one video", "remove one of them")
        return {video: _of_mask(plain[name]) for video, name in by_video_id(plain, str(path)).items()}
    if path.suffix.lower() in (".npy", ".npz", ".mat"):
        raise FeatureError(f"{path} does not name its videos", "name a folder with an array NAME.npy for each video")
    if path.suffix.lower() == ".json":
        return _of_json(path)
    with reading(path, FeatureError, REMEDY):
        text = decode_text(path.read_bytes())
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise FeatureError(f"{path} is empty", REMEDY)
    names = [name.strip().strip('"').lower().replace(" ", "_") for name in re.split(r"[,;\t]", lines[0][1])]
    return _of_table(path, lines) if any(name in NAMES for name in names) else _of_text(path, lines)


def _of_mask(file: Path) -> Annotated:
    mask = read_mask(file) if file.suffix.lower() == ".npy" else _text_mask(file)
    return Annotated(tuple(Event(start, end) for start, end in true_runs(mask)), len(mask))


def _text_mask(file: Path) -> list[int]:
    with reading(file, FeatureError, "write a 0 or 1 for each frame, or take the file out"):
        words = decode_text(file.read_bytes()).replace(",", " ").split()
        if not words or not set(words) <= {"0", "1", "0.0", "1.0"}:
            raise ValueError("it does not hold one 0 or 1 for each frame")
        return [int(float(word)) for word in words]


def _of_json(path: Path) -> dict[str, Annotated]:
    remedy = "the form is {video: [[start, end], ...]} in frames, the end not included"
    content = read_json(path, FeatureError, remedy)
    if not isinstance(content, dict) or not all(isinstance(spans, list) for spans in content.values()):
        raise FeatureError(f"{path} holds no intervals of videos", remedy)
    found = {}
    for video, name in by_video_id(content, str(path)).items():
        for span in content[name]:
            start, end = span if isinstance(span, list) and len(span) == 2 else (-1, -1)
            if type(start) is not int or type(end) is not int or not 0 <= start < end:
                raise FeatureError(f"{path}: {name}: {str(span)[:40]} is not [start, end) in whole frames", remedy)
        found[video] = Annotated(tuple(Event(start, end) for start, end in content[name]))
    return found


def _of_table(path: Path, lines: list[tuple[int, str]]) -> dict[str, Annotated]:
    delimiter = delimiter_of(lines[0][1]) or ","
    with reading(path, FeatureError, REMEDY):
        rows = list(csv.reader([line for _, line in lines], delimiter=delimiter, skipinitialspace=True))
    if len(rows) != len(lines):
        raise FeatureError(f"{path}: a quoted cell goes over several lines", REMEDY)
    header = [name.strip().lower().replace(" ", "_") for name in rows[0]]
    if delimiter != ",":  # there a comma is a decimal point
        rows = [rows[0], *([re.sub(r"^(\d+),(\d+)$", r"\1.\2", cell.strip()) for cell in row] for row in rows[1:])]
    columns = (*FRAMES[:2], *SECONDS, *FRAMES[2:])  # frames are exact; plain start and end may be either
    pairs = [(pair, pair in SECONDS) for pair in columns if set(pair) <= set(header)]
    if not pairs:
        raise FeatureError(f"{path} has no columns of start and end", REMEDY)
    (start, end), in_seconds = pairs[0]
    if (start, end) == FRAMES[2]:
        logger.info(f"{path}: start and end are taken as frames (for seconds, call the columns start_s and end_s)")
    found: dict[str, list[Event]] = {}
    for (number, text), row in zip(lines[1:], rows[1:], strict=True):
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        name = next((cells[key] for key in NAMES if cells.get(key)), None)
        if name is None:
            raise FeatureError(f"{path}, line {number}: {text[:60]!r} names no video", REMEDY)
        category = next((cells[key] for key in CATEGORY if cells.get(key)), None)
        event = _event(path, number, cells.get(start, ""), cells.get(end, ""), in_seconds, start)
        found.setdefault(name, [])
        if event is not None and (category is None or not is_normal_name(category)):
            found[name].append(Event(event[0], event[1], category, in_seconds))
    return {video: Annotated(tuple(found[name])) for video, name in by_video_id(found, str(path)).items()}


def _event(path: Path, number: int, start: str, end: str, in_seconds: bool, column: str) -> tuple[float, float] | None:
    """Start and end; ``None`` where both are empty or negative."""
    if start.lower() in NONE and end.lower() in NONE:
        return None
    try:
        first, last = (seconds_of(value) if in_seconds or ":" in value else float(value) for value in (start, end))
    except ValueError:
        first = last = math.nan
    if not 0 <= first < last < 1e9:
        raise FeatureError(
            f"{path}, line {number}: {start!r} to {end!r} is not an interval", "give a start below an end"
        )
    if not in_seconds and (":" in f"{start}{end}" or not (first.is_integer() and last.is_integer())):
        raise FeatureError(
            f"{path}, line {number}: {start} to {end} are not whole frames", f"call the columns of seconds {column}_s"
        )
    return first, last


def _of_text(path: Path, lines: list[tuple[int, str]]) -> dict[str, Annotated]:
    found: dict[str, Annotated] = {}
    for number, text in lines:
        name, rest = _name_and_rest(text)
        fields = re.split(r"[\s,;]+", rest.strip()) if rest.strip() else []
        words = [place for place, field in enumerate(fields) if not re.fullmatch(r"-?\d{1,12}(\.0+)?", field)]
        if len(words) > 1 or (words and words[0] > 1):
            raise FeatureError(f"{path}, line {number}: {text[:60]!r} is not VIDEO CATEGORY START END ...", REMEDY)
        category = fields[words[0]] if words else None
        before, after = (fields[: words[0]], fields[words[0] + 1 :]) if words else ([], fields)
        numbers = [int(float(field)) for field in after]
        if len(numbers) % 2:
            raise FeatureError(f"{path}, line {number}: {text[:60]!r} has a start without an end", REMEDY)
        events = []
        for start, end in zip(numbers[::2], numbers[1::2], strict=True):
            event = _event(path, number, str(start), str(end), False, "start") if (start, end) != (0, 0) else None
            if event is not None and not (category and is_normal_name(category)):
                events.append(Event(*event))
        if name in found:
            raise FeatureError(f"{path}, line {number}: a second line of {video_id(name)}", "join the lines")
        found[name] = Annotated(tuple(events), int(float(before[0])) if before else None)
    return {video: found[name] for video, name in by_video_id(found, str(path)).items()}


def _name_and_rest(text: str) -> tuple[str, str]:
    suffixes = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)
    match = re.match(rf"(.+?(?:{suffixes}))(?:[\s,;]+(.*))?$", text, re.IGNORECASE)
    if match:
        return match[1], match[2] or ""
    mark = next((mark for mark in ",;\t" if mark in text), None)
    cells = [] if mark is None else [cell.strip() for cell in text.rstrip(f"{mark} ").split(mark)]
    if len(cells) > 1 and not any(re.search(r"\s", cell) for cell in cells[1:]):
        return cells[0].strip('"'), " ".join(cells[1:])  # in a table without a header a name may hold blanks
    name, _, rest = text.replace(",", " ").partition(" ")
    return name, rest


def with_frame_labels(
    truth: Truth, labels: Mapping[str, Annotated], rates: Mapping[str, float], where: str, split: Split = "test"
) -> Truth:
    """``truth`` with frame labels of the videos of one split.

    Parameters
    ----------
    labels
        By identifier.
    rates
        Frames per second of the videos, to read seconds.
    where
        File of the labels, for messages.

    Raises
    ------
    FeatureError
        None of these videos has frame labels, or an event is of no category of the dataset.
    """
    matched = VideoNames(truth.split(split)).match(labels, where)
    if not matched:
        first = next(iter(labels), None)
        raise FeatureError(
            f"{where} names no {SPLITS[split]} video of {truth.dataset}"
            f"{'' if first is None else f'; its first is {first}'}",
            "name the videos as dataset.json beside the features does",
        )
    _log_unmatched(truth, labels, matched, where, split)
    found = {name: labels[named] for name, named in matched.items()}
    warn_of_other_categories(found, {name: truth.videos[name].labels for name in found}, where)
    videos = dict(truth.videos)
    for name, annotated in found.items():
        videos[name] = _labelled(truth, name, annotated, rates.get(name), where)
    return truth.model_copy(update={"videos": videos})


def _log_unmatched(truth: Truth, labels: Iterable[str], matched: Collection[str], where: str, split: Split) -> None:
    """Warn about names that fit no video, and about videos whose frame labels are not from the file."""
    names = VideoNames(truth.videos)
    if unknown := [name for name in labels if names.find(name) is None]:
        logger.warning(
            f"{where}: {count_of(len(unknown), 'name')} of no video of {truth.dataset}, or of several "
            f"({names_of(unknown)}): these frame labels are not used"
        )
    others = [name for name in truth.split(split) if name not in matched and truth.videos[name].labels]
    if kept := [name for name in others if truth.videos[name].intervals is not None]:
        logger.warning(
            f"{where} lacks {count_of(len(kept), f'abnormal {SPLITS[split]} video')} ({names_of(kept)}): the frame "
            "labels beside the features are used"
        )


def warn_of_other_categories(
    annotated: Mapping[str, Annotated], labels: Mapping[str, Sequence[str]], where: str
) -> None:
    """Warn once of abnormal videos with an event of a category that is not their label."""
    other = {
        name: event.category
        for name, one in annotated.items()
        for event in one.events
        if labels[name] and event.category and not any(same_category(event.category, own) for own in labels[name])
    }
    if other:
        shown = [f"{name} is {' and '.join(labels[name])}, its event {event}" for name, event in other.items()]
        more = f"; and {len(shown) - 3} more" if len(shown) > 3 else ""
        logger.warning(f"{where}: categories of events differ from the labels: {'; '.join(shown[:3])}{more}")


def _labelled(truth: Truth, name: str, found: Annotated, fps: float | None, where: str) -> VideoTruth:
    spans, events = [], []
    for event in found.events:
        start, end = event.start, event.end
        if event.in_seconds:
            if fps is None:
                continue  # no features, so not evaluated
            start, end = math.floor(start * fps), max(math.ceil(end * fps), math.floor(start * fps) + 1)
        spans.append((int(start), int(end)))
        if event.category is not None:
            category = find_category(event.category, truth.dataset, truth.categories)
            if category is None:
                raise FeatureError(
                    f"{where}: {name} has an event of {event.category!r}, which is not a category of {truth.dataset}",
                    f"use one of {', '.join(truth.categories)}",
                )
            events.append((category, int(start), int(end)))
    one = truth.videos[name]
    if spans and not one.labels:
        raise FeatureError(f"{where}: the normal video {name} has an event", "correct its label or its events")
    return one.model_copy(
        update={
            "intervals": tuple(sorted(spans)),
            "events": tuple(sorted(events, key=lambda event: event[1:])) or None,
            "frame_count": found.frame_count or one.frame_count,
        }
    )


def unlabelled(truth: Truth, videos: Iterable[str]) -> list[str]:
    """Abnormal ones of ``videos`` that have no frame labels."""
    return [name for name in videos if truth.videos[name].labels and truth.videos[name].intervals is None]
