"""Inputs of training: features, labels, anchors and captions of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.merged_categories import merge_abnormal
from kgvad.detector.data.annotations import FILE, Truth
from kgvad.detector.data.captions import texts_of_videos
from kgvad.detector.data.feature_import import ImportOptions, import_features, is_imported
from kgvad.detector.data.folder_dataset import (
    FolderTools,
    category_bank,
    extract_missing,
    extracted_encoder,
    folder_table,
    folder_truth,
    refuse_other_folder,
)
from kgvad.detector.data.inputs import load_truth
from kgvad.detector.data.labels import ANOMALY
from kgvad.detector.data.video_names import match_videos
from kgvad.detector.models.learned_anchors import load_prompt_encoder
from kgvad.detector.run import TrainConfig
from kgvad.errors import FeatureError, UsageError
from kgvad.kg.datasets import DatasetRef
from kgvad.kg.tables import load_table
from kgvad.video.encoders.base import visual_encoder_names
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import FeatureStore
from kgvad.video.store_folders import OF_TEXT

if TYPE_CHECKING:
    from kgvad.anchors.transformers_encoder import TransformersEncoder

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
    caption_texts
        Captions of the training videos as text, where the detector makes class prompts of them.
    """

    dataset: str
    store: FeatureStore
    truth: Truth
    bank: AnchorBank | None = None
    captions: FeatureStore | None = None
    text_encoder: Callable[[str], TransformersEncoder] | None = None
    caption_texts: Mapping[str, Sequence[str]] | None = None

    @property
    def categories(self) -> tuple[str, ...]:
        """Names on the category axis: those of the bank, else of the labels."""
        return tuple(self.bank.categories) if self.bank is not None else self.truth.categories

    @property
    def normal(self) -> int:
        """Index of Normal among :attr:`categories`."""
        return self.bank.normal if self.bank is not None else self.truth.categories.index(self.truth.normal)


@dataclass(frozen=True)
class Sources:
    """Where the inputs of a training are.

    Attributes
    ----------
    features
        Root of the feature stores, or a list of feature files to import.
    default_features
        Root into which a list is imported.
    anchors
        File of the anchor bank.
    keep_anchors
        Whether ``anchors`` was named: it has to exist, except for a folder, and is kept even where it is of other
        categories.
    lists
        Folder of the official lists; ``None``: labels are beside the features.
    encoder
        Which features, or for a folder of videos what to extract.
    captions
        Store of caption embeddings.
    text_encoder
        Name or folder of the bank's text encoder; ``None``: as the bank records it.
    caption_texts
        File of captions, ``{video: {frame: caption}}``.
    """

    features: Path
    default_features: Path
    anchors: Path
    keep_anchors: bool = False
    lists: Path | None = None
    encoder: str | None = None
    captions: Path | None = None
    text_encoder: str | None = None
    caption_texts: Path | None = None


def find_training_data(dataset: DatasetRef, sources: Sources, config: TrainConfig, tools: FolderTools) -> TrainingData:
    """Features, labels, anchors and captions for a training.

    Anchors are built where they are missing: of a category table, or of the names that the labels have. So are the
    features of a folder with one sub-folder of videos per category.

    Raises
    ------
    UsageError, FeatureError
        Something is missing; the message says which command makes it.
    """
    if dataset.kind == "folder" and dataset.path is not None and not _names_features(dataset.path, sources):
        refuse_other_folder(sources.features, dataset.path)
        truth = folder_truth(dataset.path, dataset.name)
        held_out = len(truth.split("test"))
        logger.info(f"{held_out} of {len(truth.videos)} videos are for kgvad evaluate and not trained on")
        encoder = sources.encoder or extracted_encoder(sources.features)
        store = extract_missing(dataset.path, truth, sources.features, encoder, tools)
    else:
        store, truth = _stored_features(dataset, sources)
    bank = _bank(dataset, sources, truth, tools) if config.uses_anchors else None
    captions = None if sources.captions is None else FeatureStore.open(sources.captions)
    load = None
    if sources.text_encoder is not None and bank is not None:
        load = partial(load_prompt_encoder, config.detector, bank, sources.text_encoder)
    texts = None if sources.caption_texts is None else texts_of_videos(sources.caption_texts)
    return TrainingData(dataset.name, store, truth, bank, captions, load, texts)


def _names_features(folder: Path, sources: Sources) -> bool:
    """Whether a dataset of imported features is meant, and a folder without videos is called like it by chance."""
    if not (sources.features / FILE).is_file():
        return False
    try:
        find_videos(folder)
    except UsageError:
        return True
    return False


def _stored_features(dataset: DatasetRef, sources: Sources) -> tuple[FeatureStore, Truth]:
    name = dataset.name
    root, encoder, lists = sources.features, sources.encoder, sources.lists
    if root.is_file():
        file, root, encoder = root, sources.default_features, encoder or "imported"
        if not is_imported(root, encoder, [file]):
            logger.info(f"importing {file} into {root / encoder}")
            import_features([file], root, ImportOptions(dataset=name, lists=lists, encoder=encoder))
        lists = None
    if not root.is_dir():
        raise FeatureError(
            f"there are no features of {name} in {root}",
            f"make them with: kgvad extract VIDEOS --dataset {dataset.in_shell} "
            f"(or: kgvad features import ARCHIVE --dataset {dataset.in_shell})",
        )
    logger.info(f"features: {root}")
    store = FeatureStore.open(root, encoder)
    return store, match_videos(load_truth(name, root, lists), store.ids())


def _bank(dataset: DatasetRef, sources: Sources, truth: Truth, tools: FolderTools) -> AnchorBank:
    path, named = sources.anchors, sources.keep_anchors
    found = path.is_file()
    written = dataset.kind in ("bundled", "table")  # else the categories are those of the labels
    if (named and found) if dataset.kind == "folder" else (named or found):
        logger.info(f"anchors: {path}")
        bank = _for_labels(AnchorBank.load(path), truth)
        missing = _labels(truth) - set(bank.categories)
        if not missing:
            return bank
        if written or named:
            raise UsageError(
                f"{path} has no anchors of {', '.join(sorted(missing))}",
                "name another bank with --anchors, or delete this one to have a new one built",
            )
    table = load_table(dataset.path or dataset.name) if written else folder_table(truth)
    return _for_labels(category_bank(table, path, tools, rebuild=not written), truth)


def _for_labels(bank: AnchorBank, truth: Truth) -> AnchorBank:
    """``bank``, with one abnormal category where the labels only say whether a video is abnormal."""
    if _labels(truth) != {ANOMALY} or ANOMALY in bank.categories:
        return bank
    logger.info(
        f"the labels of {truth.dataset} name no kind of anomaly: the {len(bank.categories) - 1} abnormal categories of "
        f"the anchor bank are one category, {ANOMALY}"
    )
    return merge_abnormal(bank, ANOMALY)


def _labels(truth: Truth) -> set[str]:
    return {label for video in truth.videos.values() for label in video.labels}


def can_score_video(store: FeatureStore) -> bool:
    """Whether kgvad made the features of ``store``, and so can make them of another video, or of its captions."""
    encoder = store.manifest.encoder
    known = encoder in visual_encoder_names() or encoder.endswith(OF_TEXT)
    return store.manifest.is_own and known
