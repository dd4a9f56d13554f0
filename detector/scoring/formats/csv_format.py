"""Scores as a CSV table.

The columns are ``start``, ``end`` and ``score``, then ``alignment/<category>``, ``concept/<number>`` and
``probability/<category>``. The first line may be ``# {...}`` with everything else as JSON. In files of other programs
the first column may be called ``frame``, and ``end`` may be missing. Columns ``time``, ``seconds``, ``timestamp``,
``start_s`` and ``end_s`` are seconds. A file with the column ``score`` alone has one score a frame or a snippet. A
column ``video`` tells whose a score is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np

from kgvad.detector.scoring.formats.json_format import REMEDY, as_object
from kgvad.detector.scoring.formats.tables import PREFIXES, fields_by_video, fields_of, has_clock, plain
from kgvad.errors import ScoresError
from kgvad.files import decode_text, parse_json, write_text
from kgvad.spreadsheets import delimiter_of
from kgvad.types import Fields


def read(path: Path, video: str | None) -> Fields:
    """Fields of the file."""
    about, names, rows = _parsed(path)
    found = fields_of(names, rows, video)
    if "categories" in about:
        found.pop("categories", None)
    return about | found


def read_videos(path: Path) -> dict[str, Fields]:
    """Fields of each video of the file; empty where it has those of one."""
    _, names, rows = _parsed(path)
    return fields_by_video(names, rows)


def _parsed(path: Path) -> tuple[Fields, list[str], list[list[str]]]:
    """What the comment of the first line says, names of the columns, and rows."""
    text = decode_text(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.partition("\n")
    about: Fields = {}
    if first.startswith("#"):
        written = first[1:].strip()
        if written.startswith("{"):
            about = as_object(parse_json(written, f"{path}, line 1", ScoresError, REMEDY))
        text = f"{written}\n{rest}" if not about and "score" in _names(written)[0] else rest
    return about, *_table(text)


def _names(line: str) -> tuple[list[str], str | None]:
    """Names of the columns of a header, and what stands between them; ``None``: blanks."""
    delimiter = delimiter_of(line)
    if delimiter is not None:
        return [plain(name) for name in next(csv.reader([line], delimiter=delimiter))], delimiter
    whole = plain(line.strip().strip('"'))
    names = [plain(name) for name in line.split()]
    return ([whole], ",") if whole == "score" or len(names) < 2 else (names, None)


def _table(text: str) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the rows; lines that begin with ``#`` are comments."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    names, delimiter = _names(lines[0]) if lines else ([], ",")
    if delimiter is None:
        rows = [line.split() for line in lines[1:]]
    else:
        rows = list(csv.reader(lines[1:], delimiter=delimiter, skipinitialspace=True))
    if len(names) == 1 and _is_number(names[0]):
        names, rows = ["score"], [names, *rows]
    if len(names) == 2 and names[0] == "" and [row[0] for row in rows] == [str(index) for index in range(len(rows))]:
        names, rows = names[1:], [row[1:] for row in rows]  # running numbers, as pandas writes them
    if "score" not in names or (len(names) > 1 and not has_clock(names)):
        raise ScoresError(
            "the first line does not name the columns start, frame or time, and score",
            "add a header line; time is in seconds, start and frame are frames",
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ScoresError(f"row {number} has {len(row)} values for {len(names)} columns", "correct the file")
    if delimiter != ",":  # there a comma is a decimal point
        rows = [[re.sub(r"^(\d*),(\d+)$", r"\1.\2", cell.strip()) for cell in row] for row in rows]
    return names, rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
