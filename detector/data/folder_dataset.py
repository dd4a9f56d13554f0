"""A folder of videos as a dataset: one sub-folder per category, one of them for normal videos."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.console import count_of
from kgvad.detector.data.annotations import FILE as TRUTH
from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.data.category_folders import folder_labels
from kgvad.detector.data.folder_annotations import FILE as ANNOTATIONS
from kgvad.detector.data.folder_annotations import event_frames
from kgvad.detector.data.labels import NORMAL, is_normal_name, read_labels
from kgvad.errors import FeatureError, UsageError
from kgvad.kg.datasets import folder_name
from kgvad.kg.tables import Category, CategoryTable, bundled_tables, load_table
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.extract import find_videos
from kgvad.video.extract_folder import extract_folder, is_current
from kgvad.video.feature_store import FeatureStore
from kgvad.video.store_folders import OF_TEXT

if TYPE_CHECKING:  # extraction reads labels here and makes no bank: it starts without the knowledge graph's libraries
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.kg.store.cache import GraphStore

logger = logging.getLogger(__name__)

DEFAULT_ENCODER = "i3d"
ENOUGH, TEST_SHARE = 10, 5  # videos of a category from which one in five is held out for testing


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
    found = [path.parent.name for path in root.glob("*/manifest.json") if not path.parent.name.endswith(OF_TEXT)]
    return found[0] if len(found) == 1 else DEFAULT_ENCODER


def extract_missing(folder: Path, truth: Truth, root: Path, encoder: str, tools: FolderTools) -> FeatureStore:
    """The features of the videos in ``folder``; those that ``root`` lacks, or has of other files, are extracted.

    Embeddings of captions and features of another program cannot be: videos without them are left out.
    """
    missing, can_extract = set(truth.videos), True
    if (root / encoder / "manifest.json").is_file():
        store = FeatureStore.open(root, encoder)
        missing = {name for name, video in truth.videos.items() if not _has_features(store, name, folder, video)}
        can_extract = store.manifest.is_own and not encoder.endswith(OF_TEXT)
    if missing and not can_extract:
        logger.info(f"{count_of(len(missing), 'video')} without {encoder} features in {root} are left out")
    elif missing:
        logger.info(f"extracting {encoder} features of {count_of(len(missing), 'video')} into {root}")
        extract_folder(folder, root, tools.visual_encoder(encoder))
    truth.save(root)
    return FeatureStore.open(root, encoder)


def _has_features(store: FeatureStore, name: str, folder: Path, video: VideoTruth) -> bool:
    """Whether the features are of the file in ``folder``; features of another program do not say what they are of."""
    entry = store.manifest.videos.get(name)
    if entry is not None and entry.source_bytes is None:
        return True
    return video.file is not None and is_current(store, name, folder / video.file)


def category_bank(table: CategoryTable, path: Path, tools: FolderTools, *, rebuild: bool = False) -> AnchorBank:
    """The anchor bank in ``path``, built where it is missing.

    Parameters
    ----------
    table
        Categories of a new bank.
    rebuild
        Also build it anew where it is of other categories.
    """
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.build import build_bank

    bank = AnchorBank.load(path) if path.is_file() else None
    if bank is None or (rebuild and bank.table_fingerprint != table.fingerprint):
        names = ", ".join(category.name for category in table.categories)
        logger.info(f"building anchors for {names} into {path}")
        for category in table.categories:
            if not category.items and category.cues == (category.text,):
                logger.info(
                    f"no bundled table has {category.name!r}; its anchor is built from its words: {category.text}"
                )
        bank = build_bank(table, tools.graph(), tools.text_encoder())
        bank.save(path)
    return bank


def folder_truth(folder: Path, name: str) -> Truth:
    """Labels from the sub-folders of ``folder``: one per category, one of them for normal videos.

    Sub-folders called train, val or test make splits (:mod:`.category_folders`); otherwise some videos of every
    category that has enough are held out for testing (:func:`hold_out_test`).
    Frame labels of abnormal videos come from ``annotations.csv`` (:mod:`.folder_annotations`).

    Raises
    ------
    UsageError
        There is no sub-folder for normal videos or none for abnormal ones, or a video is in no sub-folder.
    FeatureError
        The annotation is wrong, or has an event of a normal video.
    """
    paths = find_videos(folder)
    stray = next((path for path in paths.values() if path.parent == folder), None)
    if stray is not None:
        raise UsageError(f"{stray} is in no category", f"put it into a sub-folder of {folder}")
    placed = folder_labels({video: path.relative_to(folder).parts[:-1] for video, path in paths.items()})
    try:
        meanings = read_labels((label for _, label in placed.values()), name)
    except FeatureError as error:
        if any(is_normal_name(label) for _, label in placed.values()):
            raise UsageError(
                f"{folder}: {error.message}", "rename the sub-folder to the words of its category"
            ) from error
        raise UsageError(
            f"{folder} has no sub-folder for {NORMAL} ({error.message})",
            f"rename the folder of normal videos to {NORMAL}",
        ) from error
    annotated = event_frames(folder, paths, {video: meanings[label] for video, (_, label) in placed.items()})
    if wrong := [video for video, (_, label) in placed.items() if annotated.get(video) and not meanings[label]]:
        raise FeatureError(
            f"{folder / ANNOTATIONS}: the normal video {wrong[0]} has an event", "correct its folder or its events"
        )
    videos = {
        video: VideoTruth(
            split=split,
            labels=meanings[label],
            intervals=annotated.get(video) if meanings[label] else (),
            file=paths[video].relative_to(folder).as_posix(),
        )
        for video, (split, label) in placed.items()
    }
    if not any(video.split == "test" for video in videos.values()):
        videos = hold_out_test(videos)
    categories = sorted({label for video in videos.values() for label in video.labels})
    if not categories or len({bool(video.labels) for video in videos.values()}) < 2:
        missing, add = (
            (NORMAL, f"ordinary footage of the same cameras as {NORMAL}")
            if categories
            else ("an abnormal category", "videos of one")
        )
        raise UsageError(
            f"{folder} has no sub-folder for {missing}",
            f"a detector is trained on both: add {add}. Without any, kgvad explain VIDEO uses the run that comes with "
            "kgvad",
        )
    return Truth(
        dataset=name, folder=str(folder.resolve()), normal=NORMAL, categories=(NORMAL, *categories), videos=videos
    )


def stored_name(folder: Path, root_of: Callable[[str], Path]) -> str:
    """Name by which the dataset in ``folder`` is stored: its own, or with a hash where another folder has taken that.

    Parameters
    ----------
    root_of
        Root of the feature stores of a dataset.
    """
    name = folder_name(folder)
    other = _other_folder(root_of(name), folder)
    if other is None:
        return name
    own = f"{name[:56]}-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:6]}"
    logger.info(f"{folder} is stored as {own}: {other} is {name}")
    return own


def refuse_other_folder(root: Path, folder: Path) -> None:
    """Refuse features in ``root`` of another folder than ``folder``.

    Raises
    ------
    FeatureError
        The other folder is still there.
    """
    other = _other_folder(root, folder)
    if other is not None:
        raise FeatureError(f"{root} has the features of another folder, {other}", "name another place for these")


def _other_folder(root: Path, folder: Path) -> Path | None:
    """The folder, if it is still there and not ``folder``, whose labels are beside the features in ``root``."""
    if not (root / TRUTH).is_file():
        return None
    stored = Truth.load(root).folder
    if stored is None or Path(stored) == folder.resolve() or not Path(stored).is_dir():
        return None
    return Path(stored)


def with_present_events(truth: Truth) -> Truth:
    """``truth`` with the events that ``annotations.csv`` has now; those of videos that are gone stay as they were."""
    if truth.folder is None:
        return truth
    folder = Path(truth.folder)
    paths = {name: folder / video.file for name, video in truth.videos.items() if video.file is not None}
    present = {name: path for name, path in paths.items() if path.is_file()}
    annotated = event_frames(folder, present, {name: truth.videos[name].labels for name in present})
    videos = {
        name: video.model_copy(update={"intervals": annotated.get(name)}) if video.labels and name in present else video
        for name, video in truth.videos.items()
    }
    return truth.model_copy(update={"videos": videos})


def hold_out_test(videos: dict[str, VideoTruth]) -> dict[str, VideoTruth]:
    """The labels with a fifth of each category as test videos, where every category has :data:`ENOUGH` videos.

    Which ones follows from a hash of the name, so the choice does not depend on the order of the files.
    """
    by_label: dict[tuple[str, ...], list[str]] = {}
    for video, truth in videos.items():
        by_label.setdefault(truth.labels, []).append(video)
    if min(map(len, by_label.values())) < ENOUGH:
        return videos
    chosen = set()
    for names in by_label.values():
        ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen |= set(ordered[: len(names) // TEST_SHARE])
    return {
        video: truth.model_copy(update={"split": "test"}) if video in chosen else truth
        for video, truth in videos.items()
    }


def folder_table(truth: Truth) -> CategoryTable:
    """Category table for the folder's names: entries of the bundled tables where they have a name, else its words.

    Raises
    ------
    FeatureError
        All videos are normal.
    """
    if set(truth.categories) <= {NORMAL}:
        raise FeatureError(
            f"all {count_of(len(truth.videos), 'video')} of {truth.dataset} are normal",
            "a detector needs abnormal ones too: import them under the name of their category",
        )
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
    return Category(name=name, text=words, cues=(words,))
