"""Are these the same features? Row by row, for those who extract again what others published."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from kgvad.errors import FeatureError
from kgvad.types import AnyArray
from kgvad.video.feature_rows import Arrays, Axes, orientation, oriented
from kgvad.video.feature_sources import Piece, stored_arrays
from kgvad.video.feature_store import FeatureStore
from kgvad.video.store_staging import MANIFEST
from kgvad.video.video_ids import video_id

SAME, CLOSE, RELATED = 0.9999, 0.99, 0.9  # mean cosine of the verdicts


@dataclass(frozen=True)
class Comparison:
    """Two sets of features of one video; cosines are over the rows that both have."""

    video: str
    rows_a: int
    rows_b: int
    mean_cosine: float
    min_cosine: float
    worst_row: int
    length_ratio: float  # median length of rows in a over that in b: tells normalised features from raw ones

    @property
    def verdict(self) -> str:
        """``same``, ``close`` (decoder or precision differ), ``related`` (another recipe) or ``different``."""
        for word, least in (("same", SAME), ("close", CLOSE), ("related", RELATED)):
            if self.mean_cosine >= least:
                return word if self.rows_a == self.rows_b else f"{word}, other length"
        return "different"


def compare_features(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> Iterator[Comparison]:
    """Compare the videos that two feature stores, folders of .npy files, or single .npy files have in common.

    Files are found in sub-folders too. Where features have several crops, the first (the centre) is compared.

    Raises
    ------
    FeatureError
        No video in common, other widths, or a file that is damaged or not finite.
    """
    first, second = _arrays(Path(a)), _arrays(Path(b))
    if len(first) == len(second) == 1:
        pairs = [(next(iter(first)), next(iter(first.values())), next(iter(second.values())))]
    else:
        pairs = [(video, first[video], second[video]) for video in sorted(first.keys() & second.keys())]
    if not pairs:
        raise FeatureError(
            f"{a} and {b} have no video in common",
            f"the names must be the same; the first are {min(first)} and {min(second)}",
        )
    for video, load_a, load_b in pairs:
        yield compare_arrays(video, load_a(), load_b())


def compare_arrays(video: str, a: AnyArray, b: AnyArray) -> Comparison:
    """Compare float [T, D] with float [T', D]."""
    if a.shape[1] != b.shape[1]:
        raise FeatureError(
            f"{video}: the features are {a.shape[1]} and {b.shape[1]} wide", "they come from different encoders"
        )
    common = min(len(a), len(b))
    x, y = np.asarray(a[:common], np.float64), np.asarray(b[:common], np.float64)
    lengths = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    both = np.maximum(lengths[0] * lengths[1], 1e-12)
    cosine = np.where((lengths[0] == 0) & (lengths[1] == 0), 1.0, (x * y).sum(1) / both)
    ratio = float(np.median(lengths[0]) / max(float(np.median(lengths[1])), 1e-12))
    return Comparison(video, len(a), len(b), float(cosine.mean()), float(cosine.min()), int(cosine.argmin()), ratio)


def _arrays(path: Path) -> dict[str, Callable[[], AnyArray]]:
    """Readers of the first crop [T, D] of each video of a store, a folder or a file, by identifier without folders."""
    if path.is_dir() and (any(path.glob(MANIFEST)) or any(path.glob(f"*/{MANIFEST}"))):
        store = FeatureStore.open(path)
        names = {video: video_id(video) for video in store.ids()}
        alone = Counter(names.values())
        return {name if alone[name] == 1 else video: partial(_stored, store, video) for video, name in names.items()}
    pieces, arrays = stored_arrays(path), Arrays()
    shapes = [arrays.shape(piece) or arrays.read(piece).shape for piece in pieces.values()]
    axes = orientation(shapes, str(path))
    return {video: partial(_first_crop, arrays, piece, axes) for video, piece in pieces.items()}


def _stored(store: FeatureStore, video: str) -> AnyArray:
    array = store.load(video)
    return array[0] if array.ndim == 3 else array


def _first_crop(arrays: Arrays, piece: Piece, axes: Axes) -> AnyArray:
    crop: AnyArray = oriented(arrays.read(piece), axes)[0]
    return crop
