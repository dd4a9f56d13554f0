"""Anomaly scores of one video: what every scorer gives and ``explain`` needs, and its three file forms.

npz   arrays ``scores``, ``spans``, ``alignment``, ``concept_alignment``, ``probabilities`` and a JSON text ``about``
      with the rest
json  the same names in one object
csv   columns ``start,end,score``, then ``alignment/<category>``, ``concept/<number>`` and ``probability/<category>``;
      the first line may be ``# {...}`` with the rest as JSON

A file of another program needs ``scores`` only (CSV: ``start`` or ``frame``, and ``score``); what it leaves out is
taken from the video (``fps`` and ``frame_count`` given to :meth:`Scores.load`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from kgvad.arrays import open_npz
from kgvad.errors import ScoresError, UsageError
from kgvad.files import check_version, parse_json, read_json, reading, replacing, write_json, write_text
from kgvad.video import SNIPPET_FRAMES

VERSION = 1
REMEDY = "score the video again, or write the file again"
FORMATS = (".npz", ".csv", ".json")
TABLES = ("alignment", "concept_alignment", "probabilities")  # arrays with the rows of the scores


class Origin(BaseModel):
    """Where scores come from; what is not known stays ``None``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scorer: str = "unknown"  # detector name, "training-free", or another program
    trained: bool = False  # whether the scorer learned from labelled videos
    names_categories: Literal["yes", "hint", "no"] = "no"  # how far the alignment may be trusted to name the category
    encoder: str | None = None  # visual encoder of the features
    encoder_fingerprint: str | None = None
    run: str | None = None  # folder of the run
    run_fingerprint: str | None = None
    bank: str | None = None  # file of the anchor bank
    bank_fingerprint: str | None = None
    notes: list[str] = []  # sentences that a reader of the report should know


@dataclass(frozen=True, eq=False)
class Scores:
    """Anomaly scores of one video.

    Attributes
    ----------
    video
        Identifier or path of the video.
    fps
        Frames a second.
    frame_count
        Frames of the video.
    spans
        int64 [T, 2]: frames [start, end) that each row covers; ordered, without overlap.
    scores
        float32 [T]: anomaly score, 0..1.
    alignment
        float32 [T, C]: similarity of each row to each category, larger is closer; ``None`` where unknown.
    categories
        C names, as the dataset's lists spell them.
    normal
        Index of Normal in ``categories``; ``None`` where there is none.
    concept_alignment
        float32 [T, P]: similarity of each row to each concept of the bank, in the bank's order.
    probabilities
        float32 [T, C]: share of each category, Normal too, in each row; ``None`` where nobody asked for them
        (:class:`kgvad.detector.scoring.class_probabilities.ClassRule`).
    origin
        Where the scores come from.

    Raises
    ------
    ScoresError
        NaN or infinite values, scores outside 0..1, shapes that do not fit, spans that overlap or leave the video.
    """

    video: str
    fps: float
    frame_count: int
    spans: NDArray[np.int64]
    scores: NDArray[np.float32]
    alignment: NDArray[np.float32] | None = None
    categories: list[str] | None = None
    normal: int | None = None
    concept_alignment: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spans", _array(self.spans, np.int64, "spans", 2))
        object.__setattr__(self, "scores", _array(self.scores, np.float32, "scores", 1))
        for name in TABLES:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _array(value, np.float32, name, 2))
        _check(self)

    def per_frame(self) -> NDArray[np.float32]:
        """Score of every frame, float32 [frame_count]; frames in no span take the span before (or the first)."""
        rows = np.searchsorted(self.spans[:, 0], np.arange(self.frame_count), side="right") - 1
        return self.scores[np.maximum(rows, 0)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write npz, CSV or JSON, by the suffix of ``path``."""
        path = Path(path)
        suffix = _suffix(path)
        if suffix == ".csv":
            write_text(path, _to_csv(self))
        elif suffix == ".json":
            write_json(path, _about(self) | {name: value.tolist() for name, value in _arrays(self).items()})
        else:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, about=np.array(json.dumps(_about(self))), **_arrays(self))  # type: ignore[arg-type]

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        video: str | None = None,
        fps: float | None = None,
        frame_count: int | None = None,
    ) -> Scores:
        """Read what :meth:`save` wrote, or the scores of another program.

        Parameters
        ----------
        path
            npz, CSV or JSON file.
        video, fps, frame_count
            Of the video; used where the file does not say.

        Raises
        ------
        ScoresError
            The file is missing, damaged, or its content is wrong; the message names the file and the field.
        """
        path = Path(path)
        reader = {".npz": _from_npz, ".csv": _from_csv, ".json": _from_json}[_suffix(path)]
        if not path.is_file():
            raise ScoresError(f"{path} is {'a folder' if path.is_dir() else 'missing'}", "name a file of scores")
        try:
            with reading(path, ScoresError, REMEDY):
                return _build(reader(path), video or path.stem, fps, frame_count)
        except ScoresError as error:
            message = error.message if str(path) in error.message else f"{path}: {error.message}"
            raise ScoresError(message, error.remedy) from error.__cause__


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: unknown form of scores {suffix!r}", f"use {', '.join(FORMATS)}")
    return suffix


def _array(value: Any, dtype: Any, name: str, ndim: int) -> NDArray[Any]:
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "iuf" or (
            dtype is np.int64 and raw.dtype.kind == "f" and not (raw == raw.round()).all()
        ):
            raise ValueError
        array = np.ascontiguousarray(raw, dtype=dtype)
    except (ValueError, TypeError, OverflowError):
        kind = "whole numbers" if dtype is np.int64 else "numbers"
        raise ScoresError(f"{name} must be {kind} in equally long rows", "correct the file") from None
    if array.ndim != ndim:
        raise ScoresError(f"{name} has {array.ndim} dimensions instead of {ndim}", "correct the file")
    return array


def _check(given: Scores) -> None:
    def wrong(message: str) -> ScoresError:
        return ScoresError(message, "correct the file or score the video again")

    rows = len(given.scores)
    if rows == 0:
        raise wrong("there are no scores")
    bad = np.flatnonzero(~np.isfinite(given.scores))
    if len(bad):
        raise wrong(f"scores: row {bad[0]} is not a finite number")
    bad = np.flatnonzero((given.scores < 0) | (given.scores > 1))
    if len(bad):
        raise wrong(f"scores: row {bad[0]} is {given.scores[bad[0]]:g}, outside 0..1")
    if not (np.isfinite(given.fps) and given.fps > 0):
        raise wrong(f"fps is {given.fps}, not a positive number")
    if given.frame_count <= 0:
        raise wrong(f"frame_count is {given.frame_count}, not positive")
    if given.spans.shape != (rows, 2):
        raise wrong(f"spans has shape {list(given.spans.shape)} for {rows} scores")
    starts, ends = given.spans.T
    bad = np.flatnonzero((ends <= starts) | (starts < 0))
    if len(bad):
        raise wrong(f"spans: row {bad[0]} is [{starts[bad[0]]}, {ends[bad[0]]}), not a span of frames")
    bad = np.flatnonzero(starts[1:] < ends[:-1])
    if len(bad):
        raise wrong(f"spans: row {bad[0] + 1} starts at {starts[bad[0] + 1]}, before row {bad[0]} ends")
    if ends[-1] > given.frame_count:
        raise wrong(f"spans: the last ends at frame {ends[-1]} of a video of {given.frame_count}")
    for name in TABLES:
        value = getattr(given, name)
        if value is not None and len(value) != rows:
            raise wrong(f"{name} has {len(value)} rows for {rows} scores")
        if value is not None and not np.isfinite(value).all():
            raise wrong(f"{name}: row {np.flatnonzero(~np.isfinite(value).all(axis=1))[0]} is not finite")
    names = given.categories or []
    for name in ("alignment", "probabilities"):
        value = getattr(given, name)
        if value is not None and given.categories is None:
            raise wrong(f"{name} is given without categories")
        if value is not None and value.shape[1] != len(names):
            raise wrong(f"{name} has {value.shape[1]} columns for {len(names)} categories")
    if given.probabilities is not None and not ((given.probabilities >= 0) & (given.probabilities <= 1)).all():
        raise wrong("probabilities must be 0..1")
    if len(set(names)) != len(names) or not all(names):
        raise wrong("categories must be different names")
    if given.normal is not None and not 0 <= given.normal < len(names):
        raise wrong(f"normal is {given.normal}, not the index of a category")


def _about(given: Scores) -> dict[str, Any]:
    return {
        "version": VERSION,
        "video": given.video,
        "fps": given.fps,
        "frame_count": given.frame_count,
        "categories": given.categories,
        "normal": given.normal,
        "origin": given.origin.model_dump(),
    }


def _number(value: Any, name: str) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ScoresError(f"{name} is {str(value)[:40]!r}, not a number", "correct the file")
    return value


def _arrays(given: Scores) -> dict[str, NDArray[Any]]:
    names = ("spans", "scores", *TABLES)
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _build(fields: Mapping[str, Any], video: str, fps: float | None, frame_count: int | None) -> Scores:
    if fields.get("version") is not None:  # files of other programs have none
        check_version(fields, "the file of scores", VERSION, ScoresError, REMEDY)
    known = {"version", "video", "fps", "frame_count", "categories", "normal", "origin"}
    known |= {"spans", "scores", *TABLES}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ScoresError(f"unknown field {unknown[0]!r}", f"known fields are {', '.join(sorted(known))}")
    if fields.get("scores") is None:
        raise ScoresError("there is no field 'scores'", "give one score per row")
    rate = _number(fields.get("fps"), "fps") or fps
    if rate is None:
        raise ScoresError("fps is not given", "add the field fps, or name the video that was scored")
    scores = _array(fields["scores"], np.float32, "scores", 1)
    count = _number(fields.get("frame_count"), "frame_count") or frame_count
    spans = fields.get("spans")
    if spans is None:
        starts = np.arange(len(scores)) * SNIPPET_FRAMES
        spans = np.stack([starts, starts + SNIPPET_FRAMES], axis=1)
        if count is not None and len(scores):  # the tail of the video belongs to the last row
            if not starts[-1] < count:
                raise ScoresError(
                    f"{len(scores)} scores do not fit a video of {count} frames, {SNIPPET_FRAMES} frames a score",
                    "add the field spans",
                )
            spans[-1, 1] = count
    spans = _array(spans, np.int64, "spans", 2)
    if count is None:
        count = int(spans[-1, 1]) if spans.shape[0] and spans.shape[1] == 2 else 0
    try:
        origin = Origin.model_validate(fields.get("origin") or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise ScoresError(f"origin.{'.'.join(map(str, first['loc']))}: {first['msg']}", "correct the file") from None
    categories = fields.get("categories")
    if categories is not None and not (isinstance(categories, list) and all(isinstance(c, str) for c in categories)):
        raise ScoresError("categories must be a list of names", "correct the file")
    normal = fields.get("normal")
    if normal is not None and (not isinstance(normal, int) or isinstance(normal, bool)):
        raise ScoresError(f"normal is {normal!r}, not the index of a category", "correct the file")
    return Scores(
        video=str(fields.get("video") or video),
        fps=float(rate),
        frame_count=int(count),
        spans=spans,
        scores=scores,
        alignment=fields.get("alignment"),
        categories=categories,
        normal=normal,
        concept_alignment=fields.get("concept_alignment"),
        probabilities=fields.get("probabilities"),
        origin=origin,
    )


def _from_npz(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise ScoresError("is a single array, not an npz file", "save it with numpy.savez(scores=...)")
    with open_npz(path, ScoresError, REMEDY) as bundle:
        fields: dict[str, Any] = {name: bundle[name] for name in bundle.names}
    about = fields.pop("about", None)
    for name in (
        "version",
        "video",
        "fps",
        "frame_count",
        "normal",
        "categories",
    ):  # another program's npz holds them as arrays
        if name in fields:
            fields[name] = fields[name].tolist()
    return fields | (
        _object(parse_json(str(about), f"{path}: about", ScoresError, REMEDY)) if about is not None else {}
    )


def _from_json(path: Path) -> dict[str, Any]:
    return _object(read_json(path, ScoresError, REMEDY))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ScoresError("the JSON is not an object", "write an object with the field 'scores'")
    return value


def _to_csv(given: Scores) -> str:
    out = io.StringIO()
    out.write(f"# {json.dumps(_about(given))}\n")
    names = ["start", "end", "score"]
    columns = [*given.spans.T.tolist(), given.scores.tolist()]
    if given.alignment is not None:
        names += [f"alignment/{name}" for name in given.categories or ()]
        columns += given.alignment.T.tolist()
    if given.concept_alignment is not None:
        names += [f"concept/{number}" for number in range(given.concept_alignment.shape[1])]
        columns += given.concept_alignment.T.tolist()
    if given.probabilities is not None:
        names += [f"probability/{name}" for name in given.categories or ()]
        columns += given.probabilities.T.tolist()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def _from_csv(path: Path) -> dict[str, Any]:
    text = path.read_text("utf-8-sig")
    first, _, rest = text.partition("\n")
    fields = _object(parse_json(first[1:], f"{path}, line 1", ScoresError, REMEDY)) if first.startswith("#") else {}
    reader = csv.reader(io.StringIO(rest if first.startswith("#") else text))
    names = [name.strip() for name in next(reader, [])]
    rows = [row for row in reader if row]
    start = next((name for name in ("start", "frame") if name in names), None)
    if start is None or "score" not in names:
        raise ScoresError("the first line does not name the columns start (or frame) and score", "add a header line")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ScoresError(f"row {number + 1} has {len(row)} values for {len(names)} columns", "correct the file")
    table = dict(zip(names, np.array(rows, dtype=np.float64).reshape(-1, len(names)).T, strict=True))
    fields["scores"] = table["score"]
    starts = table[start]
    if "end" in table:
        fields["spans"] = np.stack([starts, table["end"]], axis=1)
    elif len(starts):  # each row lasts until the next; the last as long as the one before
        step = starts[-1] - starts[-2] if len(starts) > 1 else SNIPPET_FRAMES
        end = starts[-1] + step
        fields["spans"] = np.stack([starts, np.append(starts[1:], min(end, fields.get("frame_count") or end))], axis=1)
    for target, prefix in zip(TABLES, ("alignment/", "concept/", "probability/"), strict=True):
        chosen = [name for name in names if name.startswith(prefix)]
        if chosen:
            fields[target] = np.stack([table[name] for name in chosen], axis=1)
        if chosen and target == "alignment":
            fields.setdefault("categories", [name.removeprefix(prefix) for name in chosen])
    return fields
