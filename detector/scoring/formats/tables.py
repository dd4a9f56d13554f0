"""Scores as rows of named columns, from CSV or from JSON records: names, clocks, and the rows of one video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.console import count_of
from kgvad.detector.data.clock import seconds_of
from kgvad.errors import ScoresError
from kgvad.types import Fields
from kgvad.video.frame_counts import NAMES
from kgvad.video.video_ids import VideoNames, by_video_id, video_id

PREFIXES = {"alignment": "alignment/", "concept_alignment": "concept/", "probabilities": "probability/"}
FRAMES = ("start", "frame")  # columns that say where a row starts
SECONDS = ("start_s", "time", "time_s", "seconds", "second", "timestamp", "t")
_PLAIN = (*NAMES, *FRAMES, *SECONDS, "end", "end_s", "score")
_SYNONYMS = {
    "start_frame": "start", "frame_id": "frame", "frame_index": "frame", "frame_idx": "frame", "end_frame": "end",
    "start_time": "start_s", "end_time": "end_s", "anomaly_score": "score", "scores": "score",
}  # fmt: skip
Columns = dict[str, NDArray[np.float64]]
Row = tuple[int, Sequence[Any]]  # its number, from 1, and its cells


def plain(name: str) -> str:
    """The name by which a column is known here; other names stay as they are."""
    known = name.strip().lower().replace(" ", "_")
    known = _SYNONYMS.get(known, known)
    return known if known in _PLAIN else name.strip()


def has_clock(names: Sequence[str]) -> bool:
    """Whether columns say where each score starts."""
    return not {*FRAMES, *SECONDS}.isdisjoint(names)


def fields_of(names: Sequence[str], rows: Sequence[Sequence[Any]], video: str | None) -> Fields:
    """Fields of the rows of ``video``, ordered by start; columns of other names are ignored.

    Parameters
    ----------
    names
        Of the columns, as :func:`plain` gives them.
    rows
        Cells, texts or numbers, one for each name.
    video
        Whose rows are wanted, where a column names videos.

    Raises
    ------
    ScoresError
        Two columns have one name, a cell is not a number, two rows start together, or no row is of the video.
    """
    numbered = list(enumerate(rows, 1))
    groups = _by_video(names, numbered)
    if groups is not None:
        numbered = of_video(groups, video) if groups else []
    return _of_rows(names, numbered)


def fields_by_video(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Fields]:
    """Fields of each video that a column names, as :func:`fields_of` gives them; empty where no column does."""
    groups = _by_video(names, list(enumerate(rows, 1))) or {}
    return {video: _of_rows(names, numbered) for video, numbered in groups.items()}


def _by_video(names: Sequence[str], numbered: Sequence[Row]) -> dict[str, list[Row]] | None:
    """Rows by the name of their video; ``None`` where no column has it."""
    column = next((names.index(name) for name in NAMES if name in names), None)
    if column is None:
        return None
    groups: dict[str, list[Row]] = {}
    for number, row in numbered:
        groups.setdefault(str(row[column]).strip(), []).append((number, row))
    return groups


def _of_rows(names: Sequence[str], numbered: Sequence[Row]) -> Fields:
    used = [name for name in names if name in _PLAIN or name.startswith(tuple(PREFIXES.values()))]
    twice = next((name for name in used if used.count(name) > 1), None)
    if twice is not None:
        raise ScoresError(f"two columns are called {twice}, or a synonym of it", "keep one of them")
    columns: Columns = {}
    for name in used:
        if name not in NAMES:
            place = names.index(name)
            columns[name] = np.array([_value(row[place], number, name) for number, row in numbered], np.float64)
    return _fields(_ordered(columns))


def of_video(content: Mapping[str, Any], video: str | None) -> Any:
    """What a file of several videos has of one."""
    if video is None and len(content) == 1:
        return next(iter(content.values()))
    names = by_video_id(content, "the file", ScoresError)
    found = None if video is None else VideoNames(names).find(video)
    if found is None:
        wanted = None if video is None else video_id(video)
        raise ScoresError(
            "it has scores of several videos" if wanted is None else f"there are no scores of {wanted!r}",
            f"the file has {count_of(len(content), 'video')}, first {next(iter(content))!r}",
        )
    return content[names[found]]


def _value(cell: Any, number: int, name: str) -> float:
    try:
        if isinstance(cell, bool) or "_" in str(cell):
            raise ValueError
        return seconds_of(str(cell)) if name in (*SECONDS, "end_s") else float(cell)
    except (ValueError, TypeError, OverflowError):
        raise ScoresError(
            f"row {number}: {str(cell)[:40]!r} in the column {name} is not a number", "correct the row, or take it out"
        ) from None


def _ordered(columns: Columns) -> Columns:
    name = next((name for name in (*FRAMES, *SECONDS) if name in columns), None)
    if name is None:
        return columns
    order = np.argsort(columns[name], kind="stable")
    columns = {other: values[order] for other, values in columns.items()}
    if (np.diff(columns[name]) == 0).any():
        raise ScoresError(f"two scores have the same {name}", "give one score for each, of one video")
    return columns


def _fields(columns: Columns) -> Fields:
    fields: Fields = {"scores": columns["score"]}
    for clock, names, end in (("", FRAMES, "end"), ("_s", SECONDS, "end_s")):  # frames before seconds
        starts = next((columns[name] for name in names if name in columns), None)
        if starts is not None:
            whole = end in columns
            fields[f"spans{clock}" if whole else f"starts{clock}"] = (
                np.stack([starts, columns[end]], axis=1) if whole else starts
            )
            break
    for name, prefix in PREFIXES.items():
        chosen = [column for column in columns if column.startswith(prefix)]
        if chosen:
            fields[name] = np.stack([columns[column] for column in chosen], axis=1)
        if chosen and name == "alignment":
            fields["categories"] = [column.removeprefix(prefix) for column in chosen]
    return fields
