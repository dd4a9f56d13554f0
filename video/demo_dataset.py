"""A small labelled dataset, drawn here: three categories and Normal, in ``train`` and ``test`` folders.

It lets anyone follow the whole path (anchors, training, evaluation, explanation) without footage of anybody. Clips are
short and simple; what a detector reaches on them says nothing about real video.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from kgvad.console import track
from kgvad.errors import UsageError
from kgvad.files import write_text
from kgvad.video.demo import (
    ROAD_Y,
    WIDTH,
    Walker,
    background,
    draw_car,
    draw_walker,
    refuse_footage,
    with_noise,
    write_rendered,
)

FPS = 12
DURATION_S = 6.0
SIZE = (320, 182)  # pixels, width and height
CATEGORIES = ("Explosion", "Fighting", "RoadAccidents")
TRAIN_CLIPS, TEST_CLIPS = 3, 2  # of each category; Normal has as many as the three together
ANNOTATIONS = "annotations.csv"
_COLOURS = ((52, 66, 110), (122, 60, 52), (70, 92, 70), (96, 84, 48), (64, 60, 92), (108, 70, 60))


@dataclass(frozen=True)
class _Clip:
    split: str
    category: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.category}{self.number:03d}"

    @property
    def path(self) -> Path:
        return Path(self.split, self.category, f"{self.name}.mp4")


def clips() -> list[_Clip]:
    """Every clip of the dataset, in the order in which they are rendered."""
    found = []
    for split, count in (("train", TRAIN_CLIPS), ("test", TEST_CLIPS)):
        first = 1 if split == "train" else TRAIN_CLIPS + 1
        found += [_Clip(split, kind, first + number) for kind in CATEGORIES for number in range(count)]
        first = 1 if split == "train" else 3 * TRAIN_CLIPS + 1
        found += [_Clip(split, "Normal", first + number) for number in range(3 * count)]
    return found


def render_dataset(folder: str | Path) -> Path:
    """Render the dataset into ``folder`` and return it.

    Writes ``train/CATEGORY/*.mp4``, ``test/CATEGORY/*.mp4`` and ``annotations.csv`` (video, category, start and end of
    the event in seconds, for the abnormal test clips). What was rendered before is replaced.

    Raises
    ------
    KgvadError
        A file cannot be written, or one of that name was not rendered here.
    """
    root = Path(folder)
    refuse_footage(root / clip.path for clip in clips())
    if (table := root / ANNOTATIONS).exists() and not (root / clips()[0].path).exists():  # it is written last
        raise UsageError(f"{table} already exists and is not of a rendered dataset", "choose another folder")
    rows = []
    for clip in track(clips(), "rendering the example dataset"):
        scene = _Scene(clip)
        write_rendered(root / clip.path, scene.frames(), FPS)
        if clip.split == "test" and clip.category != "Normal":
            rows.append((clip.name, clip.category, f"{scene.start_s:.2f}", f"{scene.end_s:.2f}"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "category", "start_s", "end_s"))
    writer.writerows(rows)
    write_text(table, text.getvalue())
    return root


class _Scene:
    """One clip: people walk by, a car may pass, and an event happens where the category has one."""

    def __init__(self, clip: _Clip) -> None:
        self.category = clip.category
        seed = [len(clip.category), sum(clip.name.encode()), clip.split == "test"]
        self.rng = np.random.default_rng(seed)
        self.start_s = float(self.rng.uniform(1.5, 2.5))
        self.end_s = self.start_s + float(self.rng.uniform(1.5, 2.5))
        self.x = float(self.rng.uniform(0.3, 0.7) * WIDTH)
        self.walkers = [self._walker() for _ in range(int(self.rng.integers(2, 6)))]
        self.car_s = float(self.rng.uniform(-2, 6))  # when an ordinary car enters
        self.brightness = float(self.rng.uniform(0.75, 1.1))

    def _walker(self) -> Walker:
        left = bool(self.rng.integers(2))
        return Walker(
            start_s=float(self.rng.uniform(-12, 4)),
            x=-15.0 if left else WIDTH + 15.0,
            y=float(self.rng.uniform(163, 174)),
            speed=float(self.rng.uniform(16, 34)) * (1 if left else -1),
            colour=_COLOURS[int(self.rng.integers(len(_COLOURS)))],
            height=float(self.rng.uniform(32, 38)),
        )

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Frames, uint8 [182, 320, 3]."""
        street = background()
        for index in range(int(DURATION_S * FPS)):
            time_s = index / FPS
            image = street.copy()
            draw = ImageDraw.Draw(image)
            for person in self.walkers:
                draw_walker(draw, person, time_s)
            draw_car(draw, -60 + 110 * (time_s - self.car_s), 246, (150, 152, 156), 1, 0)
            image = self._event(image, time_s)
            shade = self.brightness + self.rng.normal(0, 0.004)
            small = np.array(image.resize(SIZE, Image.Resampling.BILINEAR), np.float32)
            yield with_noise(small * np.float32(shade), self.rng)

    def _event(self, image: Image.Image, time_s: float) -> Image.Image:
        since = time_s - self.start_s
        draw = ImageDraw.Draw(image)
        if self.category == "RoadAccidents":
            self._collision(draw, time_s)
        elif self.category == "Fighting" and 0 <= since <= self.end_s - self.start_s:
            self._fight(draw, since)
        elif self.category == "Explosion" and 0 <= since <= self.end_s - self.start_s:
            return self._explosion(image, since)
        return image

    def _collision(self, draw: ImageDraw.ImageDraw, time_s: float) -> None:
        since = time_s - self.start_s
        if time_s > self.end_s + 1:
            return
        crushed = min(1.0, max(0.0, since * 4))
        travel = min(since, 0.0)
        if since > -2.5:
            shake = 5 * math.exp(-3 * since) * self.rng.normal() if since > 0 else 0.0
            draw_car(draw, self.x - 30 + 130 * travel + shake, ROAD_Y, (164, 44, 40), 1, crushed)
            draw_car(draw, self.x + 32 - 140 * travel - shake, ROAD_Y + 4 + 3 * crushed, (44, 72, 130), -1, crushed)
        if 0 <= since < 1.5:
            for _ in range(25):  # debris
                angle, reach = self.rng.uniform(-math.pi, 0), self.rng.uniform(0, 90) * since
                x, y = self.x + reach * math.cos(angle), ROAD_Y - 8 + reach * math.sin(angle)
                draw.rectangle((x, y, x + 3, y + 3), fill=(60, 60, 64))

    def _fight(self, draw: ImageDraw.ImageDraw, since: float) -> None:
        for side in (-1, 1):
            lunge = 9 * math.sin(11 * since + side) + 3 * self.rng.normal()
            person = Walker(0.0, self.x + side * (13 + lunge), 170.0, 0.0, _COLOURS[side], 36.0)
            draw_walker(draw, person, since)
            shoulder = person.y + 8 - 0.75 * person.height
            reach = 16 + 7 * math.sin(17 * since + 2 * side)
            draw.line(
                (person.x, shoulder, person.x - side * reach, shoulder + 4 * self.rng.normal()), (190, 152, 128), 3
            )

    def _explosion(self, image: Image.Image, since: float) -> Image.Image:
        fading = max(0.0, 1 - since / (self.end_s - self.start_s))
        layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
        draw = ImageDraw.Draw(layer)
        radius = 20 + 90 * (1 - math.exp(-5 * since))
        for _ in range(int(120 * fading)):
            angle, reach = self.rng.uniform(0, 2 * math.pi), radius * math.sqrt(self.rng.uniform())
            x, y = self.x + reach * math.cos(angle), 190 + 0.8 * reach * math.sin(angle) - 25 * since
            size = self.rng.uniform(5, 20)
            colour = ((255, 226, 120), (255, 168, 44), (238, 92, 24), (70, 66, 62))[int(self.rng.integers(4))]
            draw.ellipse((x - size, y - size, x + size, y + size), fill=(*colour, 210))
        image = Image.alpha_composite(image.convert("RGBA"), layer.filter(ImageFilter.GaussianBlur(2))).convert("RGB")
        flash = 0.85 * math.exp(-3 * since) + 0.15 * fading * self.rng.uniform()
        return Image.blend(image, Image.new("RGB", image.size, (255, 214, 150)), min(0.8, flash))
