"""What ``kgvad train`` works on: dataset, features and anchors, from options, ``kgvad.toml`` or the default places."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.data.annotations import Truth, VideoTruth, read_truth
from kgvad.detector.data.feature_lists import SUFFIXES, import_lists
from kgvad.detector.data.video_names import match_videos
from kgvad.device import resolve_device
from kgvad.errors import FeatureError, UsageError
from kgvad.kg.datasets import resolve_dataset
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import Category, CategoryTable, bundled_tables, load_table
from kgvad.settings import Settings
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.extract import extract_folder, find_videos
from kgvad.video.feature_store import FeatureStore

logger = logging.getLogger(__name__)


NORMAL = "Normal"


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything that training or evaluation needs."""

    dataset: str
    store: FeatureStore
    truth: Truth
    bank: AnchorBank | None
    run: Path


@dataclass(frozen=True)
class Choices:
    """What the user chose on the command line; ``None``: look in ``kgvad.toml``, then in the default place."""

    dataset: str | None = None
    features: Path | None = None
    anchors: Path | None = None
    run: Path | None = None
    lists: Path | None = None
    encoder: str | None = None


def find_inputs(choices: Choices, settings: Settings, *, needs_anchors: bool = True) -> Inputs:
    """Resolve the choices, saying on stderr what was taken from where.

    A dataset that is a folder with one sub-folder of videos per category is prepared: features are extracted and
    anchors built where they do not exist yet.

    Raises
    ------
    UsageError, FeatureError
        Something is missing; the message says which command makes it.
    """
    named = choices.dataset or settings.dataset or _only_dataset(settings.features_root("x").parent)
    ref = resolve_dataset(named)
    dataset = ref.name
    if choices.dataset is None:
        logger.info(f"dataset: {dataset}")
    if ref.kind == "folder" and ref.path is not None:
        return _folder_inputs(ref.path, dataset, choices, settings, needs_anchors)
    if choices.features is not None and choices.features.suffix.lower() in SUFFIXES and choices.features.is_file():
        choices = _imported(choices, dataset, settings)
    root = _place("features", choices.features, settings.features, settings.features_root(dataset))
    if not root.is_dir():
        raise FeatureError(
            f"there are no features of {dataset} in {root}",
            f"make them with: kgvad extract VIDEOS --dataset {named} "
            f"(or: kgvad features import ARCHIVE --dataset {named})",
        )
    store = FeatureStore.open(root, choices.encoder)
    truth = match_videos(load_truth(dataset, root, choices.lists), store.ids())
    bank = None
    if needs_anchors:
        path = _place("anchors", choices.anchors, settings.anchors, settings.bank_path(dataset))
        if not path.is_file():
            raise UsageError(f"there is no anchor bank {path}", f"make it with: kgvad build-anchors --dataset {named}")
        bank = AnchorBank.load(path)
    return Inputs(dataset, store, truth, bank, _place("run", choices.run, settings.run, settings.run_folder(dataset)))


def _imported(choices: Choices, dataset: str, settings: Settings) -> Choices:
    """The choices with a list of feature files imported into the default place."""
    assert choices.features is not None
    root, encoder = settings.features_root(dataset), choices.encoder or "imported"
    logger.info(f"importing {choices.features} into {root / encoder}")
    import_lists([choices.features], dataset, root, folder=choices.lists, encoder=encoder)
    return replace(choices, features=root, encoder=encoder, lists=None)


def _only_dataset(root: Path) -> str:
    """The dataset whose features are in ``root``, the default place, where there is only one."""
    found = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            "nothing says which dataset to use, and no features are in the default place",
            "give --dataset ucf or a folder with one sub-folder of videos per category, "
            'or put dataset = "..." into kgvad.toml',
        )
    raise UsageError(f"features of several datasets are there ({', '.join(found)})", "choose one with --dataset")


def _place(what: str, chosen: Path | None, configured: Path | None, default: Path) -> Path:
    if chosen is not None:
        return chosen.expanduser()
    logger.info(f"{what}: {configured or default}{'' if configured else ' (default place)'}")
    return configured or default


def load_truth(dataset: str, root: Path, lists: Path | None) -> Truth:
    """Labels and frame labels: from the official lists if named, otherwise from beside the features."""
    if lists is not None:
        return read_truth(dataset, lists)
    for folder in (root, root.parent):
        if (folder / "dataset.json").is_file():
            return Truth.load(folder)
    return Truth.load(root)


def open_store(root: Path, encoder: str) -> FeatureStore:
    """The store of ``encoder`` in ``root``; where there is none the one that is there, for the caller to refuse."""
    return FeatureStore.open(root / encoder if (root / encoder / "manifest.json").is_file() else root)


def _folder_inputs(folder: Path, name: str, choices: Choices, settings: Settings, needs_anchors: bool) -> Inputs:
    truth = folder_truth(folder, name)
    root = _place("features", choices.features, settings.features, settings.features_root(name))
    encoder = choices.encoder or _only_encoder(root)
    missing = set(truth.videos)
    if (root / encoder / "manifest.json").is_file():
        missing -= set(FeatureStore.open(root, encoder).ids())
    if missing:
        logger.info(f"extracting {encoder} features of {len(missing)} videos into {root}")
        extract_folder(folder, root, load_visual_encoder(encoder, resolve_device(settings.device)))
    store = FeatureStore.open(root, encoder)
    truth.save(root)
    bank = None
    if needs_anchors:
        path = _place("anchors", choices.anchors, settings.anchors, settings.bank_path(name))
        table = folder_table(truth)
        bank = AnchorBank.load(path) if path.is_file() else None
        if bank is None or (choices.anchors is None and bank.table_fingerprint != table.fingerprint):
            logger.info(f"building anchors for {', '.join(truth.categories)} into {path}")
            bank = build_bank(
                table, GraphStore.open(settings.store), load_text_encoder(None, resolve_device(settings.device))
            )
            bank.save(path)
    return Inputs(name, store, truth, bank, _place("run", choices.run, settings.run, settings.run_folder(name)))


def _only_encoder(root: Path) -> str:
    """Encoder of the visual features in ``root`` where there is only one, else ``i3d``."""
    found = [path.parent.name for path in root.glob("*/manifest.json") if not path.parent.name.endswith("-text")]
    return found[0] if len(found) == 1 else "i3d"


def folder_truth(folder: Path, name: str) -> Truth:
    """Labels from the sub-folders of ``folder``: one per category, one of them for normal videos.

    Sub-folders ``train`` and ``test``, each with the categories, make two splits; otherwise every video trains.

    Raises
    ------
    UsageError
        No sub-folder is called Normal, or there is none beside it.
    """
    videos: dict[str, VideoTruth] = {}
    categories: list[str] = []
    normal = False
    for video, path in find_videos(folder).items():
        parts = path.relative_to(folder).parts[:-1]
        split = "test" if parts and parts[0].lower() == "test" else "train"
        if parts and parts[0].lower() in ("train", "test"):
            parts = parts[1:]
        if not parts:
            raise UsageError(f"{path} is in no category", f"put it into a sub-folder of {folder}")
        quiet = is_normal(parts[0])
        normal |= quiet
        if not quiet and parts[0] not in categories:
            categories.append(parts[0])
        videos[video] = VideoTruth(
            split="test" if split == "test" else "train",
            labels=() if quiet else (parts[0],),
            intervals=() if quiet else None,
            file=path.relative_to(folder).as_posix(),
        )
    if not normal or not categories:
        missing = "Normal" if not normal else "an abnormal category"
        raise UsageError(
            f"{folder} has no sub-folder for {missing}",
            "a folder dataset has one sub-folder of videos per category, one of them called Normal",
        )
    return Truth(dataset=name, normal=NORMAL, categories=(NORMAL, *sorted(categories)), videos=videos)


def is_normal(name: str) -> bool:
    """Whether a folder name has the word normal: Normal, normal_videos, Training_Normal_Videos_Anomaly."""
    return "normal" in re.split(r"[^a-z]+", name.lower())


def folder_table(truth: Truth) -> CategoryTable:
    """Category table for the folder's names: entries of bundled tables where they know a name, else its words."""
    known = [load_table(name) for name in bundled_tables()]
    normal = next(table.normal for table in known)
    rows = [normal.model_copy(update={"name": NORMAL, "confused_with": ()})]
    for name in truth.categories:
        if name != NORMAL:
            rows.append(_category(name, known))
    return CategoryTable.model_validate({"dataset": truth.dataset, "title": truth.dataset, "category": tuple(rows)})


def _category(name: str, tables: list[CategoryTable]) -> Category:
    for table in tables:
        try:
            found = table.category(name)
        except UsageError:
            continue
        if not found.normal:
            return found.model_copy(update={"name": name, "confused_with": ()})
    words = " ".join(re.findall(r"[A-Z]?[^A-Z_\s\-]+|[A-Z]+(?![^A-Z_\s\-])", name)).lower() or name
    logger.info(f"no bundled table knows {name!r}; its anchor is made from its words: {words}")
    return Category(name=name, text=words, cues=(words,))
