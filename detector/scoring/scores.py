"""Anomaly scores of one video: what every scorer returns and ``explain`` needs.

They are kept as npz, CSV or JSON (:mod:`kgvad.detector.scoring.formats`).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from kgvad.detector.data.clock import VideoClock
from kgvad.detector.scoring.formats import codec_for
from kgvad.detector.scoring.formats.json_format import REMEDY
from kgvad.detector.scoring.score_checks import as_array, check
from kgvad.detector.scoring.score_spans import CLOCKS, clock_in_words, spans_of
from kgvad.detector.thresholds import RunThresholds
from kgvad.errors import ScoresError, first_fault
from kgvad.files import check_version, reading
from kgvad.types import Fields

logger = logging.getLogger(__name__)

VERSION = 1  # of a file of scores
FORMATS = (".npz", ".csv", ".json")  # suffixes of the files that are written
TABLES = ("alignment", "concept_alignment", "probabilities")  # arrays with one row for each snippet
FIELDS = ("version", "video", "fps", "frame_count", "categories", "normal", "origin", *CLOCKS, "scores", *TABLES)


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
    thresholds: RunThresholds | None = None  # of the run, measured on held-out training videos
    notes: list[str] = []  # sentences that a reader of the report should know


@dataclass(frozen=True, eq=False)
class Scores:
    """Anomaly scores of the T snippets of one video.

    Attributes
    ----------
    video
        Identifier or path of the video.
    fps
        Frames per second.
    frame_count
        Frames of the video.
    spans
        int64 [T, 2]: frames [start, end) of each snippet; ordered, without overlap.
    scores
        float32 [T]: anomaly scores, 0..1.
    alignment
        float32 [T, C]: similarity of each snippet to each category, larger is closer; ``None`` where unknown.
    categories
        C names, as the dataset's lists spell them.
    normal
        Index of Normal in ``categories``; ``None`` where there is none.
    concept_alignment
        float32 [T, P]: similarity of each snippet to each concept of the bank, in the bank's order.
    probabilities
        float32 [T, C]: class probabilities of each snippet, with Normal; ``None`` unless they were asked for
        (:class:`kgvad.detector.scoring.class_probabilities.ClassRule`).
    origin
        Where the scores come from.

    Raises
    ------
    ScoresError
        NaN or infinite values, scores outside 0..1, shapes that do not match, spans that overlap or leave the video.
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
        object.__setattr__(self, "spans", as_array(self.spans, np.int64, "spans", 2))
        object.__setattr__(self, "scores", as_array(self.scores, np.float32, "scores", 1))
        for name in TABLES:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, as_array(value, np.float32, name, 2))
        check(self)

    def per_frame(self) -> NDArray[np.float32]:
        """Score of every frame, float32 [frame_count]; a frame in no span takes the span before it (or the first)."""
        snippet = np.searchsorted(self.spans[:, 0], np.arange(self.frame_count), side="right") - 1
        return self.scores[np.maximum(snippet, 0)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write npz, CSV or JSON, by the suffix of ``path``."""
        codec_for(Path(path)).write(Path(path), self.to_fields())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        video: str | None = None,
        fps: float | None = None,
        frame_count: int | None = None,
        frame_times: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Read what :meth:`save` wrote, or the scores from another program.

        Parameters
        ----------
        path
            npz, CSV, JSON or npy file.
        video, fps, frame_count, frame_times
            Of the video; used where the file does not say.

        Raises
        ------
        ScoresError
            The file is missing, damaged, or its content is wrong; the message names the file and the field.
        """
        path = Path(path)
        codec = codec_for(path)
        if not path.is_file():
            raise ScoresError(f"{path} is {'a folder' if path.is_dir() else 'missing'}", "name a file of scores")
        try:
            with reading(path, ScoresError, REMEDY):
                fields = codec.read(path, video)
                found = cls.from_fields(fields, video or path.stem, fps, frame_count, frame_times)
        except ScoresError as error:
            message = error.message if str(path) in error.message else f"{path}: {error.message}"
            raise ScoresError(message, error.remedy) from error.__cause__
        if said := clock_in_words(fields, found.spans, found.frame_count):
            logger.info(said)
        return found

    def to_fields(self) -> Fields:
        """Fields of a file: arrays as they are, everything else ready for JSON; tables that are ``None`` left out."""
        about = {
            "version": VERSION,
            "video": self.video,
            "fps": self.fps,
            "frame_count": self.frame_count,
            "categories": self.categories,
            "normal": self.normal,
            "origin": self.origin.model_dump(),
        }
        arrays = {name: getattr(self, name) for name in ("spans", "scores", *TABLES)}
        return about | {name: value for name, value in arrays.items() if value is not None}

    @classmethod
    def from_fields(
        cls,
        fields: Fields,
        video: str,
        fps: float | None = None,
        frame_count: int | None = None,
        frame_times: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Scores from the fields of a file, with defaults for what the file of another program leaves out.

        Raises
        ------
        ScoresError
            A field is unknown, missing or wrong.
        """
        if fields.get("version") is not None:  # files of other programs have none
            check_version(fields, "the file of scores", VERSION, ScoresError, REMEDY)
        unknown = sorted(set(fields) - set(FIELDS))
        if unknown:
            raise ScoresError(f"unknown field {unknown[0]!r}", f"known fields are {', '.join(sorted(FIELDS))}")
        if fields.get("scores") is None:
            raise ScoresError("there is no field 'scores'", "give one score for each snippet")
        rate = _number(fields, "fps") or fps
        if rate is None:
            raise ScoresError("fps is not given", "add the field fps, or name the video that was scored")
        scores = as_array(fields["scores"], np.float32, "scores", 1)
        count = _number(fields, "frame_count") or frame_count
        known = VideoClock(float(rate), None if count is None else int(count), frame_times)
        spans = as_array(spans_of(fields, len(scores), known), np.int64, "spans", 2)
        if not any(fields.get(name) is not None for name in CLOCKS):
            scores = scores[: len(spans)]  # programs that repeat the score of a snippet 16 times go on after the end
        if count is None:
            count = int(spans[-1, 1]) if spans.shape[0] and spans.shape[1] == 2 else 0
        return cls(
            video=str(fields.get("video") or video),
            fps=float(rate),
            frame_count=int(count),
            spans=spans,
            scores=scores,
            alignment=fields.get("alignment"),
            categories=_categories(fields),
            normal=_normal(fields),
            concept_alignment=fields.get("concept_alignment"),
            probabilities=fields.get("probabilities"),
            origin=_origin(fields),
        )


def _number(fields: Fields, name: str) -> float | None:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ScoresError(f"{name} is {str(value)[:40]!r}, not a number", "correct the file")
    return value


def _origin(fields: Fields) -> Origin:
    try:
        return Origin.model_validate(fields.get("origin") or {})
    except ValidationError as error:
        raise ScoresError(f"origin.{first_fault(error)}", "correct the file") from None


def _categories(fields: Fields) -> list[str] | None:
    names = fields.get("categories")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ScoresError("categories must be a list of names", "correct the file")
    return names


def _normal(fields: Fields) -> int | None:
    normal = fields.get("normal")
    if normal is not None and (not isinstance(normal, int) or isinstance(normal, bool)):
        raise ScoresError(f"normal is {normal!r}, not the index of a category", "correct the file")
    return normal
