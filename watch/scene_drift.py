"""Whether a camera still sees what it saw when it was calibrated: moved, dark, or another scene."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from kgvad.video.frame_quality import HEIGHT, WIDTH, overlap, shift_of
from kgvad.watch.camera_settings import ScenePicture

ROWS = 200  # averaged into one picture: five minutes of the shipped run, so that what passes by does not count
DARK_SHARE = 0.5  # of the brightness at calibration; below, the camera is dark
SIMILARITY_DROP = 0.15  # below the least similarity at calibration: another scene
MOVED_PIXELS = 2  # of the 64 x 48 picture; 3 % of the width
AGAIN_S = 3600.0  # until the same is said again
Picture = NDArray[np.float32]


class PictureMean:
    """Means of the pictures of many rows, with the hour in which each ended."""

    def __init__(self, rows: int = ROWS) -> None:
        self._rows = rows
        self._sum = np.zeros((HEIGHT, WIDTH))
        self._count = 0

    def push(self, picture: Picture) -> Picture | None:
        """Add the picture of a row; the mean, each time enough came."""
        self._sum += picture
        self._count += 1
        if self._count < self._rows:
            return None
        mean = (self._sum / self._count).astype(np.float32)
        self._sum, self._count = np.zeros((HEIGHT, WIDTH)), 0
        return mean


def scene_pictures(means: Iterable[tuple[datetime, Picture]]) -> tuple[ScenePicture, ...]:
    """For each local hour of the day the mean picture, and how similar the pictures of that hour are to it."""
    by_hour: dict[int, list[Picture]] = {}
    for moment, picture in means:
        by_hour.setdefault(moment.astimezone().hour, []).append(picture)
    found = []
    for hour, pictures in sorted(by_hour.items()):
        mean = np.mean(pictures, axis=0).round().astype(np.uint8)
        least = min(similarity(picture, mean) for picture in pictures)
        data = base64.b64encode(mean.tobytes()).decode()
        found.append(ScenePicture(hour=hour, luma=float(mean.mean()), similarity=round(least, 4), picture=data))
    return tuple(found)


def picture_of(scene: ScenePicture) -> Picture:
    """Its picture, float32 [48, 64]."""
    data = np.frombuffer(base64.b64decode(scene.picture), np.uint8)
    return data.reshape(HEIGHT, WIDTH).astype(np.float32)


class SceneWatch:
    """Compares the picture of the latest minutes with those of the calibration."""

    def __init__(self, scenes: tuple[ScenePicture, ...], rows: int = ROWS) -> None:
        self._scenes = scenes
        self._mean = PictureMean(rows)
        self._said: dict[str, datetime] = {}

    def push(self, moment: datetime, picture: Picture) -> str | None:
        """Add the picture of a row that ended at ``moment``; what is to be said about the camera, if anything."""
        mean = self._mean.push(picture)
        if mean is None or not self._scenes:
            return None
        hour = moment.astimezone().hour
        near = min(self._scenes, key=lambda scene: min((scene.hour - hour) % 24, (hour - scene.hour) % 24))
        found = compare(mean, near)
        if found is None:
            return None
        kind = found.split(":")[0]
        before = self._said.get(kind)
        if before is not None and (moment - before).total_seconds() < AGAIN_S:
            return None
        self._said[kind] = moment
        return f"{found}; calibrate again if this is to stay"


def compare(picture: Picture, scene: ScenePicture) -> str | None:
    """What distinguishes a picture from the one at calibration; ``None``: nothing that matters."""
    known = picture_of(scene)
    luma = float(picture.mean())
    if luma < DARK_SHARE * scene.luma:
        return f"dark: the picture has {luma / max(scene.luma, 1):.0%} of the brightness at calibration"
    if similarity(picture, known) >= scene.similarity - SIMILARITY_DROP:
        return None
    down, right, _ = shift_of(picture, known)
    undone = similarity(overlap(picture, down, right), overlap(known, -down, -right))
    if max(abs(down), abs(right)) >= MOVED_PIXELS and undone >= scene.similarity - SIMILARITY_DROP:
        return f"moved: the picture lies {right / WIDTH:+.0%} across and {down / HEIGHT:+.0%} down of where it lay"
    return "scene: the camera shows another scene than at calibration"


def similarity(a: NDArray[np.floating] | NDArray[np.uint8], b: NDArray[np.floating] | NDArray[np.uint8]) -> float:
    """Correlation of two pictures; 0 where one has no contrast."""
    x, y = np.asarray(a, np.float64) - np.mean(a), np.asarray(b, np.float64) - np.mean(b)
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 1e-6 else 0.0
