"""Videos with identical features, such as the copies that UCF-Crime holds under several names."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.samples import Features, TrainingSample
from kgvad.video.feature_store import FeatureStore

logger = logging.getLogger(__name__)
SHOWN = 3  # groups that a warning names


def duplicate_groups(features: Iterable[tuple[str, Features]]) -> list[list[str]]:
    """Groups of two or more videos whose features are equal byte for byte, each sorted, in the order of their first.

    Of a video that comes more than once (its crops), the first is compared.
    """
    digests: dict[str, bytes] = {}
    for video, array in features:
        if video not in digests:
            content = f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes()
            digests[video] = hashlib.sha256(content).digest()
    groups: dict[bytes, list[str]] = {}
    for video in sorted(digests):
        groups.setdefault(digests[video], []).append(video)
    return [group for group in groups.values() if len(group) > 1]


def across_splits(groups: Sequence[Sequence[str]], split: Mapping[str, str]) -> list[list[str]]:
    """The groups that hold videos of both splits."""
    return [list(group) for group in groups if len({split[video] for video in group if video in split}) > 1]


def copies_of_training_videos(store: FeatureStore, truth: Truth) -> list[tuple[str, str]]:
    """Test videos of a store with the features of a training video, each with the first of these."""

    def length(video: str) -> tuple[int, int]:
        entry = store.info(video)
        return entry.rows, entry.frame_count

    train, test = (set(truth.split(split)).intersection(store.ids()) for split in ("train", "test"))
    lengths = set(map(length, train)).intersection(map(length, test))  # the others are not read
    groups = duplicate_groups((video, store.load(video)) for video in train | test if length(video) in lengths)
    originals = [(group, min(train.intersection(group), default=None)) for group in groups]
    return [(video, first) for group, first in originals if first is not None for video in group if video in test]


def warn_of_contradictions(samples: Sequence[TrainingSample], categories: Sequence[str]) -> None:
    """Warn of training videos with identical features and different labels."""
    targets = {sample.video: sample.target for sample in samples}
    groups = duplicate_groups((sample.video, sample.features) for sample in samples)
    wrong = [group for group in groups if len({targets[video].tobytes() for video in group}) > 1]
    if not wrong:
        return

    def labelled(video: str) -> str:
        names = " and ".join(name for name, value in zip(categories, targets[video], strict=True) if value)
        return f"{video} ({names})"

    shown = "; ".join(", ".join(map(labelled, group)) for group in wrong[:SHOWN])
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    logger.warning(f"training videos with identical features have different labels: {shown}{more}; leave one out")
