"""Explicit spans of the rows of features: tables with the start and end of each row, in frames or seconds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from kgvad.errors import FeatureError
from kgvad.files import decode_text, reading
from kgvad.spreadsheets import delimiter_of
from kgvad.video.frame_counts import NAMES
from kgvad.video.video_ids import by_video_id

FRAMES = (("start_frame", "end_frame"), ("start", "end"))
SECONDS = (("start_s", "end_s"), ("start_sec", "end_sec"), ("start_seconds", "end_seconds"))
REMEDY = (
    "give one line for each row of features, with the columns video, start_frame and end_frame, or start_s and end_s"
)


@dataclass(frozen=True)
class RowSpans:
    """Start and end of each row of a video, in its order.

    Attributes
    ----------
    spans
        (start, end), the end excluded.
    in_seconds
        Whether they are seconds; else frames.
    """

    spans: tuple[tuple[float, float], ...]
    in_seconds: bool

    def edges(self, fps: float, frame_count: int | None, video: str) -> list[int]:
        """First frame of each row and the end of the last, T + 1 frames.

        Rows may overlap or leave gaps; a frame then belongs to the row whose span ends or begins nearest to it, so the
        border is the middle of the overlap or gap. The first row begins with the video and the last ends with it.

        Parameters
        ----------
        fps
            To read seconds.
        frame_count
            Of the video; ``None``: the last row ends it.

        Raises
        ------
        FeatureError
            A span lies past the end of the video, or a row would have no frame.
        """
        scale = fps if self.in_seconds else 1.0
        frames = [(start * scale, end * scale) for start, end in self.spans]
        last = round(max(end for _, end in frames))
        total = last if frame_count is None else frame_count
        borders = [round((end + start) / 2) for (_, end), (start, _) in pairwise(frames)]
        edges = [0, *borders, total]
        tolerance = math.ceil(fps) if self.in_seconds else max(1, round(frames[-1][1] - frames[-1][0]))
        if last > total + tolerance:
            raise FeatureError(
                f"{video}: its last row ends at frame {last} of {total}", "correct the spans, or its frame count"
            )
        wrong = next((index for index in range(len(frames)) if edges[index + 1] <= edges[index]), None)
        if wrong is not None:
            raise FeatureError(f"{video}: row {wrong} has no frame of its own between its neighbours", REMEDY)
        return edges


def read_spans(paths: Iterable[Path]) -> dict[str, RowSpans]:
    """Spans by the name of the video, from CSV or TSV tables; :class:`kgvad.video.video_ids.VideoNames` finds a video.

    Raises
    ------
    FeatureError
        A table is damaged, a span is not an interval, starts before the one above it, or two tables have one video.
    """
    found: dict[str, RowSpans] = {}
    for path in paths:
        for video, spans in _table(path).items():
            if found.setdefault(video, spans) != spans:
                raise FeatureError(f"{path}: {video} has other spans elsewhere", "name each video in one table")
    return found


def _table(path: Path) -> dict[str, RowSpans]:
    with reading(path, FeatureError, REMEDY):
        lines = [line for line in decode_text(path.read_bytes()).splitlines() if line.strip()]
        delimiter = delimiter_of(lines[0] if lines else "") or ","
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    pairs = [pair for pair in (*SECONDS, *FRAMES) if set(pair) <= set(header)]
    named = next((name for name in NAMES if name in header), None)
    if not pairs or named is None or len(rows) < 2:
        raise FeatureError(f"{path} is not a table of spans", REMEDY)
    (start, end), in_seconds = pairs[0], pairs[0] in SECONDS
    found: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows[1:], 2):
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        if not cells.get(named):
            raise FeatureError(f"{path}, line {number}: it names no video", REMEDY)
        own = found.setdefault(cells[named], [])
        own.append(_span(f"{path}, line {number}", cells.get(start, ""), cells.get(end, ""), own))
    ids = by_video_id(found, str(path))
    return {video: RowSpans(tuple(found[name]), in_seconds) for video, name in ids.items()}


def _span(where: str, start: str, end: str, before: Sequence[tuple[float, float]]) -> tuple[float, float]:
    try:
        first, last = float(start), float(end)
    except ValueError:
        first = last = math.nan
    if not 0 <= first < last < 1e9:
        raise FeatureError(f"{where}: {start[:20]!r} to {end[:20]!r} is not a span", "give a start below an end")
    if before and (first < before[-1][0] or last < before[-1][1]):
        raise FeatureError(f"{where}: the span lies before the one above it", "list the rows of a video in their order")
    return first, last
