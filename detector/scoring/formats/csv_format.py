"""Scores as a CSV table.

The columns are ``start``, ``end`` and ``score``, then ``alignment/<category>``, ``concept/<number>`` and
``probability/<category>``. The first line may be ``# {...}`` with everything else as JSON. In files of other programs
the first column may be called ``frame``, and ``end`` may be missing. Columns ``time``, ``seconds``, ``timestamp``,
``start_s`` and ``end_s`` are seconds. A file with the column ``score`` alone has one score a frame or a snippet.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.formats.json_format import REMEDY, as_object
from kgvad.errors import ScoresError
from kgvad.files import encoding_of, parse_json, write_text
from kgvad.types import Fields

PREFIXES = {"alignment": "alignment/", "concept_alignment": "concept/", "probabilities": "probability/"}
FRAMES = ("start", "frame")  # columns that say where a row starts
SECONDS = ("start_s", "time", "time_s", "seconds", "second", "timestamp", "t")
Columns = dict[str, NDArray[np.float64]]


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    data = path.read_bytes()
    text = data.decode(encoding_of(data)).replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.partition("\n")
    fields: Fields = {}
    if first.startswith("#"):
        fields = as_object(parse_json(first[1:], f"{path}, line 1", ScoresError, REMEDY))
        text = rest
    columns = _columns(text)
    fields["scores"] = columns["score"]
    fields |= _clock(columns)
    for name, prefix in PREFIXES.items():
        chosen = [column for column in columns if column.startswith(prefix)]
        if chosen:
            fields[name] = np.stack([columns[column] for column in chosen], axis=1)
        if chosen and name == "alignment":
            fields.setdefault("categories", [column.removeprefix(prefix) for column in chosen])
    return fields


def _columns(text: str) -> Columns:
    """Values by column, float64 [T] each, ordered by start."""
    delimiter = next((mark for mark in "\t;," if mark in text.partition("\n")[0]), ",")
    lines = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    names = [_plain(name) for name in lines[0]] if lines else []
    if len(names) == 1 and _is_number(names[0]):
        lines, names = [["score"], *lines], ["score"]
    if "score" not in names or (len(names) > 1 and not {*FRAMES, *SECONDS}.intersection(names)):
        raise ScoresError(
            "the first line does not name the columns start, frame or time, and score",
            "add a header line; time is in seconds, start and frame are frames",
        )
    rows = [row for row in lines[1:] if row]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ScoresError(f"row {number + 1} has {len(row)} values for {len(names)} columns", "correct the file")
    if delimiter == ";":  # there a comma is a decimal point
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    values = np.array(rows, dtype=np.float64).reshape(-1, len(names))
    start = next((names.index(name) for name in (*FRAMES, *SECONDS) if name in names), None)
    if start is not None:
        values = values[np.argsort(values[:, start], kind="stable")]
    return dict(zip(names, values.T, strict=True))


_PLAIN = (*FRAMES, *SECONDS, "end", "end_s", "score")
_SYNONYMS = {
    "start_frame": "start", "frame_id": "frame", "frame_index": "frame", "end_frame": "end", "start_time": "start_s",
    "end_time": "end_s", "anomaly_score": "score", "scores": "score",
}  # fmt: skip


def _plain(name: str) -> str:
    plain = name.strip().lower().replace(" ", "_")
    plain = _SYNONYMS.get(plain, plain)
    return plain if plain in _PLAIN else name.strip()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _clock(columns: Columns) -> Fields:
    """Where rows start and end, by the clock of the file: frames before seconds."""
    for clock, names, end in (("", FRAMES, "end"), ("_s", SECONDS, "end_s")):
        starts = next((columns[name] for name in names if name in columns), None)
        if starts is not None and end in columns:
            return {f"spans{clock}": np.stack([starts, columns[end]], axis=1)}
        if starts is not None:
            return {f"starts{clock}": starts}
    return {}


def write(path: Path, fields: Fields) -> None:
    """Write the fields."""
    names = ["start", "end", "score"]
    columns = [*fields["spans"].T.tolist(), fields["scores"].tolist()]
    for name, prefix in PREFIXES.items():
        if name in fields:
            table = fields[name]
            labels = range(table.shape[1]) if name == "concept_alignment" else fields["categories"]
            names += [f"{prefix}{label}" for label in labels]
            columns += table.T.tolist()
    about = {name: value for name, value in fields.items() if not isinstance(value, np.ndarray)}
    out = io.StringIO()
    out.write(f"# {json.dumps(about)}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    write_text(path, out.getvalue())
