"""Lists of feature files of other programs (VadCLIP's csv, .list files of RTFM and DeepMIL) into a feature store."""

from __future__ import annotations

import csv
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.console import track
from kgvad.detector.data.annotations import (
    FILE,
    UCF_CATEGORIES,
    XD_CATEGORIES,
    Split,
    Truth,
    VideoTruth,
    read_truth,
    xd_labels,
)
from kgvad.detector.data.segment_archives import FPS, frame_counts, import_segments
from kgvad.errors import FeatureError, UsageError
from kgvad.files import reading
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_arrays import read_array
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry
from kgvad.video.store_staging import MANIFEST

logger = logging.getLogger(__name__)


SUFFIXES = (".csv", ".list", ".txt")
CROPS = (5, 10)  # what three-dimensional files of these programs have
NORMAL = "Normal"


@dataclass(frozen=True)
class Line:
    """One feature file of a list."""

    video: str
    crop: int | None  # of a file that holds one crop
    path: str
    label: str | None
    split: Split
    where: str  # list and line, for messages


def import_any(
    paths: Sequence[Path],
    dataset: str,
    output: Path,
    *,
    lists: Path | None = None,
    frames: Sequence[Path] = (),
    encoder: str | None = None,
) -> Path:
    """Import lists of feature files, or one archive of segments; the folder of the store."""
    kinds = {path.suffix.lower() in SUFFIXES for path in paths}
    if kinds == {True}:
        counts = {video: count for table in frames for video, count in frame_counts(table).items()}
        name = encoder or "imported"
        return import_lists(paths, dataset, output, folder=lists, counts=counts, encoder=name)[0].root
    if len(paths) > 1:
        raise UsageError("archives are imported one by one, lists together", "name one archive, or only lists")
    return import_segments(paths[0], dataset, output, lists=lists, frames=frames, encoder=encoder or "c3d")[0].root


def read_list(path: Path) -> list[Line]:
    """Lines of a list: ``path,label`` under a header in a csv, otherwise one path a line.

    Raises
    ------
    FeatureError
        The list is missing, empty or not of this form.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FeatureError(f"{path} cannot be read: {error}", "name a csv with path,label or a .list") from error
    lines = text.splitlines()
    split: Split = "test" if "test" in path.name.lower() else "train"
    found = []
    if path.suffix.lower() == ".csv":
        if not lines or [field.strip() for field in lines[0].split(",")[:2]] != ["path", "label"]:
            raise FeatureError(f"{path} does not begin with the line path,label", "name a list of feature files")
        with reading(path, FeatureError, "name a list of feature files"):
            rows = [(number, row) for number, row in enumerate(csv.reader(lines[1:]), 2) if row]
    else:
        rows = [(number, [line.strip()]) for number, line in enumerate(lines, 1) if line.strip()]
    for number, row in rows:
        where = f"{path}, line {number}"
        name = row[0].strip().replace("\\", "/")
        if not name.endswith(".npy") or (path.suffix.lower() == ".csv" and (len(row) != 2 or not row[1].strip())):
            raise FeatureError(f"{where}: {','.join(row)[:60]!r} is not a .npy file and its label", "correct the line")
        stem = Path(name).name.removesuffix(".npy")
        match = re.fullmatch(r"(.+)__(\d+)", stem)
        video = re.sub(r"(\.mp4)?(_i3d|_c3d)?$", "", match[1] if match else stem)
        label = row[1].strip() if len(row) > 1 else None
        found.append(Line(video, int(match[2]) if match else None, name, label, split, where))
    if not found:
        raise FeatureError(f"{path} names no feature file", "name a list of feature files")
    return found


def import_lists(
    lists: Sequence[Path],
    dataset: str,
    output: Path,
    *,
    folder: Path | None = None,
    counts: dict[str, int] | None = None,
    encoder: str = "imported",
) -> tuple[FeatureStore, Truth]:
    """Turn lists of feature files into the store ``<output>/<encoder>``; ``dataset.json`` beside it gains the videos.

    A file is [T, D] of one crop (``NAME__0.npy`` to ``NAME__9.npy``) or [T, crops, D]; row i is snippet i of 16 frames.
    Files are looked for at their path, then by name below the folder of the list. A list with ``test`` in its name is
    the test split. What was imported before from lists of the same content is taken as it is.

    Parameters
    ----------
    lists
        The lists.
    dataset
        ``ucf``, ``xd``, ``shanghaitech``, or another name: then the labels of a csv are the categories.
    output
        Root of the feature stores.
    folder
        Of the official lists, for frame labels; default: beside the first list, where they are there.
    counts
        Frame counts of the videos, where known; otherwise 16 for each row.
    encoder
        Name of the encoder that made the features.

    Raises
    ------
    FeatureError
        A list or a file is wrong or missing, or rows do not fit the frames of a video.
    """
    videos: dict[str, list[Line]] = {}
    for path in lists:
        for line in read_list(path):
            videos.setdefault(line.video, []).append(line)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()
    origin = f"imported from {', '.join(path.name for path in lists)}, sha256 {digest}"
    there = FeatureStore.open(output, encoder) if (output / encoder / MANIFEST).is_file() else None
    same = there is not None and there.manifest.note == origin and (output / FILE).is_file()
    if there is not None and same and not videos.keys() - set(there.ids()):
        return there, Truth.load(output)
    truth = _merged(_truth(dataset, videos, folder, lists[0].parent), output)
    known = {name: video.frame_count for name, video in truth.videos.items() if video.frame_count}
    files = _Files([path.parent for path in lists])
    first = _load(next(iter(videos.values())), files)
    crops = max(len(first), *(len(lines) for lines in videos.values()))
    if there is not None and there.manifest.crops < crops:
        raise FeatureError(
            f"{there.root} has {there.manifest.crops} crops, the lists {crops}", "import all lists at once"
        )
    crops = crops if there is None else there.manifest.crops
    manifest = Manifest(
        encoder=encoder, dim=first.shape[-1], crop="imported", crops=crops, temporal="16 frames a row", note=origin
    )
    fewer = 0
    with FeatureStore.create(output, manifest).adding() as store:
        for video, lines in track(videos.items(), f"importing {', '.join(path.name for path in lists)}"):
            array = _load(lines, files)
            fewer += len(array) < crops
            array = array[np.arange(crops) % len(array)]
            entry = _entry(video, array.shape[1], (known | (counts or {})).get(video), FPS.get(dataset, 30.0))
            store.add(video, array if crops > 1 else array[0], entry)
        truth.save(output)  # before the store counts as whole
    if fewer:
        logger.warning(f"{fewer} videos have fewer than {crops} crops; theirs are repeated")
    return store, truth


def _entry(video: str, rows: int, frames: int | None, fps: float) -> VideoEntry:
    frames = frames or rows * SNIPPET_FRAMES
    if not (rows - 1) * SNIPPET_FRAMES < frames < (rows + 2) * SNIPPET_FRAMES:
        raise FeatureError(
            f"{video}: {rows} rows do not fit its {frames} frames, which are {frames // SNIPPET_FRAMES} snippets",
            "import features of 32 segments as an npz archive",
        )
    return VideoEntry(frame_count=frames, fps=fps, rows=rows)


def _truth(dataset: str, videos: dict[str, list[Line]], folder: Path | None, beside: Path) -> Truth:
    """Labels: of the official lists where they know a video, otherwise of the list or the name."""
    official: Truth | None = None
    try:
        official = read_truth(dataset, folder or beside)
    except (FeatureError, UsageError) as error:
        if folder is not None:
            raise
        logger.info(f"labels come from the list alone, without frame labels: {error.message}")
    known = {} if official is None else dict(official.videos)
    for video, lines in videos.items():
        if video not in known:
            known[video] = VideoTruth(split=lines[0].split, labels=_labels(dataset, lines[0]))
    abnormal = dict.fromkeys(label for video in known.values() for label in video.labels)
    if official is not None:
        categories = official.categories
    else:
        categories = {"ucf": UCF_CATEGORIES, "xd": XD_CATEGORIES}.get(dataset, (NORMAL, *sorted(abnormal)))
    unknown = [label for label in abnormal if label not in categories]
    if unknown:
        raise FeatureError(f"{unknown[0]!r} is no category of {dataset}", f"known: {', '.join(categories)}")
    return Truth(dataset=dataset, normal=NORMAL, categories=categories, videos=known)


def _merged(truth: Truth, output: Path) -> Truth:
    """``truth`` with what ``output`` knows already: other videos, and frame labels that are not in the lists."""
    if not (output / FILE).is_file():
        return truth
    old = Truth.load(output)
    if (old.dataset, old.categories) != (truth.dataset, truth.categories):
        raise FeatureError(f"{output / FILE} is of {old.dataset} or of other categories", "choose another --output")
    kept = {
        name: video
        for name, video in old.videos.items()
        if name not in truth.videos or (video.intervals is not None and truth.videos[name].intervals is None)
    }
    return truth.model_copy(update={"videos": truth.videos | kept})


def _labels(dataset: str, line: Line) -> tuple[str, ...]:
    label = line.label
    if dataset == "xd":
        return xd_labels(label or line.video.rpartition("label_")[2])
    if label is None and dataset == "ucf":
        match = re.match(r"[A-Za-z]+", line.video)
        label = match[0] if match else None
    if label is None:
        raise FeatureError(f"{line.where}: nothing says what {line.video} is labelled", "give a csv with path,label")
    return () if "normal" in label.lower() else (label,)


class _Files:
    """Finds the files of lists: at their path, otherwise by name below the folders of the lists."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._names: dict[str, Path] | None = None

    def find(self, line: Line) -> Path:
        for path in (Path(line.path), *(folder / line.path for folder in self._folders)):
            if path.is_file():
                return path
        if self._names is None:
            self._names = {path.name: path for folder in self._folders for path in folder.rglob("*.npy")}
        name = Path(line.path).name
        if name not in self._names:
            raise FeatureError(
                f"{line.where}: {name} is neither at its path nor below the folder of the list",
                "put the list beside the features",
            )
        return self._names[name]


def _load(lines: Sequence[Line], files: _Files) -> NDArray[np.float32]:
    """Features of one video, float32 [crops, T, D]."""
    parts: list[NDArray[np.float32]] = []
    for line in sorted(lines, key=lambda line: line.crop or 0):
        path = files.find(line)
        array = np.asarray(read_array(path), dtype=np.float32)
        if array.ndim == 3:
            if array.shape[1] not in CROPS:
                raise FeatureError(f"{path} has shape {list(array.shape)}, not [T, D] or [T, crops, D]", "repair it")
            parts.extend(array.transpose(1, 0, 2))
        else:
            parts.append(array)
    if len({part.shape for part in parts}) > 1:
        raise FeatureError(f"{lines[0].video}: its crops differ in shape ({lines[0].where})", "extract it again")
    return np.stack(parts)
