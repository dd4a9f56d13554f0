"""Labels of imported features: from the official lists, the list of the features, their names, or their folders."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from kgvad.detector.data.annotations import (
    FILE,
    PUBLISHED,
    UCF_CATEGORIES,
    XD_CATEGORIES,
    Truth,
    VideoTruth,
    read_truth,
)
from kgvad.detector.data.category_folders import folder_labels
from kgvad.detector.data.feature_videos import ImportedVideo
from kgvad.detector.data.labels import NORMAL, counted, read_labels
from kgvad.errors import FeatureError, UsageError
from kgvad.video.feature_lists import Split, split_of
from kgvad.video.feature_sources import names_of

logger = logging.getLogger(__name__)

CATEGORIES = {"ucf": UCF_CATEGORIES, "xd": XD_CATEGORIES}


def label_videos(
    videos: Sequence[ImportedVideo],
    dataset: str | None,
    lists: Path | None,
    beside: Path,
    renamed: Mapping[str, str],
) -> Truth | None:
    """Labels and splits of the videos; ``None`` where nothing says any.

    Official lists win over labels of the list of features, those over names of videos (UCF-Crime, XD-Violence), those
    over names of folders.

    Parameters
    ----------
    dataset
        Name of the dataset; without it nothing gets a label.
    lists
        Folder of the official lists; ``None``: ``beside``, where they are there.
    renamed
        What labels mean, where the words do not say it.

    Raises
    ------
    FeatureError
        A label means nothing known, a video has two labels, or the official lists name none of the videos.
    """
    said = {video.name: label for video in videos if (label := _listed(video)) is not None}
    if dataset is None:
        if said:
            logger.warning("the labels of the list are not kept: name the dataset with --dataset")
        return None
    official = _official(dataset, lists, beside)
    known = {} if official is None else dict(official.videos)
    _name_with_folders(known, videos)
    _resplit_one_class(known, videos)
    raw: dict[str, str] = {}
    splits: dict[str, Split] = {}
    folders = {} if said else _from_folders([video for video in videos if video.name not in known])
    for video in videos:
        if video.name not in known:
            label = said.get(video.name) or _from_name(video.name, dataset) or folders.get(video.name, (None, None))[1]
            if label is not None:
                raw[video.name] = label
                splits[video.name] = video.split or folders.get(video.name, ("train", ""))[0]
    if official is None and not raw:
        return None
    if not raw and not known.keys() & {video.name for video in videos}:
        raise FeatureError(
            f"the lists in {lists or beside} name none of these videos ({names_of(one.name for one in videos)})",
            "check --dataset and --lists, or leave out --dataset for features without labels",
        )
    fixed = official.categories if official is not None else CATEGORIES.get(dataset)
    meanings = read_labels(raw.values(), dataset, fixed, renamed)
    for name, label in raw.items():
        known[name] = VideoTruth(split=splits[name], labels=meanings[label])
    if fixed is None:
        fixed = (NORMAL, *sorted({label for labels in meanings.values() for label in labels}))
    return Truth(dataset=dataset, normal=NORMAL, categories=fixed, videos=known)


def _name_with_folders(known: dict[str, VideoTruth], videos: Sequence[ImportedVideo]) -> None:
    """Give published videos the identifier of features that keep the folder of their split: ``testing_videos/01``.

    Avenue numbers both of its parts from 01 and publishes nothing about its training videos, which are normal.
    """
    found: dict[str, VideoTruth] = {}
    taken: set[str] = set()
    one_class = not any(one.split == "train" for one in known.values())
    for video in videos:
        folder, slash, last = video.name.rpartition("/")
        split = split_of(folder.rpartition("/")[2])
        if not slash or video.name in known or last not in known:
            continue
        if split == known[last].split:
            found[video.name] = known[last]
            taken.add(last)
        elif split == "train" and one_class:
            found[video.name] = VideoTruth(split="train")
        else:
            raise FeatureError(
                f"{video.name} may be the video {last} of the published lists, or not: its name occurs several times",
                "import only the folder of the published videos",
            )
    for last in taken:
        del known[last]
    known |= found


def _resplit_one_class(known: dict[str, VideoTruth], videos: Sequence[ImportedVideo]) -> None:
    """Take the split of the lists of features where the published one trains on normal videos alone (Ped2, Avenue)."""
    if any(one.split == "train" and one.labels for one in known.values()):
        return
    moved = [video for video in videos if video.name in known and video.split not in (None, known[video.name].split)]
    for video in moved:
        one = known[video.name]
        labelled = one.intervals is None and not one.labels
        known[video.name] = one.model_copy(
            update={"split": video.split, "intervals": () if labelled else one.intervals}
        )
    if moved:
        logger.info(
            f"the published split trains on normal videos alone; {len(moved)} videos are in the split of their list"
        )


def _listed(video: ImportedVideo) -> str | None:
    """The label of the lines of the list that name the video."""
    labels = {piece.line.label: piece.line.where for piece in video.pieces if piece.line and piece.line.label}
    if len(labels) > 1:
        (one, first), (other, second) = list(labels.items())[:2]
        raise FeatureError(f"{video.name} is {one!r} in {first} and {other!r} in {second}", "correct one of the lines")
    return next(iter(labels), None)


def _official(dataset: str, lists: Path | None, beside: Path) -> Truth | None:
    if lists is None and dataset not in PUBLISHED:
        return None
    try:
        return read_truth(dataset, lists or beside)
    except (FeatureError, UsageError) as error:
        if lists is not None:
            raise
        logger.info(f"no frame labels of {dataset} are beside the features ({error.message}); name them with --lists")
        return None


def _from_name(video: str, dataset: str) -> str | None:
    """What the naming rule of a dataset says: ``Abuse001_x264``, ``..._label_B2-0-0``."""
    if dataset == "ucf":
        match = re.match(r"(Normal_Videos|[A-Za-z]+?)_?\d+", video)
        names = {name.casefold() for name in UCF_CATEGORIES}
        return None if match is None or match[1].split("_")[0].casefold() not in names else match[1]
    if dataset == "xd" and "label_" in video:
        return video.rpartition("label_")[2]
    return None


def _from_folders(videos: Sequence[ImportedVideo]) -> dict[str, tuple[Split, str]]:
    """Labels from folders, where the videos lie in folders of categories below the source."""
    paths = {
        video.name: PurePosixPath(video.pieces[0].name).parts[:-1] for video in videos if video.source.kind != "list"
    }
    if not any(len(parts) for parts in paths.values()) or len(set(paths.values())) < 2:
        return {}
    return folder_labels(paths)


def merge_truth(truth: Truth, output: Path) -> Truth:
    """``truth`` with what ``output`` has already: other videos, and frame labels that the lists do not have.

    Raises
    ------
    FeatureError
        The labels in ``output`` are of another dataset, or a video was imported into the other split.
    """
    if not (output / FILE).is_file():
        return truth
    old = Truth.load(output)
    fixed = truth.dataset in CATEGORIES
    if old.dataset != truth.dataset or (fixed and old.categories != truth.categories):
        raise FeatureError(
            f"{output / FILE} is of the dataset {old.dataset} or has other categories", "choose another --output"
        )
    moved = [
        name for name, video in truth.videos.items() if name in old.videos and old.videos[name].split != video.split
    ]
    if moved:
        raise FeatureError(
            f"{len(moved)} videos are in the other split of {output / FILE}: {names_of(moved)}",
            "take them out of one of the lists, or choose another --output",
        )
    kept = {
        name: video
        for name, video in old.videos.items()
        if name not in truth.videos or (video.intervals is not None and truth.videos[name].intervals is None)
    }
    categories = tuple(dict.fromkeys((*old.categories, *truth.categories)))
    return truth.model_copy(update={"videos": truth.videos | kept, "categories": categories})


def report_labels(truth: Truth | None, videos: Sequence[str]) -> None:
    """Log the labels of the imported videos and how many there are of each."""
    labelled = {} if truth is None else {name: truth.videos[name] for name in videos if name in truth.videos}
    for split in ("train", "test"):
        own = [video.labels for video in labelled.values() if video.split == split]
        if own:
            logger.info(f"{split}: {counted(own)}")
    without = [name for name in videos if name not in labelled]
    if without:
        logger.info(f"no label: {names_of(without)} (for scoring and explaining, not for training)")
