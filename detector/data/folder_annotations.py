"""Times of the events in the test videos of a folder dataset: ``annotations.csv`` beside the categories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kgvad.detector.data.clock import VideoClock
from kgvad.detector.data.frame_labels import Annotated, Event, read_frame_labels, warn_of_other_categories
from kgvad.errors import FeatureError
from kgvad.video.decode import probe
from kgvad.video.video_ids import VideoNames

FILE = "annotations.csv"


def event_frames(
    folder: Path, videos: Mapping[str, Path], labels: Mapping[str, Sequence[str]]
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Frames [start, end) of the events of each annotated video; empty where there is no ``annotations.csv``.

    The categories of the events are only compared with those of the videos.

    The file is a table as of :func:`~kgvad.detector.data.frame_labels.read_frame_labels`. Seconds become frames by the
    times of the frames of each video.

    Parameters
    ----------
    videos
        Path of each video by its identifier.
    labels
        Categories of each video, none for a normal one.

    Raises
    ------
    FeatureError
        A column is missing, a time is not a number, or a video is not in the folder.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    found = read_frame_labels(path)
    matched = VideoNames(videos).match(found, str(path))
    unknown = [name for name in found if name not in matched.values()]
    if unknown:
        raise FeatureError(
            f"{path}: no video {unknown[0]!r} in {folder}, or several",
            "use the file name, with the sub-folder where several videos have it",
        )
    warn_of_other_categories({video: found[name] for video, name in matched.items()}, labels, str(path))
    return {video: _frames(found[name], videos[video]) for video, name in matched.items()}


def _frames(annotated: Annotated, video: Path) -> tuple[tuple[int, int], ...]:
    clock = None
    if any(event.in_seconds for event in annotated.events):
        clock = VideoClock.of(probe(video, exact=True))
    return tuple(sorted(_span(event, clock) for event in annotated.events))


def _span(event: Event, clock: VideoClock | None) -> tuple[int, int]:
    if clock is None:
        return int(event.start), int(event.end)
    start, end = clock.positions(np.array([event.start, event.end]))
    return math.floor(start), max(math.ceil(end), math.floor(start) + 1)
