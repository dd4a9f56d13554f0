"""Rows of one division of a video laid onto another: captions onto snippets, snippets onto segments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.samples import Features
from kgvad.errors import FeatureError
from kgvad.video.feature_store import FeatureStore


def lay(values: NDArray[Any], source: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of the rows of ``values`` over each target span, by shared frames; the nearest row where none is shared.

    Parameters
    ----------
    values
        [S, D].
    source, target
        Frames [start, end) of their rows, int64 [S, 2] and [T, 2].

    Returns
    -------
    float32 [T, D]
    """
    middle = source.mean(axis=1)
    rows = []
    for start, end in target:
        shared = np.clip(np.minimum(source[:, 1], end) - np.maximum(source[:, 0], start), 0, None)
        if not shared.any():
            shared[np.abs(middle - (start + end) / 2).argmin()] = 1
        used = np.flatnonzero(shared)
        rows.append(shared[used] @ values[used].astype(np.float64) / shared.sum())
    return np.array(rows, dtype=np.float32)


def laid_text(
    text: FeatureStore, features: FeatureStore, videos: Iterable[str], *, leave_out: bool = False
) -> dict[str, Features]:
    """Caption embeddings of those of ``videos`` that both stores have, one row for each row of ``features``.

    Decoders disagree about the last frames of a video, so frame counts may differ by less than a row. A video where
    they differ by more is an error, or is left out with ``leave_out``.

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
        words, entry = text.info(video), features.info(video)
        row = max(one.stride * (one.segment_snippets or 1) for one in (words, entry))
        if abs(words.frame_count - entry.frame_count) >= row:
            if leave_out:
                continue
            raise FeatureError(
                f"{video}: the captions are of {words.frame_count} frames, the features of {entry.frame_count}",
                "make both from the same video",
            )
        found[video] = lay(text.load(video), words.spans(), entry.spans())
    if not found:
        raise FeatureError(f"{text.root} and {features.root} have no video in common", "name stores of one dataset")
    return found
