"""Frames that show no scene: black, cards, fades, cuts and strong camera moves, measured while a video is decoded.

Every decoded frame is scaled to a thumbnail of 64 x 48 grey pixels; nothing is decoded a second time. Of large frames
some pixels are averaged: all of them would take a fifth of the time that decoding does. The limits were set on 74
surveillance and action clips whose title cards, replays and camera jumps were labelled by eye: no frame of footage
comes near those of black frames and cards, and explosions, which change the whole picture, must not count as cuts. A
detector of scene changes from a library would bring OpenCV for this alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer

from kgvad.masks import true_runs
from kgvad.types import AnyArray

Quality = Literal["ok", "black", "flat", "fade", "cut", "camera"]
Floats = NDArray[np.float32]
MOST_ROWS = 1 << 26  # of one video; a day of one row a frame has 2.6 million

WIDTH, HEIGHT = 64, 48  # of a thumbnail, pixels
LARGE, SAMPLES = 1024, 4  # width of a frame from which 4 x 4 of its pixels are averaged for one of the thumbnail
BLACK_LUMA, BLACK_CONTRAST = 20.0, 6.0  # a black frame is darker and flatter
WHITE_LUMA = 235.0  # a brighter frame is overexposed
FLASH_S = 1.0  # overexposed for longer: a white card
CARD_SHARE = 0.75  # share of pixels on two grey levels from which a frame is a card; footage reaches .60
LEVEL_WIDTH = 9  # grey values that count as one level
SMOOTH_SHARE = 0.55  # share of smooth pixels, median over a stretch between cards, from which it is a card as well
SMOOTH_CURVATURE = 3  # grey values
CARD_S = 5.0  # longest such stretch
CUT_SIMILARITY = 0.65  # correlation of two frames below which a cut is possible
CUT_CHANGE = 15.0  # grey values, mean over the picture
CUT_RATIO = 4.0  # change at a cut over the changes of the frames around it
CUT_AROUND = 3  # frames before and after
FADE_S = 1.5  # longest fade from or to black
MOVE_LAG_S = 0.2  # frames this far apart show a camera move
MOVE_PIXELS = 3  # of the thumbnail (5 % of the width)
MOVE_PEAK = 0.25  # height of the phase correlation
MOVE_REST = 0.5  # share of the difference of two frames that may be left when the move is undone
EVERY = 4  # frames from one measurement of smoothness and moves to the next
_WINDOW = np.outer(np.hanning(HEIGHT), np.hanning(WIDTH))  # of a thumbnail, for the phase correlation


def as_runs(quality: Sequence[Quality] | None) -> str | None:
    """``["ok", "ok", "cut"]`` as ``"ok*2 cut"``: manifests of thousands of hours stay small."""
    if quality is None:
        return None
    runs = [(kind, len(list(equal))) for kind, equal in groupby(quality)]
    return " ".join(kind if count == 1 else f"{kind}*{count}" for kind, count in runs)


def from_runs(value: object) -> object:
    """What :func:`as_runs` made, as a list; any other value as it is.

    Raises
    ------
    ValueError
        A count is no number, or there are more than :data:`MOST_ROWS` rows.
    """
    if not isinstance(value, str):
        return value
    runs = [(kind, int(count or 1)) for kind, _, count in (run.partition("*") for run in value.split())]
    if any(count < 1 for _, count in runs) or sum(count for _, count in runs) > MOST_ROWS:
        raise ValueError("a run of rows has no or too many rows")
    return [kind for kind, count in runs for _ in range(count)]


# The quality of each row of a video in a manifest.
RowQuality = Annotated[
    list[Quality] | None, BeforeValidator(from_runs), PlainSerializer(as_runs, return_type=str | None, when_used="json")
]


@dataclass(frozen=True, eq=False)
class FrameFacts:
    """Measurements of every frame, and what follows from them.

    Attributes
    ----------
    luma, contrast
        float32 [F]: mean and standard deviation of the grey values, 0 to 255.
    change
        float32 [F]: mean absolute difference from the frame before, grey values; 0 for the first.
    kinds
        str [F]: what each frame is; ``cut`` is the first frame of a new shot.
    """

    luma: Floats
    contrast: Floats
    change: Floats
    kinds: AnyArray

    def cuts(self) -> list[int]:
        """First frame of each shot but the first."""
        return [int(i) for i in np.flatnonzero(self.kinds == "cut")]

    def rows(self, spans: NDArray[np.int64]) -> RowFacts:
        """The same for rows of features that stand for frames [start, end), int64 [T, 2]."""
        parts = [slice(int(start), max(int(start) + 1, int(end))) for start, end in spans]
        luma, contrast, change = (
            np.array([values[part].mean() for part in parts], np.float32)
            for values in (self.luma, self.contrast, self.change)
        )
        return RowFacts(luma, contrast, change, tuple(_row_quality(self.kinds[part]) for part in parts))


@dataclass(frozen=True, eq=False)
class RowFacts:
    """Means of the frames of each row, float32 [T], and the quality of each row."""

    luma: Floats
    contrast: Floats
    change: Floats
    quality: tuple[Quality, ...]


def _row_quality(kinds: AnyArray) -> Quality:
    """What at least half of the frames are; otherwise ``cut`` where a shot begins; otherwise ``ok``."""
    share = {kind: float((kinds == kind).mean()) for kind in ("black", "flat", "fade", "camera")}
    if share["black"] + share["flat"] + share["fade"] >= 0.5:
        no_scene: tuple[Quality, ...] = ("black", "flat", "fade")
        return max(no_scene, key=lambda kind: share[kind])
    if (kinds == "cut").any():
        return "cut"
    return "camera" if share["camera"] >= 0.5 else "ok"


class FrameMeter:
    """Measures decoded frames one by one; give it to :class:`~kgvad.video.decode.VideoReader` as ``observe``."""

    def __init__(self) -> None:
        self._sampler, self._reformatter = VideoReformatter(), VideoReformatter()
        self._recent: deque[tuple[float, NDArray[np.int16]]] = deque()  # times and thumbnails of the last MOVE_LAG_S
        self._measured: list[tuple[float, ...]] = []
        self._times: list[float] = []
        self._smooth = self._moving = 0.0  # of the last frame where they were measured

    def __call__(self, frame: Any, time_s: float) -> None:
        """Measure one PyAV frame that is shown at ``time_s``."""
        if frame.width >= LARGE:
            size = (SAMPLES * WIDTH, SAMPLES * HEIGHT)
            frame = self._sampler.reformat(frame, *size, "gray", interpolation=Interpolation.POINT)
        grey = self._reformatter.reformat(frame, WIDTH, HEIGHT, "gray", interpolation=Interpolation.AREA)
        self.measure(grey.to_ndarray().astype(np.uint8, copy=False), time_s)

    def measure(self, thumbnail: NDArray[np.uint8], time_s: float) -> None:
        """Measure a thumbnail, uint8 [48, 64]."""
        now = thumbnail.astype(np.int16)
        before = self._recent[-1][1] if self._recent else now
        self._recent.append((time_s, now))
        while len(self._recent) > 1 and self._recent[1][0] <= time_s - MOVE_LAG_S + 1e-6:
            self._recent.popleft()
        change = float(np.abs(now - before).mean())
        similarity = _similarity(now, before) if change >= CUT_CHANGE else 1.0
        if similarity < CUT_SIMILARITY:  # moves are not measured across a cut
            self._recent.clear()
            self._recent.append((time_s, now))
        if len(self._times) % EVERY == 0:
            self._smooth, self._moving = _smooth(now), _moves(now, self._recent[0][1])
        luma, contrast = float(now.mean()), float(now.std())
        levels = _two_levels(thumbnail)
        self._measured.append((luma, contrast, change, similarity, levels, self._smooth, self._moving))
        self._times.append(time_s)

    def facts(self) -> FrameFacts:
        """What all frames so far are."""
        luma, contrast, change, similarity, levels, smooth, moves = np.asarray(self._measured, np.float32).T
        times = np.asarray(self._times)
        kinds = np.full(len(times), "ok", "<U6")
        kinds[moves > 0] = "camera"
        white = true_runs(luma > WHITE_LUMA)
        flash = np.zeros(len(times), bool)
        for start, end in white:
            flash[start:end] = times[end - 1] - times[start] < FLASH_S
        cuts = _cuts(change, similarity, flash)
        kinds[(levels >= CARD_SHARE) & ~flash] = "flat"
        kinds[(luma < BLACK_LUMA) & (contrast < BLACK_CONTRAST)] = "black"
        _enclosed_cards(kinds, smooth, times)
        _fades(kinds, contrast, times)
        kinds[cuts[np.isin(kinds[cuts], ("ok", "camera"))]] = "cut"
        return FrameFacts(luma, contrast, change, kinds)


def _moves(now: NDArray[np.int16], before: NDArray[np.int16]) -> float:
    """1 where the whole picture moved between two thumbnails; otherwise 0."""
    difference = float(np.abs(now - before).mean())
    if difference < 1:
        return 0.0
    down, right, peak = shift_of(now, before)
    if peak < MOVE_PEAK or max(abs(down), abs(right)) < MOVE_PIXELS:
        return 0.0
    rest = np.abs(overlap(now, down, right) - overlap(before, -down, -right)).mean()
    return float(rest < MOVE_REST * difference)


def shift_of(picture: AnyArray, other: AnyArray) -> tuple[int, int, float]:
    """Rows down and columns right by which a thumbnail lies from another, and the peak of their phase correlation."""
    spectra = [np.fft.rfft2((one - one.mean()) * _WINDOW) for one in (picture, other)]
    cross = spectra[0] * spectra[1].conj()
    plane = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-3), s=picture.shape)
    down, right = divmod(int(plane.argmax()), WIDTH)
    down, right = (down + HEIGHT // 2) % HEIGHT - HEIGHT // 2, (right + WIDTH // 2) % WIDTH - WIDTH // 2
    return down, right, float(plane.max())


def overlap(picture: AnyArray, down: int, right: int) -> AnyArray:
    """The part of a thumbnail that lies ``down`` and ``right`` of another which the other shows too."""
    rows = slice(max(0, down), HEIGHT + min(0, down))
    columns = slice(max(0, right), WIDTH + min(0, right))
    return picture[rows, columns]


def _similarity(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    """Correlation of two thumbnails; of two without contrast 1."""
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 1 else float(np.abs(a - b).mean() < CUT_CHANGE)


def _two_levels(thumbnail: NDArray[np.uint8]) -> float:
    """Share of the pixels on the two commonest grey levels."""
    counts = np.convolve(np.bincount(thumbnail.ravel(), minlength=256), np.ones(LEVEL_WIDTH), "same")
    first = int(counts.argmax())
    share = float(counts[first])
    counts[max(0, first - LEVEL_WIDTH + 1) : first + LEVEL_WIDTH] = 0
    return (share + float(counts.max())) / thumbnail.size


def _smooth(picture: NDArray[np.int16]) -> float:
    """Share of the pixels without texture, inside the bars of a letterbox."""
    rows, columns = (np.flatnonzero(np.ptp(picture, axis=axis) > 6) for axis in (1, 0))
    if len(rows) < 4 or len(columns) < 4:
        return 1.0
    inner = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if min(inner.shape) < 3:
        return 1.0
    middle = 2 * inner[1:-1, 1:-1]
    across = np.abs(middle - inner[1:-1, :-2] - inner[1:-1, 2:])
    down = np.abs(middle - inner[:-2, 1:-1] - inner[2:, 1:-1])
    return float((np.maximum(across, down) <= SMOOTH_CURVATURE).mean())


def _cuts(change: Floats, similarity: Floats, flash: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First frames of new shots: another picture, between frames that hardly change; a flash is none."""
    found = []
    for i in np.flatnonzero((similarity < CUT_SIMILARITY) & (change >= CUT_CHANGE)):
        around = [*change[max(1, i - CUT_AROUND) : i], *change[i + 1 : i + 1 + CUT_AROUND]]
        if i > 0 and not flash[i - 1 : i + 1].any() and change[i] >= CUT_RATIO * max(around, default=0.0):
            found.append(i)
    return np.asarray(found, np.int64)


def _enclosed_cards(kinds: AnyArray, smooth: Floats, times: NDArray[np.float64]) -> None:
    """A short smooth stretch between black frames or cards is a card as well."""
    for start, end in true_runs(~np.isin(kinds, ("black", "flat"))):
        enclosed = start > 0 and end < len(kinds)
        short = times[end - 1] - times[start] <= CARD_S
        if enclosed and short and np.median(smooth[start:end]) >= SMOOTH_SHARE:
            kinds[start:end] = "flat"


def _fades(kinds: AnyArray, contrast: Floats, times: NDArray[np.float64]) -> None:
    """Frames next to black ones whose contrast rises step by step away from them."""
    for start, end in true_runs(kinds == "black"):
        for edge, step in ((start - 1, -1), (end, 1)):
            last, i = 0.0, edge
            while (
                0 <= i < len(kinds)
                and kinds[i] in ("ok", "camera", "flat")
                and contrast[i] > last + 0.2
                and abs(times[i] - times[edge]) <= FADE_S
            ):
                last, i = float(contrast[i]), i + step
            if abs(i - edge) >= 3:  # a cut from or to black is no fade
                kinds[min(edge, i - step) : max(edge, i - step) + 1] = "fade"
