"""Splits and categories from the folders that files lie in: ``train/Fight/a.mp4``, ``Anomaly-Videos-Part-1/Abuse``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kgvad.detector.data.labels import denied, is_normal_name, words_of
from kgvad.errors import UsageError
from kgvad.kg.tables import bundled_tables, load_table
from kgvad.video.feature_lists import Split

TRAIN, VALIDATION, TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
SPLITS = (*TRAIN, *VALIDATION, *TEST)
_WRAPPERS = frozenset(
    ("anomaly", "anomalies", "abnormal", "video", "videos", "part", "data", "dataset", "clips", "set", "files")
)  # a folder of these words alone, or of numbers, holds categories, and is none


def folder_labels(paths: Mapping[str, Sequence[str]]) -> dict[str, tuple[Split, str]]:
    """Split and category of each file, from the names of its folders.

    Folders called train, val or test (and the like) are splits, at any depth; with both val and test, val belongs to
    train. Folders that all files share, and folders that only hold others (``Anomaly-Videos-Part-1``), are no
    categories. The categories stand at the level at which a folder of normal videos stands.

    Parameters
    ----------
    paths
        Folders of each file by its identifier, outermost first.

    Raises
    ------
    UsageError
        A file is in no category, or it cannot be told which of its folders is the category.
    """
    splits = {video: next(filter(None, map(_split_word, parts)), None) for video, parts in paths.items()}
    has_test = any(split in TEST for split in splits.values())
    held_out = TEST if has_test else (*TEST, *VALIDATION)
    rests = {video: [part for part in parts if _split_word(part) is None] for video, parts in paths.items()}
    while rests and all(len(rest) > 1 for rest in rests.values()) and len({rest[0] for rest in rests.values()}) == 1:
        rests = {video: rest[1:] for video, rest in rests.items()}
    rests = {video: _unwrapped(rest) for video, rest in rests.items()}
    levels = {level for rest in rests.values() for level, name in enumerate(rest) if _may_be_normal(name)}
    level = min(levels) if len(levels) == 1 else 0
    found: dict[str, tuple[Split, str]] = {}
    for video, rest in rests.items():
        split: Split = "test" if splits[video] in held_out else "train"
        found[video] = (split, _category("/".join((*paths[video], video.rpartition("/")[2])), rest, level))
    return found


def _split_word(folder: str) -> str | None:
    """The split that a folder is named after: ``test``, ``TEST_SET``, ``training_videos``."""
    words = words_of(folder)
    found = [word for word in words if word in SPLITS]
    return found[0] if len(found) == 1 and _WRAPPERS.issuperset(set(words) - set(found)) else None


def _unwrapped(parts: Sequence[str]) -> list[str]:
    """``parts`` without leading folders that only hold others."""
    rest = list(parts)
    while len(rest) > 1 and _WRAPPERS.issuperset(words_of(rest[0])):
        rest = rest[1:]
    return rest


def _may_be_normal(name: str) -> bool:
    return is_normal_name(name) or denied(name) is not None


def _category(path: str, parts: Sequence[str], level: int) -> str:
    normal = [part for part in parts if is_normal_name(part)]
    if normal:
        return normal[0]
    if len(parts) <= level:
        raise UsageError(f"{path} is in no category", "put it into the sub-folder of a category")
    known = [part for part in parts if _is_known(part)]
    if len(known) == 1:
        return known[0]
    if len(known) > 1 and known[0] != parts[level]:
        raise UsageError(f"{path}: its category may be {' or '.join(known)}", "keep one folder for each category")
    return parts[level]


def _is_known(name: str) -> bool:
    """Whether a bundled category table has the category."""
    for dataset in bundled_tables():
        try:
            load_table(dataset).category(name)
        except UsageError:
            continue
        return True
    return False
