"""Labels and features of a dataset, from the folders that hold them."""

from __future__ import annotations

from pathlib import Path

from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.video.feature_store import FeatureStore


def load_truth(dataset: str, root: Path, lists: Path | None) -> Truth:
    """Labels and frame labels: from the official lists if they are named, else from beside the features."""
    if lists is not None:
        return read_truth(dataset, lists)
    for folder in (root, root.parent):
        if (folder / "dataset.json").is_file():
            return Truth.load(folder)
    return Truth.load(root)


def open_store(root: Path, encoder: str) -> FeatureStore:
    """The store of ``encoder`` in ``root``; where there is none, the store that is there, for the caller to refuse."""
    return FeatureStore.open(root / encoder if (root / encoder / "manifest.json").is_file() else root)
