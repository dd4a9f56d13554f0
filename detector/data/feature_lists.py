"""Import of lists of feature files (VadCLIP's csv, .list files of RTFM and DeepMIL) as a feature store."""

from __future__ import annotations

import csv
import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
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
CROPS = (5, 10)  # of the three-dimensional files of these programs
NORMAL = "Normal"


@dataclass(frozen=True)
class Line:
    """One feature file of a list."""

    video: str
    crop: int | None  # of a file that holds one crop
    path: str
    label: str | None
    split: Split
    where: str  # list and line number, for messages


def import_any(
    paths: Sequence[Path],
    dataset: str,
    output: Path,
    *,
    lists: Path | None = None,
    frames: Sequence[Path] = (),
    encoder: str | None = None,
) -> Path:
    """Import lists of feature files, or one archive of segments; return the folder of the store."""
    kinds = {path.suffix.lower() in SUFFIXES for path in paths}
    if kinds == {True}:
        counts = {video: count for table in frames for video, count in frame_counts(table).items()}
        name = encoder or "imported"
        return import_lists(paths, dataset, output, folder=lists, counts=counts, encoder=name)[0].root
    if len(paths) > 1:
        raise UsageError("only lists can be imported together", "name one archive, or only lists")
    return import_segments(paths[0], dataset, output, lists=lists, frames=frames, encoder=encoder or "c3d")[0].root


def read_list(path: Path) -> list[Line]:
    """Lines of a list: ``path,label`` under a header in a csv, otherwise one path a line.

    Raises
    ------
    FeatureError
        The list is missing, empty or has another format.
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
            raise FeatureError(
                f"{where}: {','.join(row)[:60]!r} does not name a .npy file (csv: and its label)", "correct the line"
            )
        stem = Path(name).name.removesuffix(".npy")
        match = re.fullmatch(r"(.+)__(\d+)", stem)
        video = re.sub(r"(\.mp4)?(_i3d|_c3d)?$", "", match[1] if match else stem)
        label = row[1].strip() if len(row) > 1 else None
        found.append(Line(video, int(match[2]) if match else None, name, label, split, where))
    if not found:
        raise FeatureError(f"{path} names no feature files", "name a list of feature files")
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
    """Import lists of feature files as the store ``<output>/<encoder>``; update ``dataset.json`` beside it.

    A file is [T, D] of one crop (``NAME__0.npy`` to ``NAME__9.npy``) or [T, crops, D], with snippets of 16 frames.
    Files are searched at their path, then by name below the folder of the list. A list with ``test`` in its name is
    the test split. A store that was imported from lists of the same content is returned as it is.

    Parameters
    ----------
    lists
        The lists.
    dataset
        ``ucf``, ``xd``, ``shanghaitech``, or another name; the labels of the csv are then the categories.
    output
        Root of the feature stores.
    folder
        Folder of the official lists, for frame labels; default: the folder of the first list, if they are there.
    counts
        Frame counts of the videos, where known; otherwise 16 for each snippet.
    encoder
        Name of the encoder that made the features.

    Raises
    ------
    FeatureError
        A list or a file is wrong or missing, or its snippets do not fit the frames of a video.
    """
    videos: dict[str, list[Line]] = {}
    for path in lists:
        for line in read_list(path):
            videos.setdefault(line.video, []).append(line)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()
    note = f"imported from {', '.join(path.name for path in lists)}, sha256 {digest}"
    existing = FeatureStore.open(output, encoder) if (output / encoder / MANIFEST).is_file() else None
    if existing is not None and _is_complete(existing, note, videos) and (output / FILE).is_file():
        return existing, Truth.load(output)
    truth = _merged(_truth(dataset, videos, folder, lists[0].parent), output)
    frame_counts = {name: video.frame_count for name, video in truth.videos.items()} | (counts or {})
    files = _Files([path.parent for path in lists])
    first = _load(next(iter(videos.values())), files)
    crops = _crops(existing, max(len(first), *(len(lines) for lines in videos.values())))
    manifest = Manifest(
        encoder=encoder, dim=first.shape[-1], crop="imported", crops=crops, temporal="16 frames a row", note=note
    )
    repeated = 0
    with FeatureStore.create(output, manifest).adding() as store:
        for video, lines in track(videos.items(), f"importing {', '.join(path.name for path in lists)}"):
            array = _load(lines, files)
            repeated += len(array) < crops
            array = array[np.arange(crops) % len(array)]
            entry = _entry(video, array.shape[1], frame_counts.get(video), FPS.get(dataset, 30.0))
            store.add(video, array if crops > 1 else array[0], entry)
        truth.save(output)  # before the store counts as whole
    if repeated:
        logger.warning(f"{repeated} videos have fewer than {crops} crops; their crops are repeated")
    return store, truth


def _is_complete(store: FeatureStore, note: str, videos: Iterable[str]) -> bool:
    """Whether the store was imported from the lists that ``note`` names and has all their videos."""
    return store.manifest.note == note and not set(videos).difference(store.ids())


def _crops(existing: FeatureStore | None, wanted: int) -> int:
    """Crops of the store: of the existing one, otherwise as many as wanted."""
    if existing is None:
        return wanted
    if existing.manifest.crops < wanted:
        raise FeatureError(
            f"{existing.root} has {existing.manifest.crops} crops, the lists {wanted}", "import all lists together"
        )
    return existing.manifest.crops


def _entry(video: str, snippets: int, frames: int | None, fps: float) -> VideoEntry:
    frames = frames or snippets * SNIPPET_FRAMES
    if not (snippets - 1) * SNIPPET_FRAMES < frames < (snippets + 2) * SNIPPET_FRAMES:
        raise FeatureError(
            f"{video}: features of {snippets} snippets do not fit its {frames} frames "
            f"({frames // SNIPPET_FRAMES} snippets)",
            "import features of 32 segments as an npz archive",
        )
    return VideoEntry(frame_count=frames, fps=fps, rows=snippets)


def _truth(dataset: str, videos: dict[str, list[Line]], folder: Path | None, beside: Path) -> Truth:
    """Labels from the official lists where they name a video, otherwise from the list or the name of the video."""
    official: Truth | None = None
    try:
        official = read_truth(dataset, folder or beside)
    except (FeatureError, UsageError) as error:
        if folder is not None:
            raise
        logger.info(f"using the labels of the list, without frame labels: {error.message}")
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
        raise FeatureError(f"{unknown[0]!r} is not a category of {dataset}", f"known: {', '.join(categories)}")
    return Truth(dataset=dataset, normal=NORMAL, categories=categories, videos=known)


def _merged(truth: Truth, output: Path) -> Truth:
    """``truth`` with what ``output`` has already: other videos, and frame labels that the lists do not have."""
    if not (output / FILE).is_file():
        return truth
    old = Truth.load(output)
    if (old.dataset, old.categories) != (truth.dataset, truth.categories):
        raise FeatureError(
            f"{output / FILE} is of the dataset {old.dataset} or has other categories", "choose another --output"
        )
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
        raise FeatureError(f"{line.where}: {line.video} has no label", "give a csv with path,label")
    return () if "normal" in label.lower() else (label,)


class _Files:
    """Finds the files of lists, at their path or else by name below the folders of the lists."""

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
