"""A folder of videos as a dataset: one sub-folder per category, one of them for normal videos."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.data.folder_annotations import event_frames
from kgvad.errors import UsageError
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import Category, CategoryTable, bundled_tables, load_table
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.extract import find_videos
from kgvad.video.extract_folder import extract_folder
from kgvad.video.feature_store import FeatureStore

logger = logging.getLogger(__name__)

NORMAL = "Normal"
DEFAULT_ENCODER = "i3d"


@dataclass(frozen=True)
class FolderTools:
    """Makes what a folder of videos lacks, each on first use.

    Attributes
    ----------
    visual_encoder
        Visual encoder by name.
    text_encoder
        The default text encoder.
    graph
        The knowledge-graph cache.
    """

    visual_encoder: Callable[[str], VisualEncoder]
    text_encoder: Callable[[], TextEncoder]
    graph: Callable[[], GraphStore]


def extracted_encoder(root: Path) -> str:
    """Encoder of the visual features in ``root`` where there is only one, else the default one."""
    found = [path.parent.name for path in root.glob("*/manifest.json") if not path.parent.name.endswith("-text")]
    return found[0] if len(found) == 1 else DEFAULT_ENCODER


def extract_missing(folder: Path, truth: Truth, root: Path, encoder: str, tools: FolderTools) -> FeatureStore:
    """The features of the videos in ``folder``; those that ``root`` lacks are extracted."""
    missing = set(truth.videos)
    if (root / encoder / "manifest.json").is_file():
        missing -= set(FeatureStore.open(root, encoder).ids())
    if missing:
        logger.info(f"extracting {encoder} features of {len(missing)} videos into {root}")
        extract_folder(folder, root, tools.visual_encoder(encoder))
    truth.save(root)
    return FeatureStore.open(root, encoder)


def folder_bank(truth: Truth, path: Path, tools: FolderTools, *, rebuild: bool) -> AnchorBank:
    """The anchor bank in ``path``, built where it is missing.

    Parameters
    ----------
    rebuild
        Also build it anew where it is of other categories.
    """
    bank = AnchorBank.load(path) if path.is_file() else None
    table = folder_table(truth)
    if bank is None or (rebuild and bank.table_fingerprint != table.fingerprint):
        logger.info(f"building anchors for {', '.join(truth.categories)} into {path}")
        bank = build_bank(table, tools.graph(), tools.text_encoder())
        bank.save(path)
    return bank


def folder_truth(folder: Path, name: str) -> Truth:
    """Labels from the sub-folders of ``folder``: one per category, one of them for normal videos.

    Sub-folders ``train`` and ``test``, each with categories, make two splits; otherwise every video is for training.
    Frame labels of abnormal videos come from ``annotations.csv`` (:mod:`.folder_annotations`).

    Raises
    ------
    UsageError
        There is no sub-folder for normal videos or none for abnormal ones, or a video is in no sub-folder.
    """
    videos: dict[str, VideoTruth] = {}
    categories: list[str] = []
    normal = False
    paths = find_videos(folder)
    annotated = event_frames(folder, paths)
    for video, path in paths.items():
        parts = path.relative_to(folder).parts[:-1]
        split = "test" if parts and parts[0].lower() == "test" else "train"
        if parts and parts[0].lower() in ("train", "test"):
            parts = parts[1:]
        if not parts:
            raise UsageError(f"{path} is in no category", f"put it into a sub-folder of {folder}")
        is_normal = is_normal_name(parts[0])
        normal |= is_normal
        if not is_normal and parts[0] not in categories:
            categories.append(parts[0])
        videos[video] = VideoTruth(
            split="test" if split == "test" else "train",
            labels=() if is_normal else (parts[0],),
            intervals=() if is_normal else annotated.get(video),
            file=path.relative_to(folder).as_posix(),
        )
    if not normal or not categories:
        missing = "Normal" if not normal else "an abnormal category"
        raise UsageError(
            f"{folder} has no sub-folder for {missing}",
            "a folder dataset has one sub-folder of videos per category, one of them called Normal",
        )
    return Truth(dataset=name, normal=NORMAL, categories=(NORMAL, *sorted(categories)), videos=videos)


def is_normal_name(name: str) -> bool:
    """Whether a folder name has the word normal: Normal, normal_videos, Training_Normal_Videos_Anomaly."""
    return "normal" in re.split(r"[^a-z]+", name.lower())


def folder_table(truth: Truth) -> CategoryTable:
    """Category table for the folder's names: entries of the bundled tables where they have a name, else its words."""
    known = [load_table(name) for name in bundled_tables()]
    normal = next(table.normal for table in known)
    categories = [normal.model_copy(update={"name": NORMAL, "confused_with": ()})]
    for name in truth.categories:
        if name != NORMAL:
            categories.append(_category(name, known))
    return CategoryTable.model_validate(
        {"dataset": truth.dataset, "title": truth.dataset, "category": tuple(categories)}
    )


def _category(name: str, tables: list[CategoryTable]) -> Category:
    for table in tables:
        try:
            found = table.category(name)
        except UsageError:
            continue
        if not found.normal:
            return found.model_copy(update={"name": name, "confused_with": ()})
    words = " ".join(re.findall(r"[A-Z]?[^A-Z_\s\-]+|[A-Z]+(?![^A-Z_\s\-])", name)).lower() or name
    logger.info(f"no bundled table has {name!r}; its anchor is built from its words: {words}")
    return Category(name=name, text=words, cues=(words,))
