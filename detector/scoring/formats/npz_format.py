"""Scores as an npz archive: the arrays under their names, everything else as JSON text in ``about``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kgvad.arrays import open_npz
from kgvad.detector.scoring.formats.json_format import REMEDY, as_object
from kgvad.errors import ScoresError
from kgvad.files import parse_json, replacing
from kgvad.types import Fields

PLAIN_FIELDS = ("version", "video", "fps", "frame_count", "normal", "categories")  # arrays in files of other programs


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise ScoresError("is a single array, not an npz file", "rename it to .npy, or use numpy.savez(scores=...)")
    with open_npz(path, ScoresError, REMEDY) as bundle:
        fields: Fields = {name: bundle[name] for name in bundle.names}
    about = fields.pop("about", None)
    for name in PLAIN_FIELDS:
        if name in fields:
            fields[name] = fields[name].tolist()
    if about is not None:
        fields |= as_object(parse_json(str(about), f"{path}: about", ScoresError, REMEDY))
    return fields


def write(path: Path, fields: Fields) -> None:
    """Write the fields."""
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    about = {name: value for name, value in fields.items() if name not in arrays}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
