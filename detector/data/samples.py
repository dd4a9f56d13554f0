"""Training videos: features from a store, labels from the dataset, batches that are drawn the same way every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.detector.api import Batch
from kgvad.detector.data.annotations import Split, Truth
from kgvad.errors import FeatureError

Features = NDArray[np.floating]


class Source(Protocol):
    """What training needs of a feature store (kgvad.video.feature_store.FeatureStore has it)."""

    def ids(self) -> list[str]: ...

    def load(self, video: str, /) -> Features: ...


@dataclass(frozen=True, eq=False)
class Sample:
    """One training sample: a video, or one crop of it.

    ``features`` is [T, D], memory-mapped where the store maps it; ``text`` is [T, E] or ``None``.
    """

    video: str
    target: NDArray[np.float32]  # [C]
    features: Features
    text: Features | None = None


def load_samples(
    store: Source,
    truth: Truth,
    categories: Sequence[str],
    normal: int,
    split: Split = "train",
    text: Mapping[str, Features] | None = None,
) -> list[Sample]:
    """Samples of the videos of ``split`` that the store has; each crop of a video is a sample of its own.

    Parameters
    ----------
    store
        Features by video.
    truth
        Labels.
    categories, normal
        Category axis; a label that is not on it is an error.
    text
        Caption embeddings by video, [T, E]; videos without one are left out.

    Raises
    ------
    FeatureError
        No video of the split has features, a file has the wrong shape, no rows, NaN or infinite values.
    """
    position = {name: index for index, name in enumerate(categories)}
    present = set(store.ids())
    samples: list[Sample] = []
    width: int | None = None
    for video in truth.split(split):
        if video not in present or (text is not None and video not in text):
            continue
        target = np.zeros(len(categories), dtype=np.float32)
        for label in truth.videos[video].labels:
            if label not in position:
                raise FeatureError(
                    f"{video} is labelled {label!r}, which is not in the anchor bank or category list",
                    "build the anchors for this dataset",
                )
            target[position[label]] = 1.0
        if not truth.videos[video].labels:
            target[normal] = 1.0
        array = checked(store.load(video), video, width)
        width = array.shape[-1]
        for crop in array if array.ndim == 3 else array[None]:
            samples.append(Sample(video, target, crop, None if text is None else text[video]))
    if not samples:
        raise FeatureError(
            f"none of the {len(truth.split(split))} {split} videos of {truth.dataset} has features",
            "extract them with kgvad extract, or import them with kgvad features import",
        )
    return samples


def checked(features: Features, video: str, width: int | None = None) -> Features:
    """``features`` if it is finite, has rows and the expected width; otherwise a FeatureError that names the video."""
    if features.ndim not in (2, 3) or features.shape[-1] == 0:
        raise FeatureError(
            f"{video}: features have shape {list(features.shape)}, not [T, D] or [crops, T, D]", "extract it again"
        )
    if features.shape[-2] == 0:
        raise FeatureError(f"{video}: features have no rows", "leave the video out, it is shorter than one snippet")
    if width is not None and features.shape[-1] != width:
        raise FeatureError(
            f"{video}: features are {features.shape[-1]} wide, the others {width}", "extract all with one encoder"
        )
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).reshape(-1, features.shape[-1]).all(axis=1))[0])
        raise FeatureError(f"{video}: features have NaN or infinite values (row {row})", "extract it again")
    return features


def resample(features: Features, length: int) -> NDArray[np.float32]:
    """At most ``length`` rows: row i is the mean of rows [r_i, r_(i+1)) of linspace(0, n, length + 1).

    A video with fewer rows stays as it is (Sultani et al. 2018; VadCLIP's loader).
    """
    rows = features.shape[0]
    if rows <= length:
        return np.asarray(features, dtype=np.float32)
    edges = np.linspace(0, rows, length + 1).astype(np.int64)  # rows > length: every part has a row
    sums = np.add.reduceat(np.asarray(features, dtype=np.float64), edges[:-1], axis=0)
    return (sums / np.diff(edges)[:, None]).astype(np.float32)


def collate(samples: Sequence[Sample], normal: int, max_length: int, device: torch.device | str = "cpu") -> Batch:
    """Batch cut to its longest video, zero-padded at the end."""
    arrays = [resample(sample.features, max_length) for sample in samples]
    lengths = [len(array) for array in arrays]
    batch = Batch(
        _pad(arrays, max(lengths)).to(device),
        torch.tensor(lengths, device=device),
        torch.from_numpy(np.stack([sample.target for sample in samples])).to(device),
        normal,
        None
        if samples[0].text is None
        else _pad([resample(s.text, max_length) for s in samples if s.text is not None], max(lengths)).to(device),
    )
    return batch


def _pad(arrays: Sequence[NDArray[np.float32]], size: int) -> torch.Tensor:
    padded = np.zeros((len(arrays), size, arrays[0].shape[-1]), dtype=np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)


class Sampler:
    """Batches of half normal, half abnormal samples, a function of (seed, epoch) alone.

    Each epoch walks through a fresh permutation of the larger kind; the smaller kind is walked through as often as
    needed. Where one kind is missing, batches are of the other.

    Parameters
    ----------
    targets
        float32 [N, C].
    normal
        Index of Normal.
    normal_batch, abnormal_batch
        Samples of each kind in a batch.
    seed
        Non-negative.
    balance
        Draw abnormal samples so that every category comes equally often.
    """

    def __init__(
        self,
        targets: NDArray[np.float32],
        normal: int,
        normal_batch: int,
        abnormal_batch: int,
        seed: int,
        balance: bool = False,
    ) -> None:
        quiet = targets[:, normal] > 0
        self._kinds = [
            (np.flatnonzero(quiet), normal_batch, None),
            (np.flatnonzero(~quiet), abnormal_batch, _category_shares(targets[~quiet]) if balance else None),
        ]
        self._kinds = [kind for kind in self._kinds if len(kind[0]) and kind[1]]
        if not self._kinds:
            raise FeatureError("there is no training video of a kind that a batch asks for", "enlarge the batch")
        self._seed = seed
        self.steps = max(-(-len(index) // size) for index, size, _ in self._kinds)

    def epoch(self, number: int) -> Iterator[NDArray[np.int64]]:
        """Sample numbers of each batch of epoch ``number``."""
        draws = [
            self._walk(np.random.default_rng([self._seed, number, kind]), *parts)
            for kind, parts in enumerate(self._kinds)
        ]
        for step in range(self.steps):
            yield np.concatenate([draw[step] for draw in draws])

    def _walk(
        self,
        random: np.random.Generator,
        index: NDArray[np.int64],
        size: int,
        shares: NDArray[np.float64] | None,
    ) -> NDArray[np.int64]:
        wanted = self.steps * size
        if shares is not None:
            return random.choice(index, wanted, p=shares).reshape(self.steps, size)
        laps = [random.permutation(index) for _ in range(-(-wanted // len(index)))]
        return np.concatenate(laps)[:wanted].reshape(self.steps, size)


def _category_shares(targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Chance of each sample under which its category is as likely as any other."""
    count = targets.sum(0)
    weight: NDArray[np.float64] = (targets / np.maximum(count, 1)).sum(1).astype(np.float64)
    weight /= weight.sum()
    return weight
