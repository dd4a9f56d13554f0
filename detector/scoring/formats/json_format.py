"""Scores as one JSON object.

Files of other programs may be ``{frame: score}``, ``{video: {frame: score}}`` or a list of scores. Keys that are whole
numbers are frames; with a decimal point they are seconds.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.errors import ScoresError
from kgvad.files import read_json, write_json
from kgvad.types import Fields
from kgvad.video.video_ids import VideoNames, by_video_id, video_id

REMEDY = "score the video again, or write the file again"


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    content = read_json(path, ScoresError, REMEDY)
    if isinstance(content, list):
        return _of_records(content) or {"scores": content}
    fields = as_object(content)
    if fields and all(isinstance(value, dict | list) for value in fields.values()) and "scores" not in fields:
        fields = _of_video(fields, video)
        return {"scores": fields} if isinstance(fields, list) else _by_time(fields) or fields
    return _by_time(fields) or fields


def _of_records(content: list[Any]) -> Fields | None:
    """Fields of ``[{"frame": 0, "score": .1}, ...]``, or with ``time`` in seconds; ``None`` for other lists."""
    for clock in ("frame", "time"):
        if content and all(isinstance(one, dict) and {clock, "score"} <= one.keys() for one in content):
            times = {str(one[clock]): one["score"] for one in content}
            if len(times) < len(content):
                raise ScoresError(f"two scores have the same {clock}", REMEDY)
            found = _by_time(times)
            if found is None:
                raise ScoresError(f"a {clock} is not a number", REMEDY)
            name = "starts" if clock == "frame" else "starts_s"
            return {"scores": found["scores"], name: found.get("starts", found.get("starts_s"))}
    return None


def _of_video(content: Fields, video: str | None) -> Any:
    """The scores of one video of a file of several."""
    if video is None and len(content) == 1:
        return next(iter(content.values()))
    names = by_video_id(content, "the file", ScoresError)
    found = None if video is None else VideoNames(names).find(video)
    if found is None:
        wanted = None if video is None else video_id(video)
        raise ScoresError(
            f"there are no scores of {wanted!r}", f"the file has {len(content)} videos, first {next(iter(content))!r}"
        )
    return content[names[found]]


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
    write_json(
        path, {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
    )


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
