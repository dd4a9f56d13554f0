"""Times of the events in the test videos of a folder dataset: ``annotations.csv`` beside the categories."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from kgvad.errors import FeatureError
from kgvad.files import reading
from kgvad.video.decode import probe

FILE = "annotations.csv"
COLUMNS = ("video", "start_s", "end_s")


def event_frames(folder: Path, videos: Mapping[str, Path]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Frames [start, end) of the events of each annotated video; empty where there is no ``annotations.csv``.

    The file has the columns ``video`` (identifier, or file name without suffix), ``start_s`` and ``end_s`` in seconds,
    and one line for each event. Further columns are ignored.

    Parameters
    ----------
    videos
        Path of each video by its identifier.

    Raises
    ------
    FeatureError
        A column is missing, a time is not a number, or a video is not in the folder.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    by_name = {Path(video).name: video for video in videos} | {video: video for video in videos}
    found: dict[str, list[tuple[int, int]]] = {}
    rates: dict[str, float] = {}
    with reading(path, FeatureError, "save it as CSV in UTF-8"), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
        if missing:
            raise FeatureError(f"{path} has no column {missing[0]!r}", f"its columns are {', '.join(COLUMNS)}")
        for line in lines:
            video = by_name.get(line["video"])
            if video is None:
                raise FeatureError(
                    f"{path}: line {lines.line_num}: no video {line['video']!r} in {folder}",
                    "use the file name without its suffix",
                )
            if video not in rates:
                rates[video] = probe(videos[video]).fps
            start_s, end_s = _seconds(line, path, lines.line_num)
            found.setdefault(video, []).append((math.floor(start_s * rates[video]), math.ceil(end_s * rates[video])))
    return {video: tuple(sorted(spans)) for video, spans in found.items()}


def _seconds(line: Mapping[str, str], path: Path, number: int) -> tuple[float, float]:
    try:
        start_s, end_s = float(line["start_s"]), float(line["end_s"])
    except (TypeError, ValueError):
        start_s = end_s = math.nan
    if not 0 <= start_s < end_s < math.inf:
        raise FeatureError(f"{path}: line {number}: not an interval of seconds", "give start_s below end_s")
    return start_s, end_s
