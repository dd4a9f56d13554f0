"""Captions of videos: files in any published form (:mod:`.caption_formats`)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from kgvad.console import count_of
from kgvad.detector.data import caption_tables
from kgvad.detector.data.caption_formats import FORMS, SUBTITLES, Track, parse, parse_text
from kgvad.detector.data.clock import VideoClock
from kgvad.errors import ScoresError, UsageError
from kgvad.files import parse_json, read_data
from kgvad.text_language import may_be_english
from kgvad.video.video_ids import VideoNames, tail_ids, video_id, without_suffix

logger = logging.getLogger(__name__)
Captions = list[tuple[int, str]]  # (frame, caption), ordered by frame
SUFFIXES = tuple(f"{suffix}{gz}" for suffix in (".json", ".jsonl", *SUBTITLES) for gz in ("", ".gz"))
JSON_START = re.compile(rb"\s*[\[{]\s*[\"\[{]")


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
        JSON, SubRip, WebVTT, a table or plain text, also gzipped, or a folder with one such file for each video.
    video
        The video's name; its folder and suffix do not matter. Not needed where the file holds one video.
    """
    path = Path(path)
    if path.is_dir() and video is not None:
        path = caption_file(path, video)
    tracks = caption_tracks(path)
    wanted = None if video is None else video_id(video)
    track = tracks.get(None)
    if track is None and video is not None:
        track = tracks.get(VideoNames(one for one in tracks if one is not None).find(video))
    if track is None and wanted is None and len(tracks) == 1:
        track = next(iter(tracks.values()))
    if track is None:
        raise ScoresError(
            f"{path} has no captions of {wanted!r}",
            f"it has captions of {count_of(len(tracks), 'video')}, the first is {next(iter(tracks))!r}",
        )
    describe_tracks(path, [track])
    return track


def caption_file(folder: Path, video: str) -> Path:
    """The file of captions in ``folder`` that is named after ``video``.

    Raises
    ------
    ScoresError
        There is none.
    """
    files = _files(folder)
    name = VideoNames(files).find(video)
    if name is None:
        raise ScoresError(f"{folder} has no captions of {video_id(video)!r}", "name one file after the video")
    return files[name]


def describe_tracks(path: Path, tracks: Sequence[Track]) -> None:
    """Log how many captions were read and by which clock; warn where they do not read as English."""
    texts = [text for track in tracks for _, text in track.items]
    names = {"order": "one text a second, snippet or frame"}
    clocks = dict.fromkeys(names.get(track.clock, track.clock) for track in tracks)
    logger.info("%s: %s, clock: %s", path, count_of(len(texts), "caption"), " and ".join(clocks))
    if not may_be_english(texts):
        logger.warning(
            "%s: the captions do not read as English, the language of the anchors: scores and categories may mean "
            "nothing (translate them, or caption the video in English)",
            path,
        )


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
        return {video: _only(file) for video, file in _files(path).items()}
    if not path.is_file():
        raise UsageError(f"caption file {path} does not exist", FORMS)
    data = read_data(path, ScoresError, FORMS)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in (*SUBTITLES, *caption_tables.SUFFIXES) and not JSON_START.match(data):
        return parse_text(data, suffix, str(path))
    first, _, rest = data.strip().partition(b"\n")
    if first.startswith(b"{") and first.rstrip().endswith(b"}") and rest.strip():  # JSON lines
        lines = [(line, f"{path}, line {number}") for number, line in enumerate(data.splitlines(), 1) if line.strip()]
        return parse([parse_json(line, where, ScoresError, FORMS) for line, where in lines], str(path))
    return parse(parse_json(data, path, ScoresError, FORMS), str(path))


def texts_of_videos(path: str | Path) -> dict[str, list[str]]:
    """The texts alone, by the identifier of the video; errors as of :func:`caption_tracks`."""
    tracks = caption_tracks(path)
    return {video: [text for _, text in own.items] for video, own in tracks.items() if video is not None}


def _files(folder: Path) -> dict[str, Path]:
    """Files of captions below ``folder`` by the identifier of the video that each is named after.

    Tables and plain texts only where there is nothing else: beside other files they are lists and notes.
    """
    named = [(file, file.name.lower()) for file in sorted(folder.rglob("*")) if not file.name.startswith(".")]
    for suffixes in (SUFFIXES, tuple(f"{suffix}{gz}" for suffix in caption_tables.SUFFIXES for gz in ("", ".gz"))):
        files = [file for file, name in named if name.endswith(suffixes) and file.is_file()]
        if files:
            break
    names = tail_ids([without_suffix(file.relative_to(folder).as_posix(), suffixes) for file in files])
    found: dict[str, Path] = {}
    for video, file in zip(names, files, strict=True):
        other = found.setdefault(video, file)
        if other != file:
            raise ScoresError(f"{other} and {file} are captions of the same video {video!r}", "remove one of them")
    if not found:
        raise ScoresError(f"{folder} holds no captions", "name each file after its video: VIDEO.srt, .vtt or .json")
    return found


def _only(file: Path) -> Track:
    tracks = caption_tracks(file)
    if len(tracks) > 1:
        raise ScoresError(f"{file} holds captions of {len(tracks)} videos", "name this file itself")
    return next(iter(tracks.values()))
