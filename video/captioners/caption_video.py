"""Captions of one video: clips of equal length, each seen between its neighbours; still stretches captioned once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kgvad import plugins
from kgvad.console import Advance
from kgvad.errors import KgvadError
from kgvad.video.captioners.base import Captioner, Clip, Pictures
from kgvad.video.decode import VideoReader, probe

LONGEST_SIDE = 768  # pixels of a picture; vision-language models scale to about as many
GRID = (24, 32)  # cells, rows and columns, in which two pictures are compared
STILL = 6.0  # grey levels; an empty scene before a fixed camera stays below 5, anybody who moves in it is above 40


@dataclass(frozen=True)
class Caption:
    """What a clip shows, from ``start_s`` to ``end_s`` seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class CaptionedVideo:
    """Captions of one video in the order of time, and how many of its clips were captioned by the model."""

    captions: list[Caption]
    asked: int


def caption_video(
    path: str | os.PathLike[str], captioner: Captioner, every_s: float = 2.0, *, advance: Advance | None = None
) -> CaptionedVideo:
    """Captions of a video, one for each ``every_s`` seconds.

    Memory does not grow with the length of the video. A clip that looks like the clip that was captioned last, in every
    cell of a coarse grid, keeps its caption.

    Parameters
    ----------
    path
        The video.
    captioner
        Says what the clips show.
    every_s
        Seconds of a clip.
    advance
        Called with the seconds that were captioned.

    Raises
    ------
    VideoError
        The video cannot be read.
    KgvadError
        The captioner of another package does not give one text for each clip.
    """
    reader = VideoReader(path, size=_size(path))
    texts: list[str] = []  # of the clips that were captioned
    source: list[int] = []  # for each clip, which of these texts it has
    waiting: list[Clip] = []
    shown: NDArray[np.float32] | None = None  # the clip that was captioned last, in the grid
    for clip in _clips(reader, captioner.pictures, every_s):
        cells = _cells(clip.pictures)
        if shown is None or float(np.abs(cells - shown).max()) >= STILL:
            shown = cells
            waiting.append(clip)
        source.append(len(texts) + len(waiting) - 1)
        if len(waiting) >= captioner.batch:
            texts += _texts(captioner, waiting)
            waiting.clear()
        if advance is not None:
            advance(every_s)
    if waiting:
        texts += _texts(captioner, waiting)
    end_s = reader.info.duration_s
    captions = [
        Caption(round(i * every_s, 3), round(min((i + 1) * every_s, end_s), 3), " ".join(texts[text].split()))
        for i, text in enumerate(source)
    ]
    return CaptionedVideo(captions, len(texts))


def _texts(captioner: Captioner, clips: list[Clip]) -> list[str]:
    texts = captioner.caption(clips)
    if len(texts) != len(clips):
        raise KgvadError(f"captioner {captioner.name!r} gave {len(texts)} texts for {len(clips)} clips", plugins.REMEDY)
    return texts


def _clips(reader: VideoReader, pictures: int, every_s: float) -> Iterator[Clip]:
    """Clips with their neighbours; the last one may have fewer pictures."""
    parts = _parts(reader, pictures, every_s)
    here = next(parts, None)
    if here is None:
        return
    before = here
    for after in parts:
        yield Clip(before, here, after)
        before, here = here, after
    yield Clip(before, here, here)


def _parts(reader: VideoReader, pictures: int, every_s: float) -> Iterator[Pictures]:
    part: list[NDArray[np.uint8]] = []
    for picture in reader.sampled(pictures / every_s):
        part.append(picture)
        if len(part) == pictures:
            yield part
            part = []
    if part:
        yield part


def _cells(pictures: Pictures) -> NDArray[np.float32]:
    """Mean grey of the cells of :data:`GRID`, of each picture, float32 [rows, columns], averaged over the pictures."""
    rows, columns = GRID
    grey = [Image.fromarray(picture).convert("L").resize((columns, rows), Image.Resampling.BOX) for picture in pictures]
    cells: NDArray[np.float32] = np.stack([np.asarray(one, np.float32) for one in grey]).mean(0)
    return cells


def _size(path: str | os.PathLike[str]) -> tuple[int, int]:
    info = probe(Path(path))
    scale = min(1.0, LONGEST_SIDE / max(info.width, info.height))
    return max(2, round(info.width * scale)), max(2, round(info.height * scale))
