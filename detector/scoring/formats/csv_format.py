"""Scores as a CSV table.

The columns are ``start``, ``end`` and ``score``, then ``alignment/<category>``, ``concept/<number>`` and
``probability/<category>``. The first line may be ``# {...}`` with everything else as JSON. In files of other programs
the first column may be called ``frame``, and ``end`` may be missing.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.formats.json_format import REMEDY, as_object
from kgvad.errors import ScoresError
from kgvad.files import parse_json, write_text
from kgvad.video import SNIPPET_FRAMES

PREFIXES = {"alignment": "alignment/", "concept_alignment": "concept/", "probabilities": "probability/"}
Columns = dict[str, NDArray[np.float64]]


def read(path: Path) -> dict[str, Any]:
    """Fields of the file."""
    text = path.read_text("utf-8-sig")
    first, _, rest = text.partition("\n")
    fields: dict[str, Any] = {}
    if first.startswith("#"):
        fields = as_object(parse_json(first[1:], f"{path}, line 1", ScoresError, REMEDY))
        text = rest
    columns = _columns(text)
    fields["scores"] = columns["score"]
    spans = _spans(columns, fields.get("frame_count"))
    if spans is not None:
        fields["spans"] = spans
    for name, prefix in PREFIXES.items():
        chosen = [column for column in columns if column.startswith(prefix)]
        if chosen:
            fields[name] = np.stack([columns[column] for column in chosen], axis=1)
        if chosen and name == "alignment":
            fields.setdefault("categories", [column.removeprefix(prefix) for column in chosen])
    return fields


def _columns(text: str) -> Columns:
    """Values by column, float64 [T] each."""
    reader = csv.reader(io.StringIO(text))
    names = [name.strip() for name in next(reader, [])]
    if "score" not in names or not {"start", "frame"}.intersection(names):
        raise ScoresError("the first line does not name the columns start (or frame) and score", "add a header line")
    rows = [row for row in reader if row]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ScoresError(f"row {number + 1} has {len(row)} values for {len(names)} columns", "correct the file")
    values = np.array(rows, dtype=np.float64).reshape(-1, len(names))
    return dict(zip(names, values.T, strict=True))


def _spans(columns: Columns, frame_count: int | None) -> NDArray[np.float64] | None:
    """Frames [start, end) of each row, [T, 2]; without ends, a row ends where the next starts.

    The last row is then as long as the one before, or ends with the video.
    """
    starts = columns["start"] if "start" in columns else columns["frame"]
    if "end" in columns:
        return np.stack([starts, columns["end"]], axis=1)
    if not len(starts):
        return None
    step = starts[-1] - starts[-2] if len(starts) > 1 else SNIPPET_FRAMES
    end = starts[-1] + step
    return np.stack([starts, np.append(starts[1:], min(end, frame_count or end))], axis=1)


def write(path: Path, fields: dict[str, Any]) -> None:
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
