"""File formats of anomaly scores: one module a format, each with ``read`` and ``write``.

A file of another program needs ``scores`` only (CSV: ``start`` or ``frame``, and ``score``); what it leaves out is
taken from the video (:meth:`kgvad.detector.scoring.scores.Scores.load`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from kgvad.detector.scoring.formats import csv_format, json_format, npz_format
from kgvad.errors import UsageError


class Codec(Protocol):
    """Reads and writes the fields of :meth:`kgvad.detector.scoring.scores.Scores.to_fields`."""

    def read(self, path: Path) -> dict[str, Any]:
        """Fields of the file, as it has them; nothing is checked but the format."""
        ...

    def write(self, path: Path, fields: dict[str, Any]) -> None:
        """Write the fields; arrays are NumPy arrays, the rest is ready for JSON."""
        ...


CODECS: dict[str, Codec] = {".npz": npz_format, ".csv": csv_format, ".json": json_format}


def codec_for(path: Path) -> Codec:
    """The codec of the format that the suffix of ``path`` names.

    Raises
    ------
    UsageError
        The suffix is unknown.
    """
    suffix = path.suffix.lower()
    if suffix not in CODECS:
        raise UsageError(f"{path}: unknown format of scores {suffix!r}", f"use {', '.join(CODECS)}")
    return CODECS[suffix]
