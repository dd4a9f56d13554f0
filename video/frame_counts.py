"""Frame counts and frame rates of videos: from tables, and from the videos themselves."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kgvad.console import track
from kgvad.errors import FeatureError, VideoError
from kgvad.files import decode_text, read_json, reading
from kgvad.spreadsheets import delimiter_of
from kgvad.video.inputs import files_below
from kgvad.video.video_ids import VIDEO_SUFFIXES, by_video_id, video_id

NAMES = ("video", "name", "video_name", "file", "path", "filename", "video_id")
COUNTS = ("n_frames", "frames", "num_frames", "frame_count", "nframes")
RATES = ("fps", "frame_rate")
REMEDY = "give the columns video and n_frames (and fps), or {video: frames} as JSON"


@dataclass(frozen=True)
class Clock:
    """Frames and frames per second of a video; ``None`` where they are unknown."""

    frames: int | None = None
    fps: float | None = None


def read_clocks(paths: Iterable[Path]) -> dict[str, Clock]:
    """Clocks by identifier of the video, from tables (CSV, TSV, JSON) and from folders of videos.

    Raises
    ------
    FeatureError
        A table is damaged, a count is not a number above 0, or two lines are of one video with different counts.
    """
    found: dict[str, Clock] = {}
    for path in paths:
        for video, clock in (_probed(path) if path.is_dir() else _table(path)).items():
            other = found.setdefault(video, clock)
            if other.frames != clock.frames:
                raise FeatureError(
                    f"{path}: {video} has {clock.frames} frames here and {other.frames} elsewhere", REMEDY
                )
    return found


def read_frame_counts(path: Path) -> dict[str, int]:
    """Frame counts by identifier of the video from a CSV, TSV or JSON table; errors as of :func:`read_clocks`."""
    return {video: clock.frames for video, clock in read_clocks([path]).items() if clock.frames is not None}


def _table(path: Path) -> dict[str, Clock]:
    if path.suffix.lower() == ".json":
        table = read_json(path, FeatureError, REMEDY)
        if not isinstance(table, dict):
            raise FeatureError(f"{path} is not a table of frame counts", REMEDY)
        rows = {name: row if isinstance(row, dict) else {"n_frames": row} for name, row in table.items()}
        return {video: _clock(path, name, rows[name]) for video, name in by_video_id(rows, str(path)).items()}
    with reading(path, FeatureError, REMEDY):
        lines = [line for line in decode_text(path.read_bytes()).splitlines() if line.strip()]
        delimiter = delimiter_of(lines[0] if lines else "") or ","
        table_rows = list(csv.DictReader(lines, delimiter=delimiter))
        header = {name.strip().strip('"').lower() for name in lines[0].split(delimiter)} if lines else set()
    if not (header & set(NAMES) and header & {*COUNTS, *RATES} and table_rows):
        raise FeatureError(f"{path} is not a table with the columns video and n_frames", REMEDY)
    found: dict[str, Clock] = {}
    for row in table_rows:
        named = {str(key).strip().lower(): value for key, value in row.items()}
        name = next((named[key] for key in NAMES if named.get(key)), None)
        if not isinstance(name, str):
            raise FeatureError(f"{path} is not a table with the columns video and n_frames", REMEDY)
        clock = _clock(path, name, named)
        if found.setdefault(name, clock) != clock:
            raise FeatureError(f"{path}: two lines are of the video {video_id(name)}", "remove one of them")
    return {video: found[name] for video, name in by_video_id(found, str(path)).items()}


def _clock(path: Path, name: str, row: dict[str, object]) -> Clock:
    count = next((row[key] for key in COUNTS if key in row), None)
    rate = next((row[key] for key in RATES if row.get(key)), None)
    try:
        frames = None if count is None and rate is not None else int(str(count))
    except ValueError:
        raise FeatureError(f"{path}: {name}: {str(count)[:20]!r} is not a number of frames", REMEDY) from None
    try:
        fps = None if rate is None else float(str(rate).replace(",", "."))
    except ValueError:
        raise FeatureError(f"{path}: {name}: {str(rate)[:20]!r} is not a frame rate", REMEDY) from None
    if (frames is not None and frames < 1) or (fps is not None and not 0 < fps < 1e4):
        raise FeatureError(f"{path}: {name}: frames and fps must be above 0", REMEDY)
    return Clock(frames, fps)


def _probed(folder: Path) -> dict[str, Clock]:
    """Clocks of the videos below ``folder``, by reading every packet."""
    from kgvad.video.decode import probe

    files = [path for path in files_below(folder) if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "."]
    if not files:
        raise FeatureError(f"{folder} holds no video", "name the folder of the videos, or a table of frame counts")
    names = by_video_id([path.relative_to(folder).as_posix() for path in files], str(folder))
    found: dict[str, Clock] = {}
    for video, name in track(names.items(), "counting frames"):
        try:
            info = probe(folder / name, exact=True)
        except VideoError:
            continue  # a video that cannot be read has no count; its absence is reported where it is needed
        found[video] = Clock(info.frame_count, info.fps)
    return found
