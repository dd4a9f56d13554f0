"""Scores that any program wrote, measured like a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.feature_import import FPS
from kgvad.detector.run import CONFIG
from kgvad.detector.scoring.formats import CODECS, codec_for, format_of, read_videos
from kgvad.detector.scoring.score_spans import clock_in_words, in_seconds
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError
from kgvad.files import reading
from kgvad.types import Fields
from kgvad.video.feature_store import VideoEntry
from kgvad.video.video_ids import VideoNames, without_suffix

logger = logging.getLogger(__name__)

SUFFIXES = (".json.gz", *CODECS)
MANY_EQUAL = 0.1  # share of the different scores; large sets lose a few by chance
REMEDY = "give scores as kgvad score writes them, or as CSV with the columns video, frame, score"


@dataclass(frozen=True)
class GivenScores:
    """Scores of the videos of one dataset.

    Attributes
    ----------
    path
        CSV or JSON file of several videos, or folder with one file (npz, npy, CSV, JSON) for each.
    """

    path: Path

    def of_test_videos(
        self, truth: Truth, entries: Mapping[str, VideoEntry], *, only_entries: bool = False
    ) -> list[Scores]:
        """Scores of the test videos that are there, in the order of ``truth``; of another range, mapped to 0..1.

        Parameters
        ----------
        truth
            Videos of the dataset.
        entries
            What a feature store knows of their clocks; may be empty.
        only_entries
            Leave out videos without an entry, which a run on these features cannot be measured on.

        Raises
        ------
        ScoresError
            No test video is there, or scores are wrong; the message names the file and the video.
        FeatureError
            Two of the names mean the same video.
        """
        readers = self._of_folder() if self.path.is_dir() else self._of_file()
        test = [video for video in truth.split("test") if video in entries or not only_entries]
        named = VideoNames(test).match(readers, str(self.path))
        if not named:
            examples = "".join(f", {one!r} for example" for one in test[:1])
            examples += "".join(f", not {one!r}" for one in list(readers)[:1])
            which = "test videos with features" if only_entries else "test videos"
            raise ScoresError(
                f"{self.path} has no scores of the {which} of {truth.dataset}",
                f"name them as the dataset does{examples}",
            )
        given = self._in_unit_range({video: readers[named[video]]() for video in test if video in named})
        found = []
        for video, fields in given.items():
            entry = entries.get(video)
            frames = truth.videos[video].frame_count or (None if entry is None else entry.frame_count)
            fps = FPS.get(truth.dataset, 30.0) if entry is None else entry.fps
            found.append(self._scores(fields, video, fps, frames))
            if len(found) == 1:
                self._say_clock(fields, found[0], is_assumed=entry is None and fields.get("fps") is None)
        return found

    def _in_unit_range(self, given: dict[str, Fields]) -> dict[str, Fields]:
        """The scores as they are where all lie in 0..1, else mapped to it in proportion, all videos alike."""
        values = {video: _numbers(fields.get("scores")) for video, fields in given.items()}
        finite = [found[np.isfinite(found)] for found in values.values()]
        low = min((float(one.min()) for one in finite if one.size), default=0.0)
        high = max((float(one.max()) for one in finite if one.size), default=1.0)
        size, in_range = (high - low) or 1.0, low >= 0 and high <= 1
        mapped = values if in_range else {video: (found - low) / size for video, found in values.items()}
        count = _distinct(values, np.float64)
        lost = count - _distinct(mapped, np.float32)
        equal = f"{lost:,} of {count:,} different scores become equal" if lost > MANY_EQUAL * count else ""
        if in_range:
            if equal:
                logger.warning(f"{self.path}: {equal} in single precision, and are ties: give logits instead")
            return given
        logger.warning(
            f"{self.path}: the scores lie between {low:.6g} and {high:.6g} and are mapped to 0..1 in proportion"
            f"{equal and ', and '}{equal}: AUC and AP depend on their order alone, alarms, calibration and categories "
            "on the values"
        )
        return {video: {**given[video], "scores": one} if one.size else given[video] for video, one in mapped.items()}

    def _say_clock(self, fields: Fields, scores: Scores, *, is_assumed: bool) -> None:
        """Log what the times of the first video were taken for."""
        said = clock_in_words(fields, scores.spans, scores.frame_count)
        if said is None:
            return
        if is_assumed and in_seconds(fields):
            logger.warning(
                f"{self.path}, {scores.video}: {said}, and {scores.fps:g} frames a second are assumed: name features "
                "of these videos with --features, or give frames"
            )
        else:
            logger.info(f"{self.path}, {scores.video}: {said}")

    def _scores(self, fields: Fields, video: str, fps: float, frame_count: int | None) -> Scores:
        try:
            return replace(Scores.from_fields(fields, video, fps, frame_count), video=video)
        except ScoresError as error:
            raise ScoresError(f"{self.path}: {video}: {error.message}", error.remedy) from error

    def _of_folder(self) -> dict[str, Callable[[], Fields]]:
        files = sorted(path for path in self.path.rglob("*") if format_of(path) is not None and path.is_file())
        names = {file: without_suffix(file.relative_to(self.path).as_posix(), SUFFIXES) for file in files}
        return {name: partial(_fields_of, file) for file, name in names.items()}

    def _of_file(self) -> dict[str, Callable[[], Fields]]:
        try:
            with reading(self.path, ScoresError, REMEDY):
                videos = read_videos(self.path)
        except ScoresError as error:
            if str(self.path) in error.message:
                raise
            raise ScoresError(f"{self.path}: {error.message}", error.remedy) from error
        if not videos:
            raise ScoresError(
                f"{self.path} does not name the videos of its scores",
                "give a folder with one file for each video, or CSV with the columns video, frame, score",
            )
        return {name: partial(dict, fields) for name, fields in videos.items()}


def _numbers(scores: object) -> NDArray[np.float64]:
    """Scores as an array; empty where they are something else, which the check of the scores refuses."""
    try:
        found = np.asarray(scores)
    except ValueError:  # rows of different length
        return np.zeros(0)
    return found.astype(np.float64) if found.dtype.kind in "iuf" and found.ndim == 1 else np.zeros(0)


def _distinct(values: Mapping[str, NDArray[np.float64]], precision: type[np.floating]) -> int:
    """Number of different scores of all videos in this precision; that of :class:`Scores` is single."""
    return len(np.unique(np.concatenate([found.astype(precision) for found in values.values()])))


def are_scores(path: Path) -> bool:
    """Whether ``path`` holds scores, and no runs."""
    if path.is_file():
        return True
    runs = (path / CONFIG).is_file() or next(path.glob(f"*/{CONFIG}"), None) is not None
    return not runs and any(format_of(one) is not None for one in path.rglob("*"))


def category_columns(scores: Scores, categories: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Category scores [T, C] in the order of ``categories``; ``None`` where the scores have not exactly these."""
    if scores.alignment is None or scores.categories is None or set(scores.categories) != set(categories):
        return None
    return np.asarray(scores.alignment[:, [scores.categories.index(name) for name in categories]], np.float64)


def _fields_of(path: Path) -> Fields:
    with reading(path, ScoresError, REMEDY):
        return codec_for(path).read(path, None)
