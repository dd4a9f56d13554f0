"""Features of other programs into a feature store.

Lists in use: VadCLIP's CSV (header ``path,label``; one file per video and crop, ``NAME__0.npy`` ... ``NAME__9.npy``)
and the ``.list`` of RTFM and DeepMIL (one path a line, perhaps followed by other columns; RTFM's arrays are
[T, 10, D] and named ``NAME_i3d.npy``). The paths in published lists are their authors'; files are found by name.
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.console import track
from kgvad.errors import FeatureError, UsageError
from kgvad.files import refuse_inputs
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_arrays import read_array
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

_CROP = re.compile(r"__(\d)$")
_SUFFIXES = ("_i3d", "_c3d", "_clip")  # that lists put behind the name of the video


def import_features(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    encoder: str,
    *,
    listing: str | os.PathLike[str] | None = None,
    fps: float = 30.0,
    stride: int = SNIPPET_FRAMES,
    note: str | None = None,
) -> FeatureStore:
    """Copy .npy features of another program into the store ``<output>/<encoder>``.

    Parameters
    ----------
    source
        Folder that holds the .npy files, in it or in its sub-folders.
    output
        Root of the feature stores.
    encoder
        What made them, for example ``vadclip-vit-b16``; features of different origin need different names.
    listing
        CSV or ``.list`` file that says which files to take; default: all.
    fps
        Frames a second of the videos, which arrays do not tell.
    stride
        Frames per row.
    note
        Where the features come from; kept in the manifest.

    Returns
    -------
    FeatureStore
        Frame counts in it are rows times stride, because arrays do not tell the tail.

    Raises
    ------
    UsageError
        The folder or the list does not exist.
    FeatureError
        A listed file is missing, a crop is missing, or an array is damaged, not finite or of another shape than the
        others; the message names it.
    """
    source = Path(source)
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder", "name the folder that holds the .npy files")
    files = sorted(source.rglob("*.npy"))
    if listing is not None:
        files = _listed(read_listing(listing), files, source)
    if not files:
        raise FeatureError(f"{source} holds no .npy file", "name the folder that holds them")
    videos = _grouped(files)
    refuse_inputs({"--output": Path(output) / encoder}, [source])
    first = _joined(*next(iter(videos.items())))
    crops = len(first) if first.ndim == 3 else 1
    manifest = Manifest(
        encoder=encoder,
        dim=first.shape[-1],
        crop="ten" if crops == 10 else "unknown",
        crops=crops,
        stride=stride,
        note=note or f"imported from {source.name}",
    )
    with FeatureStore.create(output, manifest).adding() as store:
        _add_all(store, videos, fps, stride)
    return store


def _add_all(store: FeatureStore, videos: dict[str, list[tuple[int | None, Path]]], fps: float, stride: int) -> None:
    for video, parts in track(videos.items(), "importing features", len(videos)):
        array = _joined(video, parts)
        crops = len(array) if array.ndim == 3 else 1
        if array.shape[-1] != store.manifest.dim or crops != store.manifest.crops:
            raise FeatureError(
                f"{parts[0][1]}: {crops} crops of width {array.shape[-1]}, where the others have "
                f"{store.manifest.crops} of {store.manifest.dim}",
                "import features of one kind at a time",
            )
        rows = array.shape[-2]
        store.add(video, array, VideoEntry(frame_count=rows * stride, fps=fps, rows=rows, stride=stride))


def read_listing(path: str | os.PathLike[str]) -> list[str]:
    """Paths in a CSV with a column ``path``, or in the first column of a ``.list`` file, as they stand there."""
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the list {path}: {error.strerror}", "check the name") from error
    except UnicodeDecodeError as error:
        raise FeatureError(f"{path} is no text file", "name a CSV or .list file") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and "," in lines[0]:
        rows = list(csv.DictReader(lines))
        if "path" not in (rows[0] if rows else {}):
            raise FeatureError(
                f"{path} has no column 'path'", "the first line names the columns, as VadCLIP's lists do"
            )
        return [row["path"] for row in rows if row["path"]]
    return [line.split()[0] for line in lines]


def _listed(wanted: Iterable[str], files: list[Path], source: Path) -> list[Path]:
    by_name = defaultdict(list)
    for file in files:
        by_name[file.name].append(file)
    chosen = []
    for entry in wanted:
        name = re.split(r"[/\\]", entry)[-1]
        name = name if name.endswith(".npy") else f"{name}.npy"
        if name not in by_name:
            raise FeatureError(
                f"{source} has no file {name}, which the list names", "copy it there or shorten the list"
            )
        if len(by_name[name]) > 1:
            raise FeatureError(
                f"{source} has {len(by_name[name])} files called {name}", "import their folders one by one"
            )
        chosen.append(by_name[name][0])
    return chosen


def _grouped(files: Iterable[Path]) -> dict[str, list[tuple[int | None, Path]]]:
    """Video -> (crop or None, file), crops in order."""
    videos: dict[str, dict[int | None, Path]] = defaultdict(dict)
    for file in files:
        stem = file.stem
        found = _CROP.search(stem)
        crop = int(found.group(1)) if found else None
        stem = _CROP.sub("", stem)
        for suffix in _SUFFIXES:
            stem = stem.removesuffix(suffix)
        if crop in videos[stem] and videos[stem][crop] != file:
            raise FeatureError(f"{videos[stem][crop]} and {file} are features of the same video", "import one of them")
        videos[stem][crop] = file
    return {video: sorted(parts.items(), key=lambda part: part[0] or 0) for video, parts in sorted(videos.items())}


def _joined(video: str, parts: list[tuple[int | None, Path]]) -> NDArray[Any]:
    """[T, D] or [crops, T, D]."""
    arrays = [read_array(path) for _, path in parts]
    if len(parts) == 1:
        array = arrays[0]
        # RTFM keeps [T, crops, D]; ours is [crops, T, D]
        return (
            np.ascontiguousarray(array.transpose(1, 0, 2)) if array.ndim == 3 and array.shape[1] in (5, 10) else array
        )
    crops = [crop for crop, _ in parts]
    if crops != list(range(len(crops))):
        missing = next((crop for crop in range(10) if crop not in crops), None)
        raise FeatureError(f"{video} has no crop {missing} ({parts[0][1].parent})", "all videos need the same crops")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise FeatureError(f"the crops of {video} have different shapes {sorted(shapes)}", "extract that video again")
    return np.stack(arrays)
