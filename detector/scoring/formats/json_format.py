"""Scores as one JSON object.

Files of other programs may be ``{frame: score}``, ``{video: {frame: score}}``, a list of scores, or of records with the
names of columns of a CSV table; records may also be JSON lines, and have all ``scores`` of a video. Keys that are whole
numbers are frames; with a decimal point they are seconds.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.detector.scoring.formats.tables import fields_by_video, fields_of, has_clock, of_video, plain
from kgvad.errors import ScoresError
from kgvad.files import parse_json, read_data, read_json, write_json, write_text
from kgvad.types import Fields
from kgvad.video.frame_counts import NAMES

LINES = ".jsonl"
REMEDY = "score the video again, or write the file again"


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    content = _content(path)
    if isinstance(content, list):
        return _of_records(content, video) or {"scores": content}
    fields = as_object(content)
    return _of_one(of_video(fields, video)) if _of_several(fields) else _by_time(fields) or fields


def read_videos(path: Path) -> dict[str, Fields]:
    """Fields of each video of the file; empty where it has those of one."""
    content = _content(path)
    if isinstance(content, list):
        table = _table(content)
        return {} if table is None else fields_by_video(*table)
    fields = as_object(content)
    return {video: _of_one(own) for video, own in fields.items()} if _of_several(fields) else {}


def _content(path: Path) -> Any:
    """The JSON value of the file, or the records of its lines; records of whole videos by the names of these."""
    if path.suffix.lower() == LINES:
        lines = [line.strip() for line in read_data(path, ScoresError, REMEDY).splitlines()]
        named = [(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line]
        content = [parse_json(line, where, ScoresError, REMEDY) for line, where in named]
    else:
        content = read_json(path, ScoresError, REMEDY)
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        return content
    if not content or not all(isinstance(one.get("scores"), list) for one in content):
        return content
    if len(content) == 1 and not set(NAMES).intersection(content[0]):
        return content[0]
    found: dict[str, Fields] = {}
    for number, one in enumerate(content, 1):
        video = next((str(one[name]) for name in NAMES if name in one), None)
        if video is None or video in found:
            wrong = "names no video" if video is None else f"is a second one of {video!r}"
            raise ScoresError(f"record {number} {wrong}", "give each record the name of its video")
        found[video] = {name: value for name, value in one.items() if name not in NAMES}
    return found


def _of_several(fields: Fields) -> bool:
    """Whether an object holds the scores of several videos by their names."""
    return bool(fields) and "scores" not in fields and all(isinstance(one, dict | list) for one in fields.values())


def _of_one(own: Any) -> Fields:
    """Fields of what a file of several videos has of one."""
    if isinstance(own, list):
        return _of_records(own, None) or {"scores": own}
    return _by_time(own) or as_object(own)


def _of_records(content: list[Any], video: str | None) -> Fields | None:
    """Fields of ``[{"frame": 0, "score": .1}, ...]``, by the names of columns; ``None`` for other lists."""
    table = _table(content)
    return None if table is None else fields_of(*table, video)


def _table(content: list[Any]) -> tuple[list[str], list[list[Any]]] | None:
    """Names and rows of records; ``None`` for other lists."""
    if not content or not all(isinstance(one, dict) for one in content):
        return None
    records = [{plain(name): value for name, value in one.items()} for one in content]
    names = list(records[0])
    if "score" not in names or not has_clock(names):
        return None
    return names, [[one.get(name, "") for name in names] for one in records]


def _by_time(content: Fields) -> Fields | None:
    """Fields of ``{frame: score}`` or ``{seconds: score}``, ordered; ``None`` where keys are no numbers."""
    try:
        starts = {name: float(name) for name in content}
    except ValueError:
        return None
    if not content or not all(math.isfinite(start) for start in starts.values()):
        return None
    if wrong := [
        name for name, score in content.items() if isinstance(score, bool) or not isinstance(score, int | float)
    ]:
        raise ScoresError(f"the score of {wrong[0]!r} is not a number", REMEDY)
    ordered = sorted(content, key=starts.__getitem__)
    clock = "starts" if all(re.fullmatch(r"\d+", name) for name in content) else "starts_s"
    return {"scores": [content[name] for name in ordered], clock: [starts[name] for name in ordered]}


def write(path: Path, fields: Fields) -> None:
    """Write the fields; arrays become lists."""
    content = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
    if path.suffix.lower() == LINES:
        write_text(path, json.dumps(content, allow_nan=False) + "\n")
    else:
        write_json(path, content)


def as_object(value: object) -> Fields:
    """``value``, which must be a JSON object.

    Raises
    ------
    ScoresError
        It is a list, a string or a number.
    """
    if not isinstance(value, dict):
        raise ScoresError("the JSON is not an object", "write an object with the field 'scores'")
    return value
