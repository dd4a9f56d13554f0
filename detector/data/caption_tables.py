"""Captions as tables and plain text: CSV with a header, the text lists of UCA, and one text a line."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence

from kgvad.errors import ScoresError
from kgvad.files import decode_text
from kgvad.spreadsheets import delimiter_of

logger = logging.getLogger(__name__)
SUFFIXES = (".csv", ".tsv", ".txt")
UCA_LINE = re.compile(r"(?P<video>\S+)\s+(?P<start>[\d.:]+)\s+(?P<end>[\d.:]+)\s*##(?P<text>.*)")
Content = str | list[str] | list[Mapping[str, object]]


def decoded(data: bytes, where: str) -> str:
    """The text of a file: UTF-8 or UTF-16, else Windows-1252, which is logged; lines end with ``\\n``."""
    try:
        text = decode_text(data)
    except UnicodeDecodeError:
        logger.warning("%s is not UTF-8; it is read as Windows-1252", where)
        text = data.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_table(text: str, where: str, has_text: Callable[[Sequence[str]], bool]) -> Content:
    """Rows of a table whose first line names the columns, between commas, semicolons or tabs; of one column, its texts.

    Parameters
    ----------
    has_text
        Whether one of these columns is that of the captions.

    Raises
    ------
    ScoresError
        The first line names no such column, or a row has more or fewer values.
    """
    header = text.partition("\n")[0]
    delimiter = delimiter_of(header) or ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True) if row]
    except csv.Error as error:
        raise ScoresError(f"{where} is not a table ({error})", "save it as CSV with a header") from error
    names = rows.pop(0) if rows else []
    if not has_text(names):
        raise ScoresError(
            f"{where}: the first line names no column of captions, but {', '.join(names)[:100]}",
            "name the columns start (seconds) or start_frame, and text; for several videos also video",
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ScoresError(
                f"{where}: row {number} has {len(row)} values for {len(names)} columns",
                'put captions with commas into quotation marks: 0,"a man walks, then runs"',
            )
    if len(names) == 1:
        return [row[0] for row in rows]
    records: list[Mapping[str, object]] = [dict(zip(names, row, strict=True)) for row in rows]
    return records


def read_lines(text: str) -> Content:
    """What the lines of a plain text are: ``VIDEO START END ##TEXT`` of UCA, one text a line, or a single text."""
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    found = [UCA_LINE.fullmatch(line) for line in lines if line]
    rows: list[Mapping[str, object]] = [match.groupdict() for match in found if match]
    if rows and len(rows) == len(found):
        return rows
    return lines[0] if len(lines) == 1 else lines
