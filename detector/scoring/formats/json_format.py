"""Scores as one JSON object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kgvad.errors import ScoresError
from kgvad.files import read_json, write_json

REMEDY = "score the video again, or write the file again"


def read(path: Path) -> dict[str, Any]:
    """Fields of the file."""
    return as_object(read_json(path, ScoresError, REMEDY))


def write(path: Path, fields: dict[str, Any]) -> None:
    """Write the fields; arrays become lists."""
    write_json(
        path, {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
    )


def as_object(value: Any) -> dict[str, Any]:
    """``value``, which must be a JSON object.

    Raises
    ------
    ScoresError
        It is a list, a string or a number.
    """
    if not isinstance(value, dict):
        raise ScoresError("the JSON is not an object", "write an object with the field 'scores'")
    return value
