"""The videos of a downloaded source, laid out as their dataset's lists name them."""

from __future__ import annotations

import fnmatch
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kgvad.console import track
from kgvad.detector.data.annotations import read_truth
from kgvad.errors import DatasetError
from kgvad.files import write_text
from kgvad.sources.recipe import SourceRecipe
from kgvad.sources.staging import CHANGED
from kgvad.sources.unpack import Member, copy

logger = logging.getLogger(__name__)


def unpack_videos(recipe: SourceRecipe, members: Sequence[Member], lists: Path, output: Path) -> Path:
    """Write the videos of ``members`` into ``output``, with the official lists beside them; return ``output``.

    A video that is there in the right size is kept, so the same command continues.

    Raises
    ------
    DatasetError
        Another number of videos than the recipe's, two of one name, or a listed video is missing.
    """
    assert recipe.videos is not None
    videos = [member for member in members if fnmatch.fnmatchcase(member.path, recipe.videos.match)]
    if not videos or recipe.videos.count not in (None, len(videos)):
        raise DatasetError(f"{len(videos)} videos where the recipe expects {recipe.videos.count or 'some'}", CHANGED)
    targets = _targets(recipe, videos, lists)
    for target, member in track(targets.items(), "unpacking videos"):
        path = output / target
        if not path.is_file() or path.stat().st_size != member.size:
            copy(member, path)
    for file in sorted(lists.iterdir()):
        shutil.copyfile(file, output / file.name)
    return output


def _targets(recipe: SourceRecipe, videos: Sequence[Member], lists: Path) -> dict[str, Member]:
    """Members by their path below the folder of the videos."""
    if recipe.dataset == "xd":  # its annotation lists the test videos only; names carry the labels
        names: dict[str, list[str]] = {"train": [], "test": []}
        for member in videos:
            split = "test" if "/test_videos/" in f"/{member.path}" else "train"
            names[split].append(member.name.rpartition(".")[0])
        for split, own in names.items():
            write_text(lists / f"{split}_names.txt", "".join(f"{name}\n" for name in sorted(own)))
    truth = read_truth(recipe.dataset, lists)
    places = {name: video.file or f"{video.split}/{name}.mp4" for name, video in truth.videos.items()}
    found: dict[str, Member] = {}
    unlisted = 0
    for member in videos:
        target = places.get(member.name.rpartition(".")[0])
        if target is None:
            unlisted += 1
        elif target in found and found[target].size != member.size:
            raise DatasetError(f"{found[target].path} and {member.path} have one name", CHANGED)
        else:
            found[_safe(target)] = member
    missing = sorted(set(places.values()) - set(found))
    if missing:
        raise DatasetError(f"{len(missing)} listed videos are not in the source, first {missing[0]}", CHANGED)
    if unlisted:
        logger.warning("%d videos of the source are in no official list and are left out", unlisted)
    return found


def _safe(target: str) -> str:
    """A relative path of a list, as a path below the folder of the videos."""
    parts = PurePosixPath(target).parts
    if not parts or PurePosixPath(target).is_absolute() or ".." in parts or "\\" in target:
        raise DatasetError(f"{target[:80]!r} is not a path below the folder of the videos", CHANGED)
    return target
