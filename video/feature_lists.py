"""Lists of feature files: one grammar for the lists that projects of the field publish.

A line names a file and, where it has them, label, split, frames and frame rate of the video. With a header, columns
have names in any order (``path,label``; an index column is ignored). Without a header a line is a path, perhaps behind
a running number, and perhaps followed by a label. Blanks and commas in paths, CRLF, a byte order mark, quotes,
backslashes and drive letters do no harm.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kgvad.errors import FeatureError
from kgvad.files import decode_text, reading
from kgvad.video.video_ids import ARRAY_SUFFIXES, VIDEO_SUFFIXES

Split = Literal["train", "test"]
LIST_SUFFIXES = (".csv", ".tsv", ".list", ".lst", ".txt")
COLUMNS = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "video",
        "name",
        "video_name",
        "video_path",
        "video_id",
        "feature",
        "features",
        "feature_path",
        "feature_file",
        "npy_path",
    ),
    "label": (
        "label",
        "labels",
        "class",
        "category",
        "event",
        "anomaly",
        "class_name",
        "label_name",
        "category_name",
        "video_label",
    ),
    "split": ("split", "subset", "set"),
    "frames": ("frames", "n_frames", "num_frames", "frame_count", "nframes"),
    "fps": ("fps", "frame_rate", "framerate"),
}
_SPLIT_WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "val": "test", "valid": "test", "validation": "test", "test": "test",
    "testing": "test",
}  # fmt: skip
_KNOWN = "|".join(re.escape(suffix) for suffix in (*ARRAY_SUFFIXES, *VIDEO_SUFFIXES))
_ENTRY = re.compile(rf"^(?P<path>.*?(?:{_KNOWN}))[\"']?(?:$|\s*[,;|\t]\s*|\s+)(?P<rest>.*)$", re.IGNORECASE)
_COMMENT = re.compile(rf"#(?!.*(?:{_KNOWN}))", re.IGNORECASE)
DELIMITERS = (",", ";", "\t", "|")
_INDEX = re.compile(r"^(\d+)\s*[\s,;]\s*")


@dataclass(frozen=True)
class Line:
    """One line of a list.

    Attributes
    ----------
    path
        As it stands in the list.
    where
        List and line number, for messages.
    label, split, frames, fps
        What the line says of the video; ``None`` where it does not.
    """

    path: str
    where: str
    label: str | None = None
    split: Split | None = None
    frames: int | None = None
    fps: float | None = None


def split_of(name: str) -> Split | None:
    """The split that a word of ``name`` names, also at the end of one (``ucf_CLIP_rgbtest.csv``); ``None``: none."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    for word in words:
        plain = re.sub(r"^(rgb|flow|clip|audio|i?3d|feat)+(?=train|test|val)", "", word)
        if plain in _SPLIT_WORDS:
            return _SPLIT_WORDS[plain]
    return None


def read_list(path: Path) -> list[Line]:
    """Lines of a list of feature files.

    Raises
    ------
    FeatureError
        The list is missing, empty, or a line of it cannot be read; the message names list and line.
    """
    texts = _texts(path)
    if not texts:
        raise FeatureError(f"{path} names no feature files", "name a list with one file a line")
    if all(_is_number(word) for _, text in texts[:3] for word in re.split(r"[\s,;]+", text.strip(",; \t"))):
        raise FeatureError(
            f"{path} holds numbers, not names of files",
            "name a list of files; features as text are read from .txt, one row a line",
        )
    header = _header(texts[0][1])
    split = split_of(path.stem)
    found = _with_columns(path, texts, header) if header is not None else _without_columns(path, texts)
    _check_labels(found)
    if not found:
        raise FeatureError(f"{path} names no feature files", "name a list with one file a line")
    return [replace(line, split=line.split or split) for line in found]


def line_of_attributes(name: str, where: str, attributes: Mapping[str, str | float]) -> Line | None:
    """What attributes of an array say of its video, as a line of a list would; ``None``: nothing."""
    cells = {
        kind: next((str(attributes[key]) for key in known if key in attributes), None)
        for kind, known in COLUMNS.items()
        if kind != "path"
    }
    return _line(where, {**cells, "path": name}) if any(cells.values()) else None


def is_list(path: Path) -> bool:
    """Whether a file is a list by its suffix, and not the features of one video as text."""
    if path.suffix.lower() not in LIST_SUFFIXES:
        return False
    if path.suffix.lower() != ".txt" or not path.is_file():
        return True
    with path.open("rb") as file:
        first = file.readline(1 << 16).decode("utf-8", "replace").replace(",", " ").split()
    return not (len(first) > 1 and all(_is_number(word) for word in first[:20]))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _texts(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    remedy = "name a list of feature files in UTF-8"
    with reading(path, FeatureError, remedy):
        text = decode_text(path.read_bytes())
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    return [(number, text) for number, line in lines if (text := line.strip()) and not _COMMENT.match(text)]


def _header(line: str) -> tuple[str, list[str]] | None:
    """Delimiter and names of the columns, where a line names them."""
    if _ENTRY.match(line):
        return None
    for delimiter in DELIMITERS:
        names = [name.strip().strip("\"'").lower().replace(" ", "_") for name in line.split(delimiter)]
        if any(name in COLUMNS["path"] for name in names):
            return delimiter, names
    return None


def _with_columns(path: Path, texts: Sequence[tuple[int, str]], header: tuple[str, list[str]]) -> list[Line]:
    delimiter, names = header
    place = {
        kind: next((names.index(name) for name in known if name in names), None) for kind, known in COLUMNS.items()
    }
    at = place["path"]
    assert at is not None  # `_header` found it
    with reading(path, FeatureError, "name a list of feature files"):
        rows = list(csv.reader((text for _, text in texts[1:]), delimiter=delimiter, skipinitialspace=True))
    if len(rows) != len(texts) - 1:
        raise FeatureError(f"{path}: a quoted cell goes over several lines", "write one file a line")
    found = []
    for (number, text), row in zip(texts[1:], rows, strict=True):
        where = f"{path}, line {number}"
        extra = len(row) - len(names)
        if extra > 0:  # a path with commas, unquoted
            row = [*row[:at], delimiter.join(row[at : at + extra + 1]), *row[at + extra + 1 :]]
        if len(row) <= at or not row[at].strip():
            raise FeatureError(f"{where}: {text[:60]!r} names no file", "correct the line")
        cells = {
            kind: row[index].strip() or None for kind, index in place.items() if index is not None and index < len(row)
        }
        found.append(_line(where, cells))
    return found


def _line(where: str, cells: dict[str, str | None]) -> Line:
    split = cells.get("split")
    if split is not None and split.lower() not in _SPLIT_WORDS:
        raise FeatureError(f"{where}: {split!r} is not a split", f"use one of {', '.join(_SPLIT_WORDS)}")
    try:
        frames, fps = cells.get("frames"), cells.get("fps")
        count = None if frames is None else int(float(frames))
        rate = None if fps is None else float(fps)
    except (ValueError, OverflowError):
        raise FeatureError(f"{where}: frames or fps is not a number", "correct the line") from None
    if (count is not None and count < 1) or (rate is not None and not 0 < rate < 1e4):
        raise FeatureError(f"{where}: frames and fps must be above 0", "correct the line")
    return Line(
        str(cells["path"]),
        where,
        cells.get("label"),
        None if split is None else _SPLIT_WORDS[split.lower()],
        count,
        rate,
    )


def _without_columns(path: Path, texts: Sequence[tuple[int, str]]) -> list[Line]:
    numbers = [int(match[1]) if (match := _INDEX.match(text)) else None for _, text in texts]
    counted = len(texts) > 1 and numbers in (list(range(len(texts))), list(range(1, len(texts) + 1)))
    bare = not any(_ENTRY.match(text) for _, text in texts)
    found = []
    for number, text in texts:
        where = f"{path}, line {number}"
        text = _INDEX.sub("", text) if counted else text
        match = _ENTRY.match(text)
        if match is None and not bare:
            raise FeatureError(
                f"{where}: {text[:60]!r} does not name a file ending in {' or '.join(ARRAY_SUFFIXES)}",
                "correct the line, or name the columns in a first line path,label",
            )
        name, rest = (match["path"], match["rest"]) if match else _bare(text)
        label, name = _leading_label(name)
        found.append(Line(name.strip(" \"'"), where, _trailing_label(rest) if label is None else label))
    return found


def _bare(text: str) -> tuple[str, str]:
    """Name and rest of a line whose name has no suffix."""
    parts = re.split(r"\s*[,;\t]\s*", text, maxsplit=1) if re.search(r"[,;\t]", text) else text.split(maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def _leading_label(name: str) -> tuple[str | None, str]:
    """The label of ``Abuse,/data/x.npy``, and the path."""
    match = re.match(r"^([^/\\.,;\t\"']+)\s*[,;\t]\s*(?=\S*[/\\])", name)
    return (match[1].strip(), name[match.end() :]) if match else (None, name)


def _trailing_label(rest: str) -> str | None:
    """The label behind a path: one word, or the only word among numbers; several numbers are no label."""
    words = [word.strip("\"'") for word in re.split(r"[\s,;]+", rest.strip()) if word.strip("\"'")]
    named = [word for word in words if not _is_number(word)]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        return rest.strip().strip("\"'")
    return words[0] if len(words) == 1 else None


def _check_labels(lines: Sequence[Line]) -> None:
    if any(line.label for line in lines):
        for line in lines:
            if not line.label:
                raise FeatureError(f"{line.where}: {line.path[-60:]} has no label, other lines have one", "add it")
