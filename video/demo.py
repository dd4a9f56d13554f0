"""A short rendered scene, so that a first report needs no footage of anybody.

A fixed camera looks at a street. Walkers pass and a car drives by; at 16 seconds two cars collide
and one burns. Everything is drawn here with Pillow and labelled as rendered in the picture itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from kgvad.console import track
from kgvad.errors import UsageError
from kgvad.video.write import comment_of, write_video

WIDTH, HEIGHT = 480, 272  # pixels
FPS = 25
DURATION_S = 32.0
COLLISION_S = 16.0
FIRE_OUT_S = 27.0
_BURSTS_S = (0.0, 1.9, 4.3, 6.2)  # flashes after the collision
CRASH_X, ROAD_Y = 250.0, 214.0  # where the cars meet, pixels
CAPTION = "RENDERED SCENE - not real footage"
COMMENT = "rendered by kgvad"  # in the metadata of the video


@dataclass(frozen=True)
class Walker:
    """Somebody who walks along the pavement."""

    start_s: float
    x: float  # pixels at start_s
    y: float
    speed: float  # pixels per second, negative to the left
    colour: tuple[int, int, int]
    height: float  # pixels


_WALKERS = (
    Walker(-6.0, 20, 168, 22, (52, 66, 110), 34),
    Walker(0.0, 500, 172, -18, (122, 60, 52), 36),
    Walker(3.0, -15, 166, 26, (70, 92, 70), 33),
    Walker(7.0, 495, 170, -24, (96, 84, 48), 35),
    Walker(11.0, -15, 171, 21, (64, 60, 92), 35),
    Walker(20.0, 495, 168, -20, (80, 80, 84), 34),
    Walker(25.0, -15, 170, 24, (108, 70, 60), 35),
)


def background() -> Image.Image:
    """The empty street."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (150, 162, 172))
    draw = ImageDraw.Draw(image)
    for left, top, width, wall in (
        (0, 30, 150, (128, 112, 100)),
        (150, 10, 170, (140, 132, 120)),
        (320, 42, 160, (116, 116, 122)),
    ):
        draw.rectangle((left, top, left + width, 158), fill=wall)
        for row in range(top + 12, 120, 28):
            for column in range(left + 12, left + width - 18, 30):
                draw.rectangle((column, row, column + 15, row + 16), fill=(74, 86, 98), outline=(170, 166, 156))
        draw.rectangle((left + width // 2 - 9, 128, left + width // 2 + 9, 158), fill=(66, 54, 46))
    draw.rectangle((0, 158, WIDTH, 184), fill=(168, 164, 156))
    draw.line((0, 184, WIDTH, 184), fill=(120, 118, 112), width=3)
    draw.rectangle((0, 186, WIDTH, HEIGHT), fill=(84, 86, 90))
    for x in range(-10, WIDTH, 60):
        draw.rectangle((x, 228, x + 30, 231), fill=(206, 204, 190))
    return image.filter(ImageFilter.GaussianBlur(0.6))


def draw_walker(draw: ImageDraw.ImageDraw, walker: Walker, time_s: float) -> None:
    """Draw a walker at ``time_s``, if it has started by then."""
    elapsed = time_s - walker.start_s
    if elapsed < 0:
        return
    x, speed = walker.x + walker.speed * elapsed, abs(walker.speed)
    after = time_s - COLLISION_S - 0.4
    if after > 0 and walker.start_s < COLLISION_S:  # those who saw it run away from the crash
        away = 1 if x - walker.speed * after > CRASH_X else -1
        x = x - walker.speed * after + away * 70 * after
        speed = 70
    if not -20 < x < WIDTH + 20:
        return
    height, foot = walker.height, walker.y + 8
    hip, shoulder = foot - 0.47 * height, foot - 0.8 * height
    swing = 0.2 * height * math.sin(elapsed * speed * 0.28)
    for side in (swing, -swing):
        draw.line((x, hip, x + side, foot), fill=(38, 38, 44), width=4)
        draw.line((x, shoulder, x - 0.8 * side, hip), fill=walker.colour, width=3)
    draw.rounded_rectangle((x - 5, shoulder - 2, x + 5, hip + 2), 3, fill=walker.colour)
    draw.ellipse((x - 4, shoulder - 11, x + 4, shoulder - 2), fill=(190, 152, 128))


def draw_car(
    draw: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, int, int], facing: int, crushed: float
) -> None:
    """Draw a car whose middle is at (x, y); ``facing`` is 1 to the right and -1 to the left, ``crushed`` 0 to 1."""
    length, front = 74.0, facing * (37.0 - 12.0 * crushed)
    back = -facing * (length - 37.0)
    left, right = x + min(front, back), x + max(front, back)
    draw.ellipse((left + 2, y + 8, right - 2, y + 20), fill=(60, 62, 64))
    draw.rounded_rectangle((left, y - 10, right, y + 10), 5, fill=colour)
    draw.polygon(
        [(x - 24, y - 10), (x - 15, y - 24 + 4 * crushed), (x + 15, y - 24 + 4 * crushed), (x + 24, y - 10)],
        fill=colour,
    )
    draw.polygon([(x - 18, y - 11), (x - 12, y - 21), (x + 12, y - 21), (x + 18, y - 11)], fill=(56, 70, 84))
    for wheel in (left + 14, right - 14):
        draw.ellipse((wheel - 7, y + 3, wheel + 7, y + 17), fill=(26, 26, 28))
        draw.ellipse((wheel - 3, y + 7, wheel + 3, y + 13), fill=(120, 120, 124))


def _fire(image: Image.Image, time_s: float, rng: np.random.Generator) -> Image.Image:
    """Flames, smoke that drifts across the street, and flashes as the tanks burst."""
    since = time_s - COLLISION_S
    if since < 0 or time_s > FIRE_OUT_S + 3:
        return image
    strength = min(1.0, since / 0.8) * min(1.0, max(0.0, (FIRE_OUT_S - time_s) / 3.0))
    smoke = min(1.0, since / 1.5) * min(1.0, max(0.0, (FIRE_OUT_S + 3 - time_s) / 4.0))
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    gust = np.random.default_rng([16, int(time_s * 1.6)])  # the wind turns now and then and the smoke with it
    lean, spread, dark = gust.uniform(-1.1, 1.3), gust.uniform(0.3, 0.9), gust.uniform(10, 70)
    for _ in range(int(gust.uniform(60, 150) * smoke)):
        rise = gust.uniform(0, 200) + 12 * (time_s * 1.6 % 1)
        x = CRASH_X + gust.normal(0, 16 + spread * rise) + lean * rise
        size = 12 + 0.26 * rise
        grey = int(dark + gust.uniform(0, 30))
        draw.ellipse((x - size, 196 - rise - size, x + size, 196 - rise + size), fill=(grey, grey, grey, 190))
    for _ in range(int(110 * strength)):
        rise = abs(rng.normal(0, 44))
        x = CRASH_X + rng.normal(0, 34 - 0.2 * min(rise, 120))
        size = max(2.0, 19 - 0.15 * rise) * rng.uniform(0.6, 1.2)
        colour = ((255, 226, 120), (255, 168, 44), (238, 92, 24))[int(rng.integers(3))]
        draw.ellipse((x - size, 212 - rise - size, x + size, 212 - rise + size), fill=(*colour, 205))
    layer = layer.filter(ImageFilter.GaussianBlur(2.2))
    image = Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
    flash = sum(math.exp(-(since - burst) * 4) for burst in _BURSTS_S if since >= burst)
    glow = 0.8 * flash + 0.16 * strength * rng.uniform(0.3, 1)
    return Image.blend(image, Image.new("RGB", image.size, (255, 214, 150)), min(0.7, glow))


def with_noise(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture [H, W, 3] with the noise of a camera; its values are overwritten."""
    picture += 1.6 * rng.standard_normal((*picture.shape[:2], 1), np.float32)
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def frames() -> Iterator[NDArray[np.uint8]]:
    """The scene's frames in order, uint8 [HEIGHT, WIDTH, 3], RGB; the same on every call."""
    rng = np.random.default_rng(16)
    street = background()
    for index in range(int(DURATION_S * FPS)):
        time_s = index / FPS
        image = street.copy()
        draw = ImageDraw.Draw(image)
        for walker in _WALKERS:
            draw_walker(draw, walker, time_s)
        draw_car(draw, -60 + 90 * (time_s - 4.0), 246, (150, 152, 156), 1, 0)  # an ordinary car, gone by 11 s
        crushed = min(1.0, max(0.0, (time_s - COLLISION_S) * 4))
        travel = min(time_s, COLLISION_S) - COLLISION_S
        if time_s > COLLISION_S - 3:
            draw_car(draw, CRASH_X - 30 + 120 * travel, ROAD_Y, (164, 44, 40), 1, crushed)
            draw_car(draw, CRASH_X + 32 - 130 * travel, ROAD_Y + 4 + 3 * crushed, (44, 72, 130), -1, crushed)
        image = _fire(image, time_s, rng)
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 0, WIDTH, 15), fill=(0, 0, 0))
        draw.text((6, 2), f"{CAPTION}   {int(time_s) // 60:02d}:{int(time_s) % 60:02d}", fill=(230, 230, 230))
        yield with_noise(np.array(image, np.float32), rng)


def render(path: str | Path) -> Path:
    """Write the scene as an H.264 video of 32 seconds and return its path.

    Raises
    ------
    KgvadError
        The file cannot be written, or is one that was not rendered here.
    """
    refuse_footage([Path(path)])
    return write_rendered(path, track(frames(), "rendering the example scene", int(DURATION_S * FPS)), FPS)


def write_rendered(path: str | Path, pictures: Iterable[NDArray[np.uint8]], fps: float) -> Path:
    """Write a video that :func:`refuse_footage` knows as rendered here."""
    return write_video(path, pictures, fps, comment=COMMENT)


def refuse_footage(paths: Iterable[Path]) -> None:
    """Check that what would be replaced was rendered here.

    Raises
    ------
    UsageError
        A file of that name is something else.
    """
    for path in paths:
        if path.is_file() and comment_of(path) != COMMENT:
            raise UsageError(f"{path} already exists and was not rendered by kgvad demo", "choose another name")
