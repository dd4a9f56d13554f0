"""Captions of videos: files in any published form (:mod:`.caption_formats`)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from kgvad.detector.data.caption_formats import FORMS, SUBTITLES, Track, parse, parse_subtitles
from kgvad.detector.data.clock import VideoClock
from kgvad.errors import ScoresError, UsageError
from kgvad.files import parse_json, read_data
from kgvad.video.video_ids import video_id, without_suffix

logger = logging.getLogger(__name__)
Captions = list[tuple[int, str]]  # (frame, caption), ordered by frame
SUFFIXES = (".json", *SUBTITLES, ".gz")


def read_captions(path: str | Path, video: str | None = None, clock: VideoClock | None = None) -> Captions:
    """Captions of one video, ordered by frame.

    Parameters
    ----------
    path, video
        As of :func:`read_track`.
    clock
        Of the video; needed where the file is in seconds.

    Raises
    ------
    UsageError
        The file does not exist.
    ScoresError
        The file has another format, or no captions of the video.
    """
    return read_track(path, video).frames(clock, str(path))


def read_track(path: str | Path, video: str | None = None) -> Track:
    """Captions of one video by the clock of their file; which one that is, is logged.

    Parameters
    ----------
    path
        JSON, SubRip or WebVTT, also gzipped, or a folder with one such file for each video.
    video
        The video's name; its folder and suffix do not matter. Not needed where the file holds one video.
    """
    path = Path(path)
    if path.is_dir() and video is not None:
        path = _file_of(path, video)
    tracks = caption_tracks(path)
    wanted = None if video is None else video_id(video)
    track = tracks.get(None) or (None if wanted is None else tracks.get(wanted))
    if track is None and wanted is None and len(tracks) == 1:
        track = next(iter(tracks.values()))
    if track is None:
        raise ScoresError(
            f"{path} has no captions of {wanted!r}",
            f"it has captions of {len(tracks)} videos, the first is {next(iter(tracks))!r}",
        )
    clock = {"order": "one text a second, snippet or frame"}.get(track.clock, track.clock)
    logger.info("%s: %d captions, clock: %s", path, len(track.items), clock)
    return track


def caption_tracks(path: str | os.PathLike[str]) -> dict[str | None, Track]:
    """Captions by the identifier of the video; under ``None`` those of a file that names none.

    Raises
    ------
    UsageError
        The file does not exist.
    ScoresError
        It has another format, or captions of one video twice.
    """
    path = Path(path)
    if path.is_dir():
        return {video_id(_stem(file)): _only(file) for file in _files(path)}
    if not path.is_file():
        raise UsageError(f"caption file {path} does not exist", FORMS)
    data = read_data(path, ScoresError, FORMS)
    if path.name.lower().removesuffix(".gz").endswith(SUBTITLES):
        return {None: parse_subtitles(data, str(path))}
    return parse(parse_json(data, path, ScoresError, FORMS), str(path))


def texts_of_videos(path: str | Path) -> dict[str, list[str]]:
    """The texts alone, by the identifier of the video; errors as of :func:`caption_tracks`."""
    tracks = caption_tracks(path)
    return {video: [text for _, text in own.items] for video, own in tracks.items() if video is not None}


def _files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name.lower().endswith(SUFFIXES))
    if not files:
        raise ScoresError(f"{folder} holds no captions", "name each file after its video: VIDEO.srt, .vtt or .json")
    return files


def _stem(file: Path) -> str:
    return without_suffix(file.name, SUFFIXES)


def _only(file: Path) -> Track:
    tracks = caption_tracks(file)
    if len(tracks) > 1:
        raise ScoresError(f"{file} holds captions of {len(tracks)} videos", "name this file itself")
    return next(iter(tracks.values()))


def _file_of(folder: Path, video: str) -> Path:
    found = [file for file in _files(folder) if video_id(_stem(file)) == video_id(video)]
    if len(found) != 1:
        what = "no captions" if not found else f"{found[0].name} and {found[1].name}"
        raise ScoresError(f"{folder} has {what} of {video_id(video)!r}", "name one file after the video")
    return found[0]
