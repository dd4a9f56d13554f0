"""Import of segment features: an npz archive of another program becomes a feature store with labels."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.arrays import Archive, open_npz
from kgvad.console import track
from kgvad.detector.data.annotations import Truth, read_frame_counts, read_truth
from kgvad.errors import FeatureError
from kgvad.files import read_json, reading, sha256
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

logger = logging.getLogger(__name__)


FPS = {"ucf": 30.0, "xd": 24.0, "shanghaitech": 24.0}  # frame rates of the videos of the datasets


def import_segments(
    archive: str | os.PathLike[str],
    dataset: str,
    output: str | os.PathLike[str],
    *,
    lists: str | os.PathLike[str] | None = None,
    frames: Sequence[str | os.PathLike[str]] = (),
    encoder: str = "c3d",
) -> tuple[FeatureStore, Truth]:
    """Import a 32-segment archive as the store ``<output>/<encoder>`` and write ``dataset.json`` beside it.

    The archive is an npz file. A video is one array ``NAME`` [N, D], or two: ``NAME|q`` uint8 [N, D] and ``NAME|s``
    [N], with features (q / 255)^2 * s. Segment i covers m snippets, m = (frames // 16) // N; the tail of the video
    belongs to the last segment.

    Parameters
    ----------
    archive
        The npz file.
    dataset
        Dataset whose lists label the videos.
    output
        Root of the feature stores.
    lists
        Folder of the official lists; default: beside the archive.
    frames
        More tables of frame counts (CSV or TSV with ``video`` and ``n_frames``, or JSON).
    encoder
        Name of the encoder that made the features.

    Raises
    ------
    FeatureError
        The archive is damaged or has no known video, or the frame count of a test video is unknown.
    """
    archive = Path(archive)
    bundle = _open(archive)
    truth = read_truth(dataset, archive.parent if lists is None else lists)
    counts = _all_frame_counts(truth, frames)
    known = _known_videos(bundle, archive, truth)
    first = _features(bundle, archive, known[0])
    manifest = Manifest(
        encoder=encoder,
        dim=first.shape[1],
        temporal=f"{len(first)} segments",
        note=f"imported from {archive.name}, sha256 {sha256(archive)}",
    )
    unknown = 0
    with FeatureStore.create(output, manifest).adding() as store:
        for name in track(known, f"importing {archive.name}"):
            segments = _features(bundle, archive, name)
            count = counts.get(name, 0)
            if count // SNIPPET_FRAMES < len(segments):
                _require_training_video(truth, name, len(segments))
                unknown += 1
                count = len(segments) * SNIPPET_FRAMES
            store.add(name, segments, _entry(count, len(segments), FPS[dataset]))
        truth.save(output)  # before the store counts as whole
    if unknown:
        logger.warning(f"{unknown} training videos have no frame count: their times mean nothing, training needs none")
    return store, truth


def _known_videos(bundle: Archive, archive: Path, truth: Truth) -> list[str]:
    """Videos of the archive that the lists of the dataset name."""
    names = sorted({name.partition("|")[0] for name in bundle.names})
    known = [name for name in names if name in truth.videos]
    skipped = len(names) - len(known)
    if not known:
        raise FeatureError(
            f"{archive} has no video that the lists of {truth.dataset} name", "check --dataset and --lists"
        )
    if skipped:
        logger.warning(f"{skipped} videos of {archive} are not in the lists of {truth.dataset} and are skipped")
    return known


def _require_training_video(truth: Truth, name: str, segments: int) -> None:
    if truth.videos[name].split == "test":
        raise FeatureError(
            f"{name}: this test video has no frame count, or too few frames for {segments} segments",
            "give a table of frame counts with --frames",
        )


def _all_frame_counts(truth: Truth, tables: Sequence[str | os.PathLike[str]]) -> dict[str, int]:
    """Frame counts of the dataset, then those of the tables."""
    counts = {name: video.frame_count for name, video in truth.videos.items() if video.frame_count}
    for table in tables:
        counts |= frame_counts(Path(table))
    return counts


def _entry(frame_count: int, segments: int, fps: float) -> VideoEntry:
    return VideoEntry(
        frame_count=frame_count,
        fps=fps,
        rows=segments,
        layout="segments",
        segment_snippets=frame_count // SNIPPET_FRAMES // segments,
    )


def frame_counts(path: Path) -> dict[str, int]:
    """Frame counts by video from a CSV, TSV or JSON table."""
    if path.suffix.lower() != ".json":
        return read_frame_counts(path)
    table = read_json(path, FeatureError, "give {video: frames}")
    try:
        return {video: int(row["n_frames"] if isinstance(row, dict) else row) for video, row in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FeatureError(f"{path} is not a table of frame counts: {error}", "give {video: frames}") from error


def _open(archive: Path) -> Archive:
    if not archive.is_file():
        raise FeatureError(f"{archive} is {'a folder' if archive.is_dir() else 'missing'}", "name an npz archive")
    with archive.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise FeatureError(f"{archive} is a single array, not an npz archive", "name an npz archive")
    return open_npz(archive, FeatureError, "copy it again")


def _features(bundle: Archive, archive: Path, name: str) -> NDArray[np.float32]:
    """Features of one video, float32 [segments, D]."""
    with reading(f"{archive}: {name}", FeatureError, "copy the archive again"):
        if f"{name}|q" in bundle.names:
            small, scale = bundle[f"{name}|q"], bundle[f"{name}|s"].astype(np.float32)
            rows = np.asarray((small.astype(np.float32) / 255) ** 2 * scale[:, None], dtype=np.float32)
        else:
            rows = np.asarray(bundle[name], dtype=np.float32)
    if rows.ndim != 2 or 0 in rows.shape:
        raise FeatureError(f"{archive}: {name} has shape {list(rows.shape)}, not [segments, D]", "repair it")
    return rows
