"""Feature archives of other programs into a feature store with labels."""

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


FPS = {"ucf": 30.0, "xd": 24.0, "shanghaitech": 24.0}  # what the datasets' videos run at


def import_segments(
    archive: str | os.PathLike[str],
    dataset: str,
    output: str | os.PathLike[str],
    *,
    lists: str | os.PathLike[str] | None = None,
    frames: Sequence[str | os.PathLike[str]] = (),
    encoder: str = "c3d",
) -> tuple[FeatureStore, Truth]:
    """Turn a 32-segment archive into the store ``<output>/<encoder>`` and write ``dataset.json`` beside it.

    The archive is an npz file. A video is one array ``NAME`` [N, D], or two: ``NAME|q`` uint8 [N, D] and ``NAME|s``
    [N], with row = (q / 255)^2 * s. Row i covers m snippets, m = (frames // 16) // N; the tail of the video takes the
    last row.

    Parameters
    ----------
    archive
        The npz file.
    dataset
        Whose lists say what the videos are labelled.
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
    truth = read_truth(dataset, archive.parent if lists is None else lists)
    counts = {name: video.frame_count for name, video in truth.videos.items() if video.frame_count}
    for table in frames:
        counts |= frame_counts(Path(table))
    bundle = _open(archive)
    names = sorted({name.partition("|")[0] for name in bundle.names})
    known = [name for name in names if name in truth.videos]
    if not known:
        raise FeatureError(f"{archive} has no video of the lists of {dataset}", "check --dataset and --lists")
    if len(known) < len(names):
        logger.warning(f"{len(names) - len(known)} videos of {archive} are on no list of {dataset} and are left out")
    first = _rows(bundle, archive, known[0])
    manifest = Manifest(
        encoder=encoder,
        dim=first.shape[1],
        temporal=f"{len(first)} segments",
        note=f"imported from {archive.name}, sha256 {sha256(archive)}",
    )
    unknown = 0
    with FeatureStore.create(output, manifest).adding() as store:
        for name in track(known, f"importing {archive.name}"):
            rows = _rows(bundle, archive, name)
            count = counts.get(name, 0)
            snippets = count // SNIPPET_FRAMES // len(rows)
            if snippets == 0 and truth.videos[name].split == "test":
                raise FeatureError(
                    f"{name}: the number of frames of this test video is unknown or too small for {len(rows)} segments",
                    "give a table of frame counts with --frames",
                )
            if snippets == 0:
                unknown += 1
                count, snippets = len(rows) * SNIPPET_FRAMES, 1
            store.add(
                name,
                rows,
                VideoEntry(
                    frame_count=count,
                    fps=FPS[dataset],
                    rows=len(rows),
                    layout="segments",
                    segment_snippets=snippets,
                ),
            )
        truth.save(output)  # before the store counts as whole
    if unknown:
        logger.warning(
            f"the length of {unknown} training videos is unknown: training does not need it, times in them mean nothing"
        )
    return store, truth


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


def _rows(bundle: Archive, archive: Path, name: str) -> NDArray[np.float32]:
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
