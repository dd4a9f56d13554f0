"""Captions of videos: files ``{video: {frame: caption}}``, and the caption of each snippet."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgvad.errors import ScoresError, UsageError
from kgvad.files import read_json
from kgvad.video import SNIPPET_FRAMES

Captions = list[tuple[int, str]]  # (frame, caption), ordered by frame
MAX_CHARACTERS = 2000  # of one caption; text encoders read far fewer
FORMAT = "the format is {video: {frame: caption}}"


def read_captions(path: str | Path, video: str | None = None) -> Captions:
    """Captions of one video, ordered by frame.

    Parameters
    ----------
    path
        JSON or gzipped JSON: ``{video: {frame: caption}}``, or ``{frame: caption}`` of one video.
    video
        The video's name; its folder and suffix do not matter. Not needed where the file holds one video.

    Raises
    ------
    UsageError
        The file does not exist.
    ScoresError
        The file has another format, or no captions of the video.
    """
    path = Path(path)
    content = _content(path)
    if any(isinstance(value, str) for value in content.values()):
        return _frames(content, path)
    stem = Path(video).stem if video else None
    for name, captions in content.items():
        if stem is not None and Path(name).stem == stem:
            return _frames(captions, path)
    if stem is None and len(content) == 1:
        return _frames(next(iter(content.values())), path)
    raise ScoresError(
        f"{path} has no captions of {stem!r}",
        f"it has captions of {len(content)} videos, the first is {next(iter(content))!r}",
    )


def all_captions(path: str | os.PathLike[str]) -> dict[str, Captions]:
    """Captions of every video of a file ``{video: {frame: caption}}``; errors as of :func:`read_captions`."""
    path = Path(path)
    return {video: _frames(captions, path) for video, captions in _content(path).items()}


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"caption file {path} does not exist", FORMAT)
    content = read_json(path, ScoresError, FORMAT)
    if not isinstance(content, dict) or not content:
        raise ScoresError(f"{path} contains no captions", FORMAT)
    return content


def _frames(captions: Any, path: Path) -> Captions:
    if not isinstance(captions, dict) or not captions:
        raise ScoresError(f"{path}: a video has no captions", FORMAT)
    found = []
    for frame, caption in captions.items():
        if not (isinstance(frame, str) and frame.isascii() and frame.isdigit() and len(frame) < 12):
            raise ScoresError(f"{path}: {str(frame)[:40]!r} is not a frame number", "use whole numbers from 0")
        if not isinstance(caption, str):
            raise ScoresError(f"{path}: the caption of frame {frame} is not a string", FORMAT)
        found.append((int(frame), caption[:MAX_CHARACTERS]))
    return sorted(found)


def per_snippet(captions: Sequence[tuple[int, str]], snippets: int) -> list[str]:
    """The caption of each snippet: the last one that starts before the snippet ends, or the first caption."""
    starts = [frame for frame, _ in captions]
    ends = range(SNIPPET_FRAMES, (snippets + 1) * SNIPPET_FRAMES, SNIPPET_FRAMES)
    return [captions[max(bisect_left(starts, end) - 1, 0)][1] for end in ends]
