"""Scores as an npz archive: the arrays under their names, everything else as JSON text in ``about``.

Archives of other programs may have one array for each video, under its name.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from kgvad.arrays import open_npz
from kgvad.detector.scoring.formats.json_format import REMEDY, as_object
from kgvad.detector.scoring.formats.npy_format import flat
from kgvad.detector.scoring.formats.tables import of_video
from kgvad.errors import ScoresError
from kgvad.files import parse_json, replacing
from kgvad.types import Fields

OWN = {"scores", "about"}  # names of arrays in a file of one video
PLAIN_FIELDS = ("version", "video", "fps", "frame_count", "normal", "categories")  # arrays in files of other programs


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise ScoresError("is a single array, not an npz file", "rename it to .npy, or use numpy.savez(scores=...)")
    with open_npz(path, ScoresError, REMEDY) as bundle:
        if not OWN.intersection(bundle.names):
            alone = bundle.names == ["arr_0"]  # numpy.savez without a name
            return {"scores": flat(bundle["arr_0" if alone else of_video({one: one for one in bundle.names}, video)])}
        fields: Fields = {name: bundle[name] for name in bundle.names}
    about = fields.pop("about", None)
    for name in PLAIN_FIELDS:
        if name in fields:
            fields[name] = fields[name].tolist()
    if about is not None:
        fields |= as_object(parse_json(str(about), f"{path}: about", ScoresError, REMEDY))
    return fields


def read_videos(path: Path) -> dict[str, Fields]:
    """Fields of each video of the file; empty where it has those of one."""
    with open_npz(path, ScoresError, REMEDY) as bundle:
        if OWN.intersection(bundle.names):
            return {}
        return {name: {"scores": flat(bundle[name])} for name in bundle.names}


def write(path: Path, fields: Fields) -> None:
    """Write the fields."""
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    about = {name: value for name, value in fields.items() if name not in arrays}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
