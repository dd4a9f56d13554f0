"""Inputs of training: features, labels, anchors and captions of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.data.feature_lists import SUFFIXES, import_lists
from kgvad.detector.data.folder_dataset import (
    DEFAULT_ENCODER,
    FolderTools,
    dataset_name,
    extract_missing,
    folder_bank,
    folder_truth,
    is_folder_dataset,
)
from kgvad.errors import FeatureError, UsageError
from kgvad.video.feature_store import FeatureStore

if TYPE_CHECKING:
    from kgvad.anchors.text_encoders import HubEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Inputs of training.

    Attributes
    ----------
    dataset
        Short name.
    store
        Features.
    truth
        Labels.
    bank
        Anchor bank, where the detector uses anchors.
    captions
        Store of caption embeddings, where the detector reads captions.
    text_encoder
        Loads the bank's text encoder on a device; ``None``: as the bank records it.
    """

    dataset: str
    store: FeatureStore
    truth: Truth
    bank: AnchorBank | None = None
    captions: FeatureStore | None = None
    text_encoder: Callable[[str], HubEncoder] | None = None


@dataclass(frozen=True)
class Sources:
    """Where the inputs of a dataset are.

    Attributes
    ----------
    features
        Root of the feature stores, or a list of feature files to import.
    default_features
        Root into which a list is imported.
    anchors
        File of the anchor bank.
    own_anchors
        Whether the user named the bank, so that it is never replaced.
    lists
        Folder of the official lists; ``None``: labels are beside the features.
    encoder
        Which features, or for a folder of videos what to extract.
    """

    features: Path
    default_features: Path
    anchors: Path
    own_anchors: bool = False
    lists: Path | None = None
    encoder: str | None = None


def find_training_data(
    dataset: str, sources: Sources, tools: FolderTools, *, uses_anchors: bool = True
) -> TrainingData:
    """Features, labels and anchors of a dataset.

    A folder with one sub-folder of videos per category is prepared: features are extracted and anchors built where
    they are missing.

    Raises
    ------
    UsageError, FeatureError
        Something is missing; the message says which command makes it.
    """
    name = dataset_name(dataset)
    if is_folder_dataset(dataset):
        folder = Path(dataset)
        truth = folder_truth(folder, name)
        store = extract_missing(folder, truth, sources.features, sources.encoder or DEFAULT_ENCODER, tools)
        bank = None
        if uses_anchors:
            bank = folder_bank(truth, sources.anchors, tools, rebuild=not sources.own_anchors)
        return TrainingData(name, store, truth, bank)
    root, encoder, lists = sources.features, sources.encoder, sources.lists
    if root.suffix.lower() in SUFFIXES and root.is_file():
        file, root, encoder = root, sources.default_features, encoder or "imported"
        logger.info(f"importing {file} into {root / encoder}")
        import_lists([file], name, root, folder=lists, encoder=encoder)
        lists = None
    if not root.is_dir():
        raise FeatureError(
            f"there are no features of {name} in {root}",
            f"make them with: kgvad extract VIDEOS --output {root} "
            f"(or: kgvad features import ARCHIVE --dataset {name} --output {root})",
        )
    store, truth = FeatureStore.open(root, encoder), load_truth(name, root, lists)
    bank = None
    if uses_anchors:
        if not sources.anchors.is_file():
            raise UsageError(
                f"there is no anchor bank {sources.anchors}", f"make it with: kgvad build-anchors --dataset {dataset}"
            )
        bank = AnchorBank.load(sources.anchors)
    return TrainingData(name, store, truth, bank)


def only_dataset(root: Path) -> str:
    """The dataset whose features are in ``root``, if there is exactly one.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if len(found) == 1:
        logger.info(f"dataset: {found[0]}")
        return found[0]
    if not found:
        raise UsageError(
            f"no dataset is named, and no features are in {root}",
            "give --dataset ucf or a folder with one sub-folder of videos per category, "
            'or put dataset = "..." into kgvad.toml',
        )
    raise UsageError(f"{root} has features of several datasets ({', '.join(found)})", "choose one with --dataset")


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
