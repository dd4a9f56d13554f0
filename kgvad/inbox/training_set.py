"""Marks of reviewers as labels: JSON for anybody, and a folder of videos that ``kgvad train`` takes."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kgvad.detector.data.category_folders import folder_labels
from kgvad.detector.data.labels import NORMAL, read_labels
from kgvad.errors import KgvadError
from kgvad.explain.media.clips import cut_clip, safe_name
from kgvad.files import replacing, write_json
from kgvad.inbox.library import Library, MarkRow, VideoRow

logger = logging.getLogger(__name__)

FOLDER = "training"
CATEGORY = r'[^\s.<>:"\/\\\|?*][^<>:"\/\\\|?*]{0,59}'  # a folder on every system; a browser checks it, too
MARKS_VERSION = 2  # since 2 there are missed events, whose times may be null


@dataclass(frozen=True)
class Clip:
    """A part of the training set: a video, whole or a stretch of it, and its category."""

    video: VideoRow
    category: str
    between_s: tuple[float, float] | None = None  # None: the whole video

    @property
    def file(self) -> str:
        """Path inside the folder of the training set."""
        name = f"{self.video.id}-{safe_name(Path(self.video.name).stem)}"
        if self.between_s is None:
            return f"{self.category}/{name}{Path(self.video.path).suffix}"
        start, end = (round(second * 1000) for second in self.between_s)
        return f"{self.category}/{name}-{start}-{end}.mp4"


def is_category(name: str) -> bool:
    """Whether ``kgvad train`` takes a folder of this name as an abnormal category: not Normal, test, 12 or no fight."""
    if not (name.isprintable() and re.fullmatch(CATEGORY, name)):
        return False
    try:
        ((_, label),) = folder_labels({"video": (name,)}).values()
        return read_labels([NORMAL, label], FOLDER)[label] == (name,)
    except KgvadError:
        return False


def marks_json(library: Library) -> dict[str, object]:
    """Every mark, with the file and the time it is about."""
    marks = library.marks()
    return {
        "version": MARKS_VERSION,
        "marks": [
            {
                "video": video.path,
                "start_s": mark.start_s,
                "end_s": mark.end_s,
                "verdict": mark.verdict,
                "category": mark.category,
                "made": mark.made,
            }
            for video in reversed(library.videos())
            for mark in marks.get(video.id, ())
        ],
    }


def training_clips(library: Library) -> list[Clip]:
    """What the marks say about categories.

    A video whose events are all wrong is normal as a whole. An event that is right, with a category, is a clip of that
    category. Beside it, an event that is wrong is a normal clip. An event without a mark says nothing. A missed event
    is a clip of its category if its start and end were given; otherwise the whole video has the category. Of a video
    that is gone, only the clips that were written before are left.
    """
    marks = library.marks()
    clips = (
        clip
        for video in reversed(library.videos())
        for clip in _clips(video, marks.get(video.id, []))
        if Path(video.path).is_file() or (library.folder / FOLDER / clip.file).is_file()
    )
    return list({clip.file: clip for clip in clips}.values())


def _clips(video: VideoRow, marks: list[MarkRow]) -> Iterator[Clip]:
    wrong = [mark for mark in marks if mark.verdict == "wrong"]
    if marks and len(wrong) == len(marks) >= video.events:
        yield Clip(video, NORMAL)
        return
    for mark in marks:
        between_s = None if mark.start_s is None or mark.end_s is None else (mark.start_s, mark.end_s)
        if mark.verdict == "wrong":
            yield Clip(video, NORMAL, between_s)
        elif mark.category is not None:
            yield Clip(video, mark.category, between_s)


def write_training_set(library: Library) -> Path:
    """Write the folder of the training set: a sub-folder per category, with whole videos linked and stretches cut.

    What an earlier call wrote and the marks no longer say is taken out; nothing else in the folder is touched.

    Raises
    ------
    KgvadError
        A video cannot be cut, or the folder cannot be written.
    """
    folder, clips = library.folder / FOLDER, training_clips(library)
    listed = folder / "clips.json"
    wanted = {clip.file: clip for clip in clips}
    for old in _listed(listed) - set(wanted):
        (folder / old).unlink(missing_ok=True)
    for file, clip in wanted.items():
        target = folder / file
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if clip.between_s is None:
            _link(Path(clip.video.path), target)
        else:
            cut_clip(Path(clip.video.path), target, clip.between_s)
    write_json(listed, sorted(wanted))
    return folder


def _listed(file: Path) -> set[str]:
    """What the last call wrote; only paths of the form that :attr:`Clip.file` has."""
    from kgvad.errors import StoreError
    from kgvad.files import read_json

    if not file.is_file():
        return set()
    found = read_json(file, StoreError, "remove the file: the training set is written again")
    return {path for path in found if isinstance(path, str) and path.count("/") == 1 and ".." not in path.split("/")}


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system has them, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
