"""Where extracted features belong, and the labels that are kept beside them so that training finds both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kgvad.detector.data.annotations import FILE, Truth, read_truth
from kgvad.detector.data.folder_dataset import folder_truth, refuse_other_folder, stored_name
from kgvad.detector.data.video_names import match_videos
from kgvad.errors import FeatureError, KgvadError, UsageError
from kgvad.kg.datasets import DatasetRef
from kgvad.kg.tables import CategoryTable, load_table
from kgvad.settings import DEFAULT_DATASET

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Destination:
    """Where the features of some videos belong.

    Attributes
    ----------
    dataset
        Name of the dataset.
    root
        Root of its feature stores.
    truth
        Labels, where something says them.
    """

    dataset: str
    root: Path
    truth: Truth | None

    def save_labels(self, ids: Iterable[str]) -> None:
        """Write ``dataset.json`` into the root, under the identifiers that the feature store uses."""
        if self.truth is None:
            logger.info(
                "the labels of these videos are unknown: train with --lists FOLDER, the dataset's official lists"
            )
            return
        truth = match_videos(self.truth, ids)
        if (self.root / FILE).is_file():
            old = Truth.load(self.root)
            if (old.dataset, old.categories) == (truth.dataset, truth.categories):
                truth = truth.model_copy(update={"videos": {**old.videos, **truth.videos}})
        truth.save(self.root)


def destination(
    source: Path, dataset: DatasetRef | None, root_of: Callable[[str], Path], lists: Path | None
) -> Destination:
    """Decide which dataset the videos in ``source`` belong to, and read their labels.

    Parameters
    ----------
    source
        Folder of videos, or one video.
    dataset
        The dataset that the user named. ``None``: the folder itself, where it has one sub-folder of videos per
        category, else :data:`DEFAULT_DATASET`.
    root_of
        Root of the feature stores of a dataset.
    lists
        Folder of the dataset's official lists. ``None``: ``source``, where they are there.

    Raises
    ------
    UsageError, FeatureError
        ``lists`` was named and is wrong.
    """
    if dataset is None:
        own = _from_folders(source, stored_name(source, root_of)) if source.is_dir() and lists is None else None
        if own is not None:
            refuse_other_folder(root_of(own.dataset), source)
            return Destination(own.dataset, root_of(own.dataset), own)
        dataset = DatasetRef(DEFAULT_DATASET, "bundled")
    root = root_of(dataset.name)
    if dataset.kind == "folder" and dataset.path is not None and lists is None:
        refuse_other_folder(root, dataset.path)
        return Destination(dataset.name, root, folder_truth(dataset.path, dataset.name))
    return Destination(dataset.name, root, _labels(source, dataset, lists))


def _labels(source: Path, dataset: DatasetRef, lists: Path | None) -> Truth | None:
    if lists is not None:
        return read_truth(dataset.name, lists)
    if not source.is_dir():
        return None
    try:
        return read_truth(dataset.name, source)
    except (FeatureError, UsageError):
        pass
    truth = _from_folders(source, dataset.name)
    if truth is None:
        return None
    truth = truth.model_copy(update={"folder": None})  # the dataset may have others
    if dataset.kind not in ("bundled", "table"):
        return truth
    return _with_categories(truth, load_table(dataset.path or dataset.name))


def _from_folders(source: Path, name: str) -> Truth | None:
    """Labels from the names of the sub-folders of ``source``; ``None`` where they are not categories."""
    try:
        return folder_truth(source, name)
    except UsageError:
        return None


def _with_categories(truth: Truth, table: CategoryTable) -> Truth | None:
    """``truth`` with the categories of a table; ``None`` where a sub-folder is none of them."""
    try:
        names = {name: table.category(name).name for name in truth.categories}
    except KgvadError as error:
        logger.info("the sub-folders are not the categories of %s: %s", table.dataset, error.message)
        return None
    videos = {
        video: one.model_copy(update={"labels": tuple(names[label] for label in one.labels)})
        for video, one in truth.videos.items()
    }
    logger.info("labels: from the names of the sub-folders")
    return truth.model_copy(update={"normal": table.normal.name, "categories": tuple(table.names), "videos": videos})
