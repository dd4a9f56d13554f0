"""Features on disk: ``<root>/<encoder>/<video id>.npy`` and one ``manifest.json`` that says how they were made.

Arrays are float16 [T, D], or [crops, T, D], and are memory-mapped when read. The manifest's fingerprint
covers everything that changes the numbers (encoder, weights, crop rule, temporal rule, stride), and a
store holds features of one fingerprint only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kgvad.arrays import numbers
from kgvad.errors import FeatureError, first_fault
from kgvad.files import check_version, read_json, write_text
from kgvad.types import AnyArray
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_arrays import read_array, write_array
from kgvad.video.frame_quality import RowQuality
from kgvad.video.store_folders import store_folder
from kgvad.video.store_staging import (
    MANIFEST,
    complete_decided,
    discard,
    has_decided,
    lock_store,
    new_staging,
    not_writable,
)

VERSION = 1  # of the manifest

Layout = Literal["uniform", "even", "segments", "spans"]


class VideoEntry(BaseModel):
    """One video of a store.

    Attributes
    ----------
    frame_count, fps
        Of the video.
    rows
        Rows of features, T.
    layout
        ``uniform``: row i covers frames [i stride, (i + 1) stride). ``segments``: a fixed number of rows, each covering
        ``segment_snippets`` snippets. In both the last row also covers the tail. ``even``: row i covers frames
        [i frame_count / rows, (i + 1) frame_count / rows). ``spans``: row i covers frames [edges[i], edges[i + 1]).
    stride
        Frames per snippet.
    segment_snippets
        Snippets per row of the layout ``segments``.
    edges
        First frame of each row and the end of the last, T + 1 frames, of the layout ``spans``.
    times_s
        Start of each row and end of the last, seconds; only kept where the frame rate varies.
    quality
        What each row shows (a scene, a title card, ...), where measured: see :mod:`kgvad.video.frame_quality`.
    assumed
        Which of ``fps`` and ``frame_count`` were assumed (features from other programs).
    source, source_bytes, source_mtime_ns
        The file that the features were made from, to notice when it changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame_count: Annotated[int, Field(gt=0)]
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    rows: Annotated[int, Field(gt=0)]
    layout: Layout = "uniform"
    stride: Annotated[int, Field(gt=0)] = SNIPPET_FRAMES
    segment_snippets: Annotated[int, Field(gt=0)] | None = None
    edges: list[int] | None = None
    times_s: list[float] | None = None
    quality: RowQuality = None
    assumed: tuple[Literal["fps", "frame_count"], ...] = ()
    source: str | None = None
    source_bytes: int | None = None
    source_mtime_ns: int | None = None

    @model_validator(mode="after")
    def _fits(self) -> VideoEntry:
        if (self.layout == "segments") != (self.segment_snippets is not None):
            raise ValueError("segment_snippets belongs to the layout segments, and only to it")
        if (self.layout == "spans") != (self.edges is not None):
            raise ValueError("edges belong to the layout spans, and only to it")
        if self.layout == "even" and self.frame_count < self.rows:
            raise ValueError(f"{self.rows} rows cannot be spread over {self.frame_count} frames")
        if self.edges is not None:
            steps = np.diff(self.edges)
            if len(steps) != self.rows or self.edges[0] != 0 or self.edges[-1] != self.frame_count or (steps < 1).any():
                raise ValueError(f"edges must be {self.rows + 1} rising frames from 0 to {self.frame_count}")
        if self.times_s is not None and len(self.times_s) != self.rows + 1:
            raise ValueError(f"times_s has {len(self.times_s)} values for {self.rows} rows")
        if self.quality is not None and len(self.quality) != self.rows:
            raise ValueError(f"quality has {len(self.quality)} values for {self.rows} rows")
        return self

    def spans(self) -> NDArray[np.int64]:
        """Frames [start, end) of each row, int64 [T, 2]; the last row reaches to the end of the video."""
        if self.edges is not None or self.layout == "even":
            even = np.arange(self.rows + 1, dtype=np.int64) * self.frame_count // self.rows
            edges = even if self.edges is None else np.asarray(self.edges, np.int64)
            return np.stack([edges[:-1], edges[1:]], axis=1)
        length = self.stride * (self.segment_snippets or 1)
        starts = np.arange(self.rows, dtype=np.int64) * length
        spans = np.minimum(np.stack([starts, starts + length], axis=1), self.frame_count)
        spans[-1, 1] = self.frame_count
        return spans


class WindowRule(BaseModel):
    """How windows were sampled by time; see :mod:`kgvad.video.windows`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step_s: Annotated[float, Field(gt=0)]
    rate_hz: Annotated[float, Field(gt=0)]
    frames: Annotated[int, Field(gt=0)]
    stride: Annotated[int, Field(gt=0)] = SNIPPET_FRAMES
    assumed_fps: Annotated[float, Field(gt=0)] | None = None
    short_videos: str = ""


class Manifest(BaseModel):
    """How the features of a store were made, and the videos it holds.

    ``fingerprint`` is computed where it is not given. ``weights`` is the SHA-256 of the encoder's weights, or
    ``unknown`` for features of other programs. ``columns`` names the D columns where each has a meaning of its own.
    ``rule`` says how windows were sampled by time.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    encoder: Annotated[str, Field(min_length=1)]
    dim: Annotated[int, Field(gt=0)]
    weights: str = "unknown"
    crop: str = "plain"
    crops: Annotated[int, Field(gt=0)] = 1
    temporal: str = "unknown"
    stride: Annotated[int, Field(gt=0)] = SNIPPET_FRAMES
    fingerprint: str = ""
    made_by: str = Field(default_factory=lambda: f"kgvad {installed_version('kgvad')}")
    columns: list[str] | None = None
    precision: str | None = None  # of the encoder's arithmetic, where it is not fp32
    rule: WindowRule | None = None
    note: str | None = None  # where features of other programs come from
    videos: dict[str, VideoEntry] = {}

    @property
    def is_own(self) -> bool:
        """Whether kgvad made the features, and not another program."""
        return self.weights != "unknown"

    @field_validator("encoder")
    @classmethod
    def _encoder_is_a_folder_name(cls, value: str) -> str:
        return _safe(value, "encoder")

    @field_validator("videos")
    @classmethod
    def _ids_stay_inside(cls, value: dict[str, VideoEntry]) -> dict[str, VideoEntry]:
        for video in value:
            _safe(video, "video")
        return value

    @model_validator(mode="after")
    def _fingerprinted(self) -> Manifest:
        if self.columns is not None and len(self.columns) != self.dim:
            raise ValueError(f"there are {len(self.columns)} names for {self.dim} columns")
        if not self.fingerprint:
            keys = {"encoder", "dim", "weights", "crop", "temporal", "stride"}
            keys |= {key for key in ("columns", "rule") if getattr(self, key) is not None}
            facts = self.model_dump(include=keys)
            self.fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        return self


def check_name(video: str) -> None:
    """Raise :class:`FeatureError` where ``video`` cannot be an identifier, because of its file name."""
    try:
        _safe(video, "video")
    except ValueError as error:
        raise FeatureError(str(error), "rename the file") from None


def _safe(name: str, what: str) -> str:
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\\" in name
        or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name)
    ):
        raise ValueError(f"{name!r} cannot be the name of a {what}")
    return name


class FeatureStore:
    """Features of one fingerprint; make one with :meth:`open` or :meth:`create`.

    Attributes
    ----------
    root : Path
        Folder of the manifest and the arrays.
    manifest : Manifest
        How the features were made.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._new: dict[str, VideoEntry] = {}  # entered and not written yet
        self._staging: Path | None = None  # where `adding` collects arrays

    @classmethod
    def open(cls, root: str | os.PathLike[str], encoder: str | None = None) -> FeatureStore:
        """The store in ``root``, or in its only sub-folder that is one.

        Parameters
        ----------
        root
            Folder with a manifest, or a folder of such folders.
        encoder
            Which of several stores in ``root``.

        Raises
        ------
        FeatureError
            None, several, none of ``encoder``, damaged, or of a newer version.
        """
        root = Path(root)
        if not root.is_dir():
            raise FeatureError(f"there are no features in {root}", "make some with 'kgvad extract'")
        for folder in (root, *(path.parent.parent for path in root.glob(f"*/.staging-*/{MANIFEST}"))):
            if has_decided(folder):
                with lock_store(folder):
                    complete_decided(folder)
        folder = store_folder(root, encoder)
        return cls(folder, _read_manifest(folder / MANIFEST))

    @classmethod
    def create(cls, root: str | os.PathLike[str], manifest: Manifest) -> FeatureStore:
        """The store ``<root>/<encoder>``: a new one, or the one that is there if its fingerprint is the same.

        Raises
        ------
        FeatureError
            Features of another fingerprint are there.
        """
        store = cls(Path(root) / manifest.encoder, manifest.model_copy(update={"videos": dict(manifest.videos)}))
        store._write()
        return store

    @property
    def fingerprint(self) -> str:
        """Same numbers mean comparable features."""
        return self.manifest.fingerprint

    def ids(self) -> list[str]:
        """Identifiers of the videos, sorted."""
        return sorted(self.manifest.videos)

    def info(self, video: str) -> VideoEntry:
        """What the manifest says about ``video``.

        Raises
        ------
        FeatureError
            The store has no such video.
        """
        try:
            return self.manifest.videos[video]
        except KeyError:
            raise FeatureError(f"{self.root} has no features of {video}", "extract that video first") from None

    def path(self, video: str) -> Path:
        """File of the features of ``video``."""
        return self.root / f"{video}.npy"

    def load(self, video: str) -> AnyArray:
        """Features of ``video``, memory-mapped, [T, D] or [crops, T, D].

        Raises
        ------
        FeatureError
            Missing, damaged, of another shape than the manifest says, or with values that are not finite.
        """
        entry = self.info(video)
        array = read_array(self.path(video))
        expected = self._shape(entry)
        if array.shape != expected:
            raise FeatureError(
                f"{self.path(video)} has shape {list(array.shape)} instead of {list(expected)}",
                "extract that video again",
            )
        return array

    def add(self, video: str, features: AnyArray, entry: VideoEntry) -> None:
        """Write the features of ``video`` and enter it in the manifest.

        Parameters
        ----------
        video
            Identifier; ``/`` makes sub-folders.
        features
            float [T, D] or [crops, T, D]; kept as float16.
        entry
            Facts about the video.

        Raises
        ------
        FeatureError
            NaN or infinity (also where float16 overflows), wrong shape, or an identifier that is no file name.
        """
        check_name(video)
        features, expected = numbers(features, f"features of {video}"), self._shape(entry)
        if features.shape != expected:
            raise FeatureError(f"features of {video} have shape {list(features.shape)} instead of {list(expected)}")
        write_array((self._staging or self.root) / f"{video}.npy", features, video)
        self.enter({video: entry})

    def _shape(self, entry: VideoEntry) -> tuple[int, ...]:
        crops, dim = self.manifest.crops, self.manifest.dim
        return (entry.rows, dim) if crops == 1 else (crops, entry.rows, dim)

    def enter(self, entries: Mapping[str, VideoEntry]) -> None:
        """Put videos, whose arrays are already in place, into the manifest."""
        self.manifest.videos |= entries
        self._new |= entries
        if self._staging is None:
            self._write()

    @contextmanager
    def adding(self) -> Iterator[FeatureStore]:
        """Add many videos: all of them when the block ends well, none where it raises or the process is killed."""
        before = dict(self.manifest.videos)
        try:
            self._staging = new_staging(self.root)
        except OSError as error:
            raise not_writable(self.root, error) from error
        try:
            yield self
            self._write()
        except BaseException:
            self.manifest.videos, self._new = before, {}
            raise
        finally:
            discard(self._staging)  # unless it was decided and only moving it into place failed
            self._staging = None

    def _write(self) -> None:
        """Add what is new to the manifest on disk, which other processes may have changed in the meantime."""
        path = self.root / MANIFEST
        with lock_store(self.root):
            complete_decided(self.root)
            if path.is_file():
                there = _read_manifest(path)
                if there.fingerprint != self.fingerprint:
                    raise FeatureError(
                        f"{self.root} holds features made otherwise ({_difference(there, self.manifest)})",
                        "choose another --output, or delete that folder",
                    )
                self.manifest = there.model_copy(update={"videos": dict(sorted((there.videos | self._new).items()))})
                if not self._new:
                    return
            write_text((self._staging or self.root) / MANIFEST, self.manifest.model_dump_json(indent=2) + "\n")
            complete_decided(self.root)
            self._new = {}


def _read_manifest(path: Path) -> Manifest:
    data = read_json(path, FeatureError, "delete the folder and extract again")
    check_version(data, path, VERSION, FeatureError, "delete the folder and extract again")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise FeatureError(f"{path}: {first_fault(error)}", "delete the folder and extract again") from error


def _difference(old: Manifest, new: Manifest) -> str:
    for name in ("weights", "crop", "temporal", "stride", "dim", "rule", "columns", "precision"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            return f"{name} {str(before)[:16]} there, {str(after)[:16]} here"
    return f"fingerprint {old.fingerprint} there, {new.fingerprint} here"
