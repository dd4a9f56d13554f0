"""Values of one division of a video resampled to another: captions to snippets, snippets to segments."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.samples import Features
from kgvad.errors import FeatureError
from kgvad.types import AnyArray
from kgvad.video.feature_store import FeatureStore, VideoEntry


def resample_spans(values: AnyArray, source: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of ``values`` over each target span, weighted by shared frames; the nearest value where none is shared.

    Parameters
    ----------
    values
        [S, D].
    source, target
        Frames [start, end), int64 [S, 2] and [T, 2].

    Returns
    -------
    float32 [T, D]
    """
    middle = source.mean(axis=1)
    means = []
    for start, end in target:
        shared = np.clip(np.minimum(source[:, 1], end) - np.maximum(source[:, 0], start), 0, None)
        if not shared.any():
            shared[np.abs(middle - (start + end) / 2).argmin()] = 1
        used = np.flatnonzero(shared)
        means.append(shared[used] @ values[used].astype(np.float64) / shared.sum())
    return np.array(means, dtype=np.float32)


def resample_captions(
    text: FeatureStore, features: FeatureStore, videos: Iterable[str], *, skip_mismatched: bool = False
) -> dict[str, Features]:
    """Caption embeddings resampled to the snippets of ``features``, for those of ``videos`` that both stores have.

    Decoders disagree about the last frames of a video, so frame counts may differ by less than one snippet. A video
    where they differ by more is an error, or is skipped with ``skip_mismatched``.

    Raises
    ------
    FeatureError
        The frame counts of a video differ, or the stores share none of ``videos``.
    """
    found: dict[str, Features] = {}
    present = set(text.ids()).intersection(features.ids())
    for video in videos:
        if video not in present:
            continue
        captions, entry = text.info(video), features.info(video)
        snippet = max(_row_frames(captions), _row_frames(entry))
        if abs(captions.frame_count - entry.frame_count) >= snippet:
            if skip_mismatched:
                continue
            raise FeatureError(
                f"{video}: the captions cover {captions.frame_count} frames, the features {entry.frame_count}",
                "make both from the same video",
            )
        found[video] = resample_spans(text.load(video), captions.spans(), entry.spans())
    if not found:
        raise FeatureError(f"{text.root} and {features.root} have no video in common", "use stores of the same dataset")
    return found


def _row_frames(entry: VideoEntry) -> int:
    """Frames of one row, the last apart."""
    if entry.layout == "even":
        return entry.frame_count // entry.rows
    return entry.stride * (entry.segment_snippets or 1)
