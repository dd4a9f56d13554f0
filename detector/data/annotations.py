"""Ground truth of a dataset: its videos, their labels and their abnormal frames.

The official files become one :class:`Truth`, which is saved as ``dataset.json`` beside the features; training and
evaluation need nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from kgvad.detector.data.labels import XD_CODES, is_normal_name, xd_labels
from kgvad.errors import FeatureError, UsageError, first_fault
from kgvad.files import check_version, decode_text, read_json, reading, write_text
from kgvad.masks import true_runs
from kgvad.types import AnyArray
from kgvad.video.feature_lists import Split
from kgvad.video.frame_counts import read_frame_counts
from kgvad.video.video_ids import posix, video_id

FILE = "dataset.json"
VERSION = 1  # of dataset.json


class VideoTruth(BaseModel):
    """Ground truth of one video.

    ``labels`` is empty for a normal video. ``intervals`` are abnormal frames [start, end); ``None`` where the
    video has no frame labels. ``events`` are (category, start, end) where an annotation names the category of each
    event (XD-Violence); elsewhere the intervals are events of the video's category.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: Split
    labels: tuple[str, ...] = ()
    intervals: tuple[tuple[int, int], ...] | None = None
    events: tuple[tuple[str, int, int], ...] | None = None
    frame_count: int | None = None
    file: str | None = None  # path below the folder of the videos

    @model_validator(mode="after")
    def _consistent(self) -> VideoTruth:
        spans = [*(self.intervals or ()), *((start, end) for _, start, end in self.events or ())]
        if any(end <= start or start < 0 for start, end in spans):
            raise ValueError("an interval is not [start, end) in frames")
        return self


class Truth(BaseModel):
    """Videos of a dataset with their labels, in the order of its lists.

    ``folder`` is the absolute path of a folder dataset, whose sub-folders are the labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    dataset: str
    folder: str | None = None
    normal: str = "Normal"
    categories: tuple[str, ...]  # with Normal
    videos: dict[str, VideoTruth]

    @model_validator(mode="after")
    def _known(self) -> Truth:
        if self.normal not in self.categories:
            raise ValueError(f"the categories do not include {self.normal!r}")
        for name, video in self.videos.items():
            for label in (*video.labels, *(event[0] for event in video.events or ())):
                if label not in self.categories or label == self.normal:
                    raise ValueError(f"{name} is labelled {label!r}, which is not an abnormal category")
        return self

    def split(self, split: Split) -> list[str]:
        """Identifiers of one split."""
        return [name for name, video in self.videos.items() if video.split == split]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``dataset.json`` into the root of the features."""
        write_text(Path(folder) / FILE, self.model_dump_json(indent=1, exclude_none=True) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Truth:
        """Read ``dataset.json`` from the root of the features."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise FeatureError(
                f"{path} is missing, so these videos have no labels",
                "name the folder of the dataset's lists with --lists, or use kgvad features import",
            )
        try:
            data = read_json(path, FeatureError, "write it again with kgvad features import")
            check_version(data, path, VERSION, FeatureError, "write it again with kgvad features import")
            return cls.model_validate(data)
        except ValidationError as error:
            raise FeatureError(f"{path}: {first_fault(error)}", "write it again with kgvad features import") from error


@dataclass(frozen=True)
class _Lists:
    """Names of a dataset's official files."""

    train: str
    test: str
    annotations: tuple[str, ...]  # spellings of its name, the usual one first
    index: str  # table of frame counts


UCF = _Lists(
    "Anomaly_Train.txt",
    "Anomaly_Test.txt",
    ("Temporal_Anomaly_Annotation.txt", "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"),
    "gt_ucf_index_rebuilt.csv",
)
UCF_CATEGORIES = (
    "Normal", "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting", "RoadAccidents", "Robbery",
    "Shooting", "Shoplifting", "Stealing", "Vandalism",
)  # fmt: skip
XD_CATEGORIES = ("Normal", *XD_CODES.values())
PUBLISHED = ("ucf", "xd", "shanghaitech", "ubnormal", "msad", "ped2", "avenue")  # whose ground truth is read


def read_truth(dataset: str, folder: str | os.PathLike[str]) -> Truth:
    """Read the official lists and annotations of ``dataset`` from ``folder``.

    Parameters
    ----------
    dataset
        ``ucf``, ``xd``, ``shanghaitech``, ``ubnormal``, ``msad``, ``ped2`` or ``avenue``.
    folder
        Holds the files under their published names.

    Raises
    ------
    UsageError
        The dataset has no reader.
    FeatureError
        ``folder`` is a file, or a file in it is missing or has a wrong line; the message names file and line.
    """
    from kgvad.detector.data.published import readers as published

    readers = {
        "ucf": _read_ucf,
        "xd": _read_xd,
        "shanghaitech": _read_shanghaitech,
        "ubnormal": published.read_ubnormal,
        "msad": published.read_msad,
        "ped2": published.read_ped2,
        "avenue": published.read_avenue,
    }
    if dataset not in readers:
        raise UsageError(f"unknown dataset {dataset!r}", f"its lists can be read for: {', '.join(readers)}")
    if Path(folder).is_file():
        raise FeatureError(f"{folder} is a file", "name the folder of the dataset's official lists")
    return readers[dataset](Path(folder))


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    if not path.exists():
        raise FeatureError(f"{path} is missing", "name the folder of the dataset's official lists")
    with reading(path, FeatureError, "copy it again"):
        text = decode_text(path.read_bytes())
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise FeatureError(f"{path} is empty", "copy it again")
    return lines


def _wrong(path: Path, number: int, line: str, expected: str) -> FeatureError:
    return FeatureError(f"{path}, line {number}: {line[:60]!r} is not {expected}", "correct the line")


def _intervals(path: Path, number: int, line: str, values: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Pairs of ``values`` as [start, end); -1 -1 and 0 0 are none."""
    pairs = [pair for pair in zip(values[::2], values[1::2], strict=True) if pair not in ((-1, -1), (0, 0))]
    if any(not 0 <= start < end for start, end in pairs):
        raise _wrong(path, number, line, "a line of intervals with a start below the end")
    return tuple(pairs)


def _add(found: dict[str, Any], video: str, value: Any, path: Path, number: int) -> None:
    """Enter a video that has no entry yet."""
    if video in found:
        raise FeatureError(
            f"{path}, line {number}: {video} is listed twice, here or in the other split", "remove one line"
        )
    found[video] = value


def _read_ucf(folder: Path) -> Truth:
    videos: dict[str, VideoTruth] = {}
    annotations = _first_of(folder, UCF.annotations)
    intervals, counts = _ucf_intervals(annotations)
    counts |= read_frame_counts(folder / UCF.index) if (folder / UCF.index).is_file() else {}
    splits: tuple[tuple[str, Split], ...] = ((UCF.train, "train"), (UCF.test, "test"))
    for name, split in splits:
        path = folder / name
        for number, line in _lines(path):
            line = posix(line)
            category, file = PurePosixPath(line).parent.name, PurePosixPath(line).name
            if not category or not file:
                raise _wrong(path, number, line, "CATEGORY/VIDEO.mp4")
            normal = is_normal_name(category)
            if not normal and category not in UCF_CATEGORIES:
                raise _wrong(path, number, line, "one of the 13 categories or normal")
            video = video_id(file)
            if split == "test" and video not in intervals:
                raise FeatureError(f"{annotations} has no line for the test video {video}", "complete it")
            truth = VideoTruth(
                split=split,
                labels=() if normal else (category,),
                intervals=intervals[video] if split == "test" else None,
                frame_count=counts.get(video),
                file=line,
            )
            _add(videos, video, truth, path, number)
    return Truth(dataset="ucf", categories=UCF_CATEGORIES, videos=videos)


def _ucf_intervals(path: Path) -> tuple[dict[str, tuple[tuple[int, int], ...]], dict[str, int]]:
    """Abnormal frames of each video, and frame counts where they stand before the category."""
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    counts: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            name, *fields = line.split()
            video = video_id(name)
            if fields[0].isdigit():
                counts[video] = int(fields.pop(0))
            values = [int(value) for value in fields[1:]]
            spans = _intervals(path, number, line, values)
        except (ValueError, IndexError):
            raise _wrong(path, number, line, "VIDEO CATEGORY START END START END") from None
        _add(found, video, spans, path, number)
    return found, counts


def _read_xd(folder: Path) -> Truth:
    """Test videos: the published training list names features, not videos.

    Only abnormal videos are annotated. Normal ones and frame counts are in the index of frame labels; without it, both
    come from elsewhere (the list of the features, ``--frames``).
    """
    marked: dict[str, tuple[tuple[int, int], ...]] = {}
    for number, line in _lines(path := folder / "annotations.txt"):
        video, *fields = line.split()
        try:
            spans = _intervals(path, number, line, [int(field) for field in fields])
        except ValueError:
            raise _wrong(path, number, line, "VIDEO then START END pairs") from None
        if spans and not xd_labels(video_id(video).rpartition("label_")[2]):
            raise FeatureError(f"{path}, line {number}: {video} is normal by its name and has intervals", "correct it")
        _add(marked, video_id(video), spans, path, number)
    events = _xd_events(folder / "annotations_multiclasses.txt")
    index = folder / "gt_xd_index_rebuilt.tsv"
    counts: dict[str, int | None] = dict(read_frame_counts(index)) if index.is_file() else dict.fromkeys(marked)
    counts |= {video: counts.get(video) for video in _xd_names(folder / "test_names.txt")}
    videos = {
        video: VideoTruth(
            split="test",
            labels=xd_labels(video.rpartition("label_")[2]),
            intervals=marked.get(video, ()),
            events=None if events is None else events.get(video, ()),
            frame_count=count,
        )
        for video, count in counts.items()
    }
    for video in _xd_names(folder / "train_names.txt"):
        videos[video] = VideoTruth(split="train", labels=xd_labels(video.rpartition("label_")[2]))
    return Truth(dataset="xd", categories=XD_CATEGORIES, videos=videos)


def _xd_names(path: Path) -> list[str]:
    """Videos of a list that ``kgvad datasets get`` writes beside the videos; the dataset publishes none of names."""
    return [video_id(line) for _, line in _lines(path)] if path.is_file() else []


def _xd_events(path: Path) -> dict[str, tuple[tuple[str, int, int], ...]] | None:
    """Events with their categories; ``None`` where the file is not there."""
    if not path.is_file():
        return None
    events: dict[str, tuple[tuple[str, int, int], ...]] = {}
    for number, line in _lines(path):
        video, *fields = line.split()
        try:
            triples = zip(fields[::3], map(int, fields[1::3]), map(int, fields[2::3]), strict=True)
            found = tuple((XD_CODES[code], start, end) for code, start, end in triples if end > start)
        except (ValueError, KeyError):
            raise _wrong(path, number, line, "VIDEO then CODE START END triples") from None
        events[video_id(video)] = found
    return events


def _read_shanghaitech(folder: Path) -> Truth:
    """Weakly supervised split: ``video,label`` for training, ``video,label,frames`` for testing (-1: see the mask)."""
    videos: dict[str, VideoTruth] = {}
    lists: tuple[tuple[str, Split], ...] = (("SH_Train_new.txt", "train"), ("SH_Test_NEW.txt", "test"))
    for file, split in lists:
        path = _first_of(folder, (file, f"mist_{file}"))
        for number, line in _lines(path):
            name, *fields = re.split(r"[,\s]+", line)
            video = video_id(name)
            if not fields or fields[0] not in ("0", "1"):
                raise _wrong(path, number, line, "VIDEO,0 or VIDEO,1")
            labels = ("Anomaly",) if fields[0] == "1" else ()
            if split == "train":
                truth = VideoTruth(split="train", labels=labels)
            elif labels:
                mask = _first_of(folder, (f"test_frame_mask/{video}.npy", f"frame_masks/{video}.npy"))
                if not mask.is_file():
                    raise FeatureError(f"{mask} is missing for the abnormal test video {video}", "copy the frame masks")
                frames = read_mask(mask)
                truth = VideoTruth(split="test", labels=labels, intervals=true_runs(frames), frame_count=len(frames))
            elif len(fields) < 2 or not fields[1].isdigit():
                raise _wrong(path, number, line, "VIDEO,0,FRAMES")
            else:
                truth = VideoTruth(split="test", intervals=(), frame_count=int(fields[1]))
            _add(videos, video, truth, path, number)
    return Truth(dataset="shanghaitech", categories=("Normal", "Anomaly"), videos=videos)


def _first_of(folder: Path, names: Sequence[str]) -> Path:
    """The first of the files that is in ``folder``, else the first."""
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])


def read_mask(path: Path) -> AnyArray:
    """The mask of one video, [frames]."""
    import numpy as np

    from kgvad.arrays import check_claim

    with reading(path, FeatureError, "copy the frame masks"):
        with path.open("rb") as file:
            check_claim(file, path.stat().st_size)
        mask: AnyArray = np.load(path, allow_pickle=False)
        if mask.size == 0 or max(mask.shape, default=0) != mask.size or mask.dtype.kind not in "biuf":
            raise ValueError(f"it holds {mask.dtype} {list(mask.shape)}, not one number a frame")
        mask = mask.reshape(-1)
        if not np.isfinite(mask).all():
            raise ValueError("it holds NaN or infinity, not one number a frame")
        if (wrong := mask[(mask < 0) | (mask != np.round(mask))]).size:
            raise ValueError(f"it holds {wrong[0]:g}, not 0 for a normal frame and a whole number above 0 for another")
    return mask
