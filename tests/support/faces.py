"""Footage of a drawn face, which CenterFace finds as it finds those of people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (320, 240)
PLACE = (145, 93, 175, 129)  # left, top, right, bottom of the face in a picture without shift
FPS = 10


def picture(shift: int = 0, *, face: bool = True) -> np.ndarray:
    """An RGB picture with a face, that many pixels to the right of the middle."""
    image = Image.new("RGB", SIZE, (90, 110, 120))
    if face:
        _draw(ImageDraw.Draw(image), SIZE[0] / 2 + shift, 110, 0.4)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.5)))


def pictures(seconds: float) -> Iterator[np.ndarray]:
    """Pictures at :data:`FPS` in which the face moves to the right."""
    for number in range(round(seconds * FPS)):
        yield picture(number)


def sharpness(picture: np.ndarray) -> float:
    """How much there is to see of the face, whose shift is not known: mean second difference at its height."""
    band = picture[PLACE[1] : PLACE[3]].astype(float)
    return float(np.abs(np.diff(band, 2, axis=0)).mean() + np.abs(np.diff(band, 2, axis=1)).mean())


def _draw(draw: ImageDraw.ImageDraw, x: float, y: float, scale: float) -> None:
    def oval(dx: float, dy: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        left, top = x + (dx - width) * scale, y + (dy - height) * scale
        draw.ellipse([left, top, left + 2 * width * scale, top + 2 * height * scale], fill=colour)

    oval(0, -8, 44, 56, (50, 35, 25))  # hair
    oval(0, 100, 80, 45, (40, 60, 120))  # shoulders
    oval(0, 0, 36, 48, (220, 175, 150))
    for side in (-14, 14):
        oval(side, -8, 8, 4.5, (245, 245, 245))
        oval(side, -8, 4, 4, (40, 30, 25))
        oval(side, -19, 9, 2, (60, 40, 30))
    oval(0, 13, 6, 3, (160, 110, 95))
    oval(0, 28, 13, 5, (150, 60, 60))
