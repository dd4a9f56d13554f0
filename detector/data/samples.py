"""Training samples: features from a store, labels from the dataset, and deterministic batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.detector.api import Batch
from kgvad.detector.data.annotations import Truth
from kgvad.errors import FeatureError

Features = NDArray[np.floating]
FINGERPRINT_SNIPPETS = 8  # of each sample: enough to see that features are others, and soon read


class FeatureSource(Protocol):
    """The part of :class:`kgvad.video.feature_store.FeatureStore` that training needs."""

    def ids(self) -> list[str]: ...

    def load(self, video: str, /) -> Features: ...


class TrainingSample:
    """A training video, or one crop of it.

    Features that are memory-mapped are mapped anew for each use: memory does not grow with the dataset, and neither
    does the number of mappings, of which a process may have 65,530 on Linux.

    Attributes
    ----------
    video
        Identifier.
    target
        float32 [C], one at each category.
    captions
        Caption embeddings [T, E], or ``None``.
    """

    def __init__(
        self,
        video: str,
        target: NDArray[np.float32],
        features: Features,
        captions: Features | None = None,
        *,
        crop: int | None = None,
    ) -> None:
        self.video, self.target, self.captions = video, target, captions
        self._crop = crop
        self._features: Features | Path = features
        if isinstance(features, np.memmap) and isinstance(features.filename, str | Path):
            self._features = Path(features.filename)

    @property
    def features(self) -> Features:
        """[T, D], memory-mapped where the store maps it."""
        found = self._features
        if isinstance(found, Path):
            found = np.load(found, mmap_mode="r", allow_pickle=False)
        return found if self._crop is None else found[self._crop]


def load_samples(
    store: FeatureSource,
    truth: Truth,
    categories: Sequence[str],
    normal: int,
    captions: Mapping[str, Features] | None = None,
) -> list[TrainingSample]:
    """Samples of the training videos that are in the store; each crop of a video is a sample.

    Parameters
    ----------
    store
        Features by video.
    truth
        Labels.
    categories, normal
        Names on the category axis, and the index of Normal.
    captions
        Caption embeddings by video, [T, E]; videos without them are left out.

    Raises
    ------
    FeatureError
        No training video has features, a label is not on the category axis, or features have the wrong shape, no
        snippets, NaN or infinite values.
    """
    position = {name: index for index, name in enumerate(categories)}
    present = set(store.ids())
    samples: list[TrainingSample] = []
    width: int | None = None
    videos = truth.split("train")
    for video in videos:
        if video not in present or (captions is not None and video not in captions):
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
        for crop in range(len(array)) if array.ndim == 3 else (None,):
            text = None if captions is None else captions[video]
            samples.append(TrainingSample(video, target, array, text, crop=crop))
    if not samples:
        raise FeatureError(
            f"none of the {len(videos)} train videos of {truth.dataset} has features",
            "extract them with kgvad extract, or import them with kgvad features import",
        )
    return samples


def checked(features: Features, video: str, width: int | None = None) -> Features:
    """``features`` if they are finite, have snippets and the expected width; else a FeatureError names the video."""
    if features.ndim not in (2, 3) or features.shape[-1] == 0:
        raise FeatureError(
            f"{video}: features have shape {list(features.shape)}, not [T, D] or [crops, T, D]", "extract it again"
        )
    if features.shape[-2] == 0:
        raise FeatureError(f"{video}: features have no snippets", "leave the video out, it is shorter than one snippet")
    if width is not None and features.shape[-1] != width:
        raise FeatureError(
            f"{video}: features have {features.shape[-1]} dimensions, the others {width}",
            "extract all with one encoder",
        )
    if not np.isfinite(features).all():
        snippet = int(np.flatnonzero(~np.isfinite(features).reshape(-1, features.shape[-1]).all(axis=1))[0])
        raise FeatureError(f"{video}: features have NaN or infinite values (snippet {snippet})", "extract it again")
    return features


def data_fingerprint(samples: Sequence[TrainingSample]) -> str:
    """SHA-256 of the names, labels and features of training videos, first 16 digits.

    Of the features and captions, the shape and evenly spaced snippets count.
    """
    found = hashlib.sha256()
    for sample in samples:
        arrays = [one for one in (sample.features, sample.captions) if one is not None]
        found.update(f"{sample.video}\n{[one.shape for one in arrays]}\n".encode())
        found.update(np.flatnonzero(sample.target).tobytes())
        for array in arrays:
            chosen = array[:: -(-len(array) // FINGERPRINT_SNIPPETS)]
            found.update(np.ascontiguousarray(chosen, dtype=np.float32).tobytes())
    return found.hexdigest()[:16]


def shortened(features: Features, length: int) -> NDArray[np.float32]:
    """At most ``length`` time steps: step i is the mean of snippets [r_i, r_(i+1)) of linspace(0, T, length + 1).

    A video with fewer snippets does not change (Sultani et al. 2018; VadCLIP's loader).
    """
    snippets = features.shape[0]
    if snippets <= length:
        return np.asarray(features, dtype=np.float32)
    edges = np.linspace(0, snippets, length + 1).astype(np.int64)  # snippets > length: no part is empty
    sums = np.add.reduceat(np.asarray(features, dtype=np.float64), edges[:-1], axis=0)
    return (sums / np.diff(edges)[:, None]).astype(np.float32)


def collate(
    samples: Sequence[TrainingSample], normal: int, max_length: int, device: torch.device | str = "cpu"
) -> Batch:
    """Batch of at most ``max_length`` time steps, zero-padded at the end to its longest video."""
    features = [shortened(sample.features, max_length) for sample in samples]
    captions = [shortened(sample.captions, max_length) for sample in samples if sample.captions is not None]
    lengths = [len(array) for array in features]
    return Batch(
        _pad(features, max(lengths)).to(device),
        torch.tensor(lengths, device=device),
        torch.from_numpy(np.stack([sample.target for sample in samples])).to(device),
        normal,
        _pad(captions, max(lengths)).to(device) if captions else None,
    )


def _pad(arrays: Sequence[NDArray[np.float32]], size: int) -> torch.Tensor:
    padded = np.zeros((len(arrays), size, arrays[0].shape[-1]), dtype=np.float32)
    for target, array in zip(padded, arrays, strict=True):
        target[: len(array)] = array
    return torch.from_numpy(padded)


class Sampler:
    """Batches of normal and abnormal samples, a function of (seed, epoch) alone.

    Each epoch is one pass over a new permutation of the larger class and as many passes over the smaller one as
    needed. Where one class is missing, batches are of the other.

    Parameters
    ----------
    targets
        float32 [N, C].
    normal
        Index of Normal.
    normal_batch, abnormal_batch
        Samples of each class in a batch.
    seed
        Non-negative.
    balance
        Sample abnormal categories with equal frequency.
    mixed_batch
        Above 0: batches of this many samples, drawn from all in one order.
    """

    def __init__(
        self,
        targets: NDArray[np.float32],
        normal: int,
        normal_batch: int,
        abnormal_batch: int,
        seed: int,
        balance: bool = False,
        mixed_batch: int = 0,
    ) -> None:
        is_normal = targets[:, normal] > 0
        self._classes = [
            (np.flatnonzero(is_normal), normal_batch, None),
            (np.flatnonzero(~is_normal), abnormal_batch, _category_shares(targets[~is_normal]) if balance else None),
        ]
        if mixed_batch:
            self._classes = [(np.arange(len(targets)), mixed_batch, None)]
        self._classes = [kind for kind in self._classes if len(kind[0]) and kind[1]]
        if not self._classes:
            raise FeatureError(
                "a batch would be empty: no training video is of a class with a batch size above 0", "raise --batch"
            )
        self._seed = seed
        self.steps = max(-(-len(index) // size) for index, size, _ in self._classes)

    def epoch(self, number: int) -> Iterator[NDArray[np.int64]]:
        """Sample indices of each batch of epoch ``number``."""
        draws = [
            self._draw(np.random.default_rng([self._seed, number, kind]), *parts)
            for kind, parts in enumerate(self._classes)
        ]
        for step in range(self.steps):
            yield np.concatenate([draw[step] for draw in draws])

    def _draw(
        self,
        random: np.random.Generator,
        index: NDArray[np.int64],
        size: int,
        shares: NDArray[np.float64] | None,
    ) -> NDArray[np.int64]:
        wanted = self.steps * size
        if shares is not None:
            return random.choice(index, wanted, p=shares).reshape(self.steps, size)
        passes = [random.permutation(index) for _ in range(-(-wanted // len(index)))]
        return np.concatenate(passes)[:wanted].reshape(self.steps, size)


def _category_shares(targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sampling probabilities under which all categories are equally frequent."""
    count = targets.sum(0)
    weight: NDArray[np.float64] = (targets / np.maximum(count, 1)).sum(1).astype(np.float64)
    weight /= weight.sum()
    return weight
