"""File formats of anomaly scores: one module a format, each with ``read`` and ``write``.

A file of another program needs ``scores`` only; what it leaves out is taken from the video
(:meth:`kgvad.detector.scoring.scores.Scores.load`). Where it says when a score starts, the clock is frames or seconds:
fields ``spans`` and ``starts`` are frames, ``spans_s`` and ``starts_s`` are seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kgvad.detector.scoring.formats import csv_format, json_format, npy_format, npz_format
from kgvad.errors import UsageError
from kgvad.types import Fields


class Codec(Protocol):
    """Reads and writes the fields of :meth:`kgvad.detector.scoring.scores.Scores.to_fields`."""

    def read(self, path: Path, video: str | None) -> Fields:
        """Fields of the file, as it has them; nothing is checked but the format.

        Parameters
        ----------
        path
            The file.
        video
            Whose scores are wanted, for a file of several videos.
        """
        ...

    def read_videos(self, path: Path) -> dict[str, Fields]:
        """Fields of each video of the file; empty where it has those of one."""
        ...

    def write(self, path: Path, fields: Fields) -> None:
        """Write the fields; arrays are NumPy arrays, the rest is ready for JSON."""
        ...


CODECS: dict[str, Codec] = {
    ".npz": npz_format, ".csv": csv_format, ".tsv": csv_format, ".json": json_format, ".jsonl": json_format,
    ".npy": npy_format,
}  # fmt: skip


def codec_for(path: Path) -> Codec:
    """The codec of the format that the suffix of ``path`` names.

    Raises
    ------
    UsageError
        The suffix is unknown.
    """
    suffix = format_of(path)
    if suffix is None:
        raise UsageError(f"{path}: unknown format of scores {path.suffix!r}", f"use {', '.join(CODECS)}")
    return CODECS[suffix]


def format_of(path: Path) -> str | None:
    """The suffix in :data:`CODECS` that names the format of ``path``; JSON may be gzipped (``.json.gz``)."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-2:] == [".json", ".gz"]:
        return ".json"
    return suffixes[-1] if suffixes and suffixes[-1] in CODECS else None


def read_videos(path: Path) -> dict[str, Fields]:
    """Fields of each video of a file of several; empty where the file has the scores of one.

    Raises
    ------
    UsageError
        The suffix is unknown.
    ScoresError
        The file is damaged.
    """
    return codec_for(path).read_videos(path)
