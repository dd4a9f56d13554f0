"""Features of a store in the forms that other programs read; ``kgvad features import`` reads them back."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kgvad.console import track
from kgvad.detector.data.annotations import FILE, Truth
from kgvad.detector.data.resample import resample_spans
from kgvad.errors import FeatureError
from kgvad.files import new_folder, refuse_inputs
from kgvad.hdf5_arrays import import_h5py
from kgvad.types import AnyArray
from kgvad.video.feature_store import FeatureStore, VideoEntry

Form = Literal["npy", "hdf5", "segments"]
FORMS: tuple[Form, ...] = ("npy", "hdf5", "segments")
SEGMENTS = 32  # of a video, as in Sultani et al. 2018
LIST, SPANS, HDF5, ARCHIVE = "features.csv", "spans.csv", "features.h5", "features.npz"


@dataclass(frozen=True)
class _Video:
    """What the list says of a video; label and split are ``None`` where the store has no labels."""

    name: str
    entry: VideoEntry
    label: str | None
    split: str | None


def export_features(store: FeatureStore, output: Path, form: Form) -> Path:
    """Write the features of ``store`` into a new folder, and return what ``features import`` reads.

    Parameters
    ----------
    store
        The store. Labels are taken from ``dataset.json`` beside it, where that knows all its videos.
    output
        The folder; it appears when it is whole.
    form
        ``npy``: a .npy file a video, float16 [T, D] or [crops, T, D], beside ``features.csv`` (path, label, split,
        frames, fps) and ``spans.csv`` (start and end of each row in frames). ``hdf5``: the same arrays as datasets of
        ``features.h5``, what the list says as their attributes. ``segments``: ``features.npz``, an array a video of
        the means over 32 equal parts of it, float32 [32, D] or [crops, 32, D].

    Returns
    -------
    The list, the HDF5 file, or the archive.

    Raises
    ------
    UsageError
        ``output`` exists.
    FeatureError
        The store is empty, an array of it is damaged, or a video is too short for 32 segments.
    KgvadError
        h5py is not installed.
    """
    if not store.ids():
        raise FeatureError(f"{store.root} holds no videos", "extract some first")
    refuse_inputs({"--output": output}, [store.root])
    videos = _videos(store)
    with new_folder(output) as folder:
        with (folder / LIST).open("w", encoding="utf-8", newline="") as out:
            out.write(_list(videos, ".npy" if form == "npy" else ""))
        if form == "npy":
            _write_npy(store, videos, folder)
        elif form == "hdf5":
            _write_hdf5(store, videos, folder)
        else:
            _write_segments(store, videos, folder)
        if form != "segments":
            (folder / SPANS).write_text(_spans(videos), "utf-8")
    return output / {"npy": LIST, "hdf5": HDF5, "segments": ARCHIVE}[form]


def _videos(store: FeatureStore) -> list[_Video]:
    folder = store.root.parent
    truth = Truth.load(folder) if (folder / FILE).is_file() else None
    known: Mapping[str, object] = {} if truth is None else truth.videos
    if truth is None or not set(store.ids()) <= known.keys():
        return [_Video(name, store.info(name), None, None) for name in store.ids()]
    return [
        _Video(name, store.info(name), "|".join(truth.videos[name].labels) or truth.normal, truth.videos[name].split)
        for name in store.ids()
    ]


def _list(videos: list[_Video], suffix: str) -> str:
    labelled = videos[0].label is not None
    header: list[object] = ["path", *(["label", "split"] if labelled else []), "frames", "fps"]
    rows: list[list[object]] = [
        [f"{one.name}{suffix}", *([one.label, one.split] if labelled else []), one.entry.frame_count, one.entry.fps]
        for one in videos
    ]
    return _csv([header, *rows])


def _spans(videos: list[_Video]) -> str:
    rows: list[list[object]] = [[one.name, start, end] for one in videos for start, end in one.entry.spans().tolist()]
    return _csv([["video", "start_frame", "end_frame"], *rows])


def _csv(rows: list[list[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _write_npy(store: FeatureStore, videos: list[_Video], folder: Path) -> None:
    for one in track(videos, "exporting features", len(videos)):
        target = folder / f"{one.name}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, store.load(one.name))


def _write_hdf5(store: FeatureStore, videos: list[_Video], folder: Path) -> None:
    h5py = import_h5py()
    with h5py.File(folder / HDF5, "w") as file:
        file.attrs["encoder"] = store.manifest.encoder
        file.attrs["fingerprint"] = store.fingerprint
        for one in track(videos, "exporting features", len(videos)):
            data = file.create_dataset(one.name, data=store.load(one.name))
            data.attrs["frames"], data.attrs["fps"] = one.entry.frame_count, one.entry.fps
            if one.label is not None:
                data.attrs["label"], data.attrs["split"] = one.label, one.split


def _write_segments(store: FeatureStore, videos: list[_Video], folder: Path) -> None:
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_STORED, allowZip64=True) as bundle:
        for one in track(videos, "exporting features", len(videos)):
            array = segment_means(store.load(one.name), one.entry, one.name)
            with bundle.open(zipfile.ZipInfo(f"{one.name}.npy"), "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def segment_means(features: AnyArray, entry: VideoEntry, video: str) -> NDArray[np.float32]:
    """Means over 32 equal parts of a video, weighted by frames, float32 [32, D] or [crops, 32, D].

    Raises
    ------
    FeatureError
        The video has fewer than 32 frames.
    """
    if entry.frame_count < SEGMENTS:
        raise FeatureError(
            f"{video} has {entry.frame_count} frames, too few for {SEGMENTS} segments", "export with --format npy"
        )
    edges = np.arange(SEGMENTS + 1, dtype=np.int64) * entry.frame_count // SEGMENTS
    target = np.stack([edges[:-1], edges[1:]], axis=1)
    if features.ndim == 2:
        return resample_spans(features, entry.spans(), target)
    return np.stack([resample_spans(crop, entry.spans(), target) for crop in features])
