"""Published ground truth: split lists, tracks, tables, MATLAB files, and where each dataset counts from one or zero."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.data.labels import ANOMALY, find_category, is_normal_name
from kgvad.errors import FeatureError
from kgvad.files import reading
from kgvad.masks import true_runs
from kgvad.types import AnyArray
from kgvad.video.feature_lists import Split
from kgvad.video.image_frames import SUFFIXES as IMAGES
from kgvad.video.image_frames import natural
from kgvad.video.video_ids import feature_names, video_id

Spans = tuple[tuple[int, int], ...]
MSAD_CATEGORIES = (
    "Normal", "Assault", "Explosion", "Fighting", "Fire", "Object falling", "People falling", "Robbery", "Shooting",
    "Traffic accident", "Vandalism", "Water incident",
)  # fmt: skip
LARGEST_MAT = 1 << 30  # bytes


def read_ubnormal(folder: Path) -> Truth:
    """UBnormal: its six lists of names, and ``NAME_tracks.txt`` (object, first and last frame) of abnormal videos.

    Validation videos are for training. Frame labels may also be ``NAME.txt``, one number a frame. The dataset names no
    category of a video.
    """
    texts = {path.name: path for path in sorted(folder.rglob("*.txt"))}
    videos: dict[str, VideoTruth] = {}
    parts: tuple[tuple[str, Split], ...] = (("training", "train"), ("validation", "train"), ("test", "test"))
    for part, split in parts:
        for kind in ("normal", "abnormal"):
            path = texts.get(f"{kind}_{part}_video_names.txt")
            if path is None and part != "validation":
                raise FeatureError(f"{folder} has no {kind}_{part}_video_names.txt", "copy the lists of the dataset")
            for name in () if path is None else _lines(path):
                video = video_id(name)
                spans: Spans | None = () if split == "test" else None
                if split == "test" and kind == "abnormal":
                    spans = _ubnormal_spans(folder, texts, video)
                labels = (ANOMALY,) if kind == "abnormal" else ()
                videos[video] = VideoTruth(split=split, labels=labels, intervals=spans)
    return Truth(dataset="ubnormal", categories=("Normal", ANOMALY), videos=videos)


def _ubnormal_spans(folder: Path, texts: Mapping[str, Path], video: str) -> Spans:
    tracks = texts.get(f"{video}_tracks.txt")
    if tracks is not None:
        rows = _numbers(tracks, "object, first frame, last frame")
        if rows.shape[1] < 3:
            raise FeatureError(f"{tracks} has {rows.shape[1]} columns", "its columns are object, first and last frame")
        return _union((int(row[1]), int(row[2]) + 1) for row in rows)
    labels = texts.get(f"{video}.txt")
    if labels is None:
        raise FeatureError(
            f"{folder} has no {video}_tracks.txt of the abnormal test video {video}",
            "copy the annotation folders of the dataset beside the lists",
        )
    return true_runs(_numbers(labels, "one number a frame").reshape(-1))


def read_msad(folder: Path) -> Truth:
    """MSAD: ``anomaly_annotation.csv`` (frames count from 1), and the lists ``*train*.list`` and ``*test*.list``."""
    path = _find(folder, "*anomaly_annotation.csv")
    marked: dict[str, tuple[list[tuple[int, int]], int]] = {}
    columns = ("name", "total frames", "starting frame of anomaly", "ending frame of anomaly")
    with reading(path, FeatureError, "copy it again"):
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    for number, row in enumerate(rows, 2):
        cells = {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
        try:
            name, count, start, end = (cells[column] for column in columns)
            if name:
                own = marked.setdefault(video_id(name), ([], int(float(count))))
                own[0].append((max(int(float(start)) - 1, 0), int(float(end))))
        except (KeyError, ValueError, OverflowError):
            raise FeatureError(
                f"{path}, line {number}: not {', '.join(columns)}", "copy the annotation of the dataset again"
            ) from None
    videos: dict[str, VideoTruth] = {}
    splits: tuple[tuple[Split, str], ...] = (("train", "[Tt]rain"), ("test", "[Tt]est"))
    for split, word in splits:
        lines = _lines(_find(folder, f"*{word}*.list", f"*{word}*.txt"))
        for feature, line in zip(feature_names(lines), lines, strict=True):
            video = feature.video
            labels = _msad_labels(video, line)
            spans, total = marked[video] if labels and video in marked else ([], None)
            if labels and split == "test" and not spans:
                raise FeatureError(f"{path} has no line for the abnormal test video {video}", "complete it")
            intervals = _union(spans) if split == "test" else None
            videos[video] = VideoTruth(split=split, labels=labels, intervals=intervals, frame_count=total)
    return Truth(dataset="msad", categories=MSAD_CATEGORIES, videos=videos)


def _msad_labels(video: str, line: str) -> tuple[str, ...]:
    """The category in the name: ``Traffic_accident_12``, ``MSAD_fire_2`` and ``MSAD_normal_testing_3``."""
    category = find_category(re.sub(r"[\W\d_]+", " ", video), "msad", MSAD_CATEGORIES[1:])
    if category is not None:
        return (category,)
    if is_normal_name(video) or is_normal_name(re.sub(r"[\\/]+", " ", line)):
        return ()
    raise FeatureError(
        f"{line[:80]!r} names neither a category nor normal videos", f"categories are {', '.join(MSAD_CATEGORIES)}"
    )


def read_ped2(folder: Path) -> Truth:
    """UCSD Ped2: folders of frames ``Train/TrainNNN`` and ``Test/TestNNN``, and ``UCSDped2.m`` (frames count from 1).

    Instead of it, ``ped2.mat`` or the masks in ``Test/TestNNN_gt``.
    """
    train, test = _sequences(folder, "Train"), _sequences(folder, "Test")
    spans, masks = _ped2_spans(folder, list(test))
    videos = {name: VideoTruth(split="train", frame_count=count or None) for name, count in train.items()}
    for index, (name, count) in enumerate(test.items()):
        found = masks[name] if spans is None else spans[index]
        labels = (ANOMALY,) if found else ()
        videos[name] = VideoTruth(split="test", labels=labels, intervals=found, frame_count=count or None)
    return Truth(dataset="ped2", categories=("Normal", ANOMALY), videos=videos)


def _ped2_spans(folder: Path, test: Sequence[str]) -> tuple[list[Spans] | None, dict[str, Spans]]:
    """Spans in the order of the videos, or by name from the masks."""
    script = _find(folder, "UCSDped2.m", required=False)
    matrix = _find(folder, "*ped2.mat", required=False)
    if script is not None:
        with reading(script, FeatureError, "copy it again"):
            text = script.read_text("utf-8-sig")
            found = [_matlab_ranges(one) for one in re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", text)]
    elif matrix is not None:
        found = _mat_spans(matrix)
    else:
        return None, {name: _mask_spans(folder, name) for name in test}
    if len(found) != len(test):
        raise FeatureError(
            f"{script or matrix} has {len(found)} videos, {folder} has {len(test)} test videos",
            "keep all folders Test001 to Test012",
        )
    return found, {}


def _matlab_ranges(text: str) -> Spans:
    """``1:15, 45:113`` of a MATLAB script, as frames from 0."""
    return _union((int(first) - 1, int(last)) for first, last in re.findall(r"(\d+)\s*:\s*(\d+)", text))


def _mask_spans(folder: Path, name: str) -> Spans:
    from PIL import Image

    place = next(iter(sorted(folder.rglob(f"{name}_gt"))), None)
    images = [] if place is None else _images(place)
    if not images:
        raise FeatureError(
            f"{folder} has neither UCSDped2.m nor masks in {name}_gt", "copy the ground truth of the dataset"
        )
    marked = []
    for image in images:
        with reading(image, FeatureError, "copy the masks again"), Image.open(image) as mask:
            marked.append(bool(np.asarray(mask.convert("L")).any()))
    return true_runs(np.array(marked))


def read_avenue(folder: Path) -> Truth:
    """Avenue: videos or folders of frames in ``training*`` and ``testing*``, masks ``N_label.mat`` or ``avenue.mat``.

    Without the videos, test videos are named ``01`` to ``21`` as the dataset names them.
    """
    masks = sorted(folder.rglob("*_label.mat"), key=lambda path: natural(path.name))
    masks = [path for path in masks if re.fullmatch(r"\d+_label", path.stem)]
    spans: dict[str, tuple[Spans, int | None]]
    if masks:
        spans = {f"{int(path.stem.split('_')[0]):02d}": _label_volume(path) for path in masks}
    else:
        matrix = _find(folder, "avenue.mat")
        spans = {f"{number:02d}": (one, None) for number, one in enumerate(_mat_spans(matrix), 1)}
    train, test = _avenue_names(folder, "train"), _avenue_names(folder, "test") or {name: name for name in spans}
    both = train.keys() & test.keys()  # the dataset numbers both parts from 01: there the folder belongs to the name
    videos = {(place if name in both else name): VideoTruth(split="train") for name, place in sorted(train.items())}
    for name, place in sorted(test.items()):
        if name not in spans:
            raise FeatureError(f"{folder} has no ground truth of the test video {name}", "copy all of its files")
        intervals, count = spans[name]
        labels = (ANOMALY,) if intervals else ()
        truth = VideoTruth(split="test", labels=labels, intervals=intervals, frame_count=count)
        videos[place if name in both else name] = truth
    return Truth(dataset="avenue", categories=("Normal", ANOMALY), videos=videos)


def _avenue_names(folder: Path, word: str) -> dict[str, str]:
    """Path without suffix of each video or folder of frames ``01``... in the folder of one part, by its number."""
    found: dict[str, str] = {}
    for place in sorted(path for path in folder.rglob(f"*{word}*") if path.is_dir()):
        for path in sorted(place.rglob("*")):
            number = video_id(path)
            if re.fullmatch(r"\d{2}", number) and (path.is_dir() or path.suffix.lower() in (".avi", ".mp4")):
                found.setdefault(number, path.relative_to(folder).with_name(number).as_posix())
    return found


def _label_volume(path: Path) -> tuple[Spans, int]:
    """Abnormal frames and number of frames of ``volLabel``, a cell [1, frames] of masks."""
    cells = _mat(path, "volLabel")
    if cells.dtype != object:
        raise FeatureError(f"{path}: volLabel is not a cell with one mask a frame", "copy it again")
    marked = np.array([bool(np.asarray(cell).any()) for cell in cells.reshape(-1)])
    return true_runs(marked), len(marked)


def _mat_spans(path: Path) -> list[Spans]:
    """``gt``: for each video a matrix [2, N] of first and last frames, which count from 1."""
    found = []
    for cell in _mat(path, "gt").reshape(-1):
        pairs = np.asarray(cell)
        while pairs.dtype == object and pairs.size == 1:
            pairs = np.asarray(pairs.reshape(-1)[0])
        with reading(path, FeatureError, "copy it again"):
            pairs = pairs.T if pairs.ndim == 2 and pairs.shape[0] == 2 else pairs.reshape(-1, 2)
            found.append(_union((int(first) - 1, int(last)) for first, last in pairs))
    return found


def _mat(path: Path, name: str) -> AnyArray:
    """A variable of a MATLAB file (version 5, which holds numbers and cells only)."""
    from scipy.io import loadmat

    with reading(path, FeatureError, "copy it again"):
        if path.stat().st_size > LARGEST_MAT:
            raise ValueError("it is too large for ground truth")
        try:
            content = loadmat(path, variable_names=[name])
        except NotImplementedError as error:  # SciPy's word for HDF5 files
            raise ValueError("it is of MATLAB 7.3; save it with -v7") from error
        except Exception as error:  # of the library, for a damaged file
            raise ValueError(str(error)) from error
        if name not in content:
            raise ValueError(f"it has no variable {name}")
        variable: AnyArray = content[name]
    return variable


def _sequences(folder: Path, part: str) -> dict[str, int]:
    """Folders ``TestNNN`` and their number of images; 0 where only their names are known."""
    found = {
        path.name: len(_images(path))
        for path in sorted(folder.rglob(f"{part}[0-9][0-9][0-9]"), key=lambda path: natural(path.name))
        if path.is_dir()
    }
    return found or {f"{part}{number:03d}": 0 for number in range(1, 17 if part == "Train" else 13)}


def _images(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith(".")),
        key=lambda path: natural(path.name),
    )


def _union(spans: Iterable[tuple[int, int]]) -> Spans:
    """Spans in order, those that overlap or touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _lines(path: Path | None) -> list[str]:
    assert path is not None
    with reading(path, FeatureError, "copy it again"):
        text = path.read_text("utf-8-sig")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _numbers(path: Path, what: str) -> NDArray[np.float64]:
    """Numbers of a text file, [lines, columns]."""
    try:
        rows = [[float(cell) for cell in re.split(r"[,\s]+", line.strip(", "))] for line in _lines(path)]
        found = np.array(rows, np.float64).reshape(len(rows), -1)
        if not (np.abs(found) < 1e12).all():
            raise ValueError
        return found
    except ValueError:
        raise FeatureError(f"{path} does not hold {what}", "copy it again") from None


def _find(folder: Path, *patterns: str, required: bool = True) -> Any:
    """The first file below ``folder`` that fits a pattern."""
    for pattern in patterns:
        found = sorted(path for path in folder.rglob(pattern) if path.is_file())
        if found:
            return found[0]
    if required:
        raise FeatureError(f"{folder} has no {patterns[0]}", "name the folder of the dataset's published files")
    return None
