"""Frames without a scene are told from footage, in the one pass that decodes the video."""

import numpy as np
import pytest
from av import VideoFrame
from brightness import Brightness
from PIL import Image, ImageDraw

from kgvad.video.decode import VideoReader
from kgvad.video.extract import extract_video
from kgvad.video.frame_quality import FrameMeter
from kgvad.video.write import write_video

FPS = 25
SIZE = (160, 120)


def scene(seed, offset=0):
    """A textured picture, part of a larger one that begins ``offset`` pixels to the right."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (12, 60), np.uint8)).resize((800, SIZE[1]), Image.Resampling.BICUBIC)
    fine = rng.normal(0, 8, (SIZE[1], 800))
    grey = np.clip(np.asarray(coarse, float) + fine, 0, 255).astype(np.uint8)[:, offset : offset + SIZE[0]]
    return np.repeat(grey[..., None], 3, axis=2)


def walker(seed, count, light=0.0):
    """Footage of a fixed camera: a dark figure crosses a scene; ``light`` is added at the end."""
    frames = []
    for i in range(count):
        frame = scene(seed).astype(float) + light * i / max(1, count - 1)
        frame[40:90, 10 + i : 26 + i] = 30
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


def card(level):
    image = Image.new("L", SIZE, level)
    ImageDraw.Draw(image).text((40, 50), "PRESENTED BY", fill=255 - level)
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)


def kinds(tmp_path, frames):
    meter = FrameMeter()
    reader = VideoReader(write_video(tmp_path / "v.mp4", frames, FPS), observe=meter)
    for _ in reader.frames():
        pass
    return meter.facts()


BLACK = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
WHITE = np.full_like(BLACK, 255)


def test_footage_is_ok(tmp_path):
    assert set(kinds(tmp_path, walker(1, 60)).kinds) == {"ok"}


@pytest.mark.parametrize(
    ("picture", "kind"), [(BLACK, "black"), (card(10), "flat"), (card(240), "flat"), (WHITE, "flat")]
)
def test_black_frames_and_cards(tmp_path, picture, kind):
    found = kinds(tmp_path, [*walker(1, 30), *[picture] * 30, *walker(1, 30)]).kinds
    assert set(found[:29]) == {"ok"}
    assert set(found[31:59]) == {kind}
    assert set(found[62:]) == {"ok"}


def test_a_cut_is_the_first_frame_of_the_new_shot(tmp_path):
    found = kinds(tmp_path, [*walker(1, 40), *walker(2, 40), *walker(1, 40)])
    assert found.cuts() == [40, 80]
    assert set(np.delete(found.kinds, [40, 80])) == {"ok"}


def test_a_flash_is_no_cut_and_no_card(tmp_path):
    fire = [np.random.default_rng(i).integers(60, 256, BLACK.shape, np.uint8) for i in range(12)]
    found = kinds(tmp_path, [*walker(1, 40), *[WHITE] * 4, *fire, *walker(1, 40)]).kinds
    assert set(found[:56]) == {"ok"}


def test_lights_that_go_on_are_no_cut(tmp_path):
    dark, bright = walker(1, 30), [np.clip(frame.astype(int) + 60, 0, 255).astype(np.uint8) for frame in walker(1, 30)]
    assert set(kinds(tmp_path, [*dark, *bright]).kinds) == {"ok"}


def test_a_fade_from_black(tmp_path):
    still = scene(1)
    rising = [(still * (i / 25)).astype(np.uint8) for i in range(1, 26)]
    found = kinds(tmp_path, [*[BLACK] * 20, *rising, *walker(1, 40)]).kinds
    assert set(found[:18]) == {"black"}
    assert (found[22:43] == "fade").mean() > 0.8
    assert set(found[50:]) == {"ok"}


def test_a_fast_pan_and_a_slow_one(tmp_path):
    fast = [scene(1, 4 * i) for i in range(40)]
    slow = [scene(1, i // 4) for i in range(40)]
    assert (kinds(tmp_path, fast).kinds == "camera").mean() > 0.7
    assert "camera" not in kinds(tmp_path, slow).kinds


def test_rows_say_what_most_of_their_frames_are(tmp_path):
    made = extract_video(write_video(tmp_path / "v.mp4", [*[BLACK] * 32, *walker(1, 48)], FPS), _Any())
    assert made.entry.quality == ["black", "black", "cut", "ok", "ok"]
    rows = made.frames.rows(made.entry.spans())
    np.testing.assert_allclose(rows.luma[:2], 0, atol=2)
    assert rows.contrast[3] > 20
    assert rows.change[2] > rows.change[3]


class _Any(Brightness):
    """Brightness of frames of any size."""

    def decode_size(self, width, height):
        return width, height

    def encode(self, clips):
        return clips.mean((1, 2, 3, 4), dtype=np.float32)[:, None]


REAL = {  # labelled by eye: stretches of cards and black frames, and cuts
    "ucf-originals/Normal_Videos009_x264.mp4": ([(0, 236)], [240]),
    "ucf-originals/Fighting023_x264.mp4": ([(0, 194), (878, 1025)], [194]),
    "ucf-clips/Explosion021_x264.mp4": ([(0, 54), (730, 782)], [54, 419]),
    "ucf-clips/RoadAccidents133_x264.mp4": ([], [148, 550]),
    "ucf-clips/Arson016_x264.mp4": ([], []),
    "ucf-originals/RoadAccidents399_x264.mp4": ([], []),
    "actions/carving_ice.mp4": ([(0, 1)], [1, 21, 55, 97, 115]),
}


@pytest.mark.parametrize("name", REAL)
def test_real_footage(shared, name):
    stretches, cuts = REAL[name]
    meter = FrameMeter()
    for _ in VideoReader(shared / "videos" / name, observe=meter).frames(10**9):
        pass
    found = meter.facts()
    blank = np.isin(found.kinds, ("black", "flat", "fade"))
    expected = np.zeros(len(blank), bool)
    for start, end in stretches:
        expected[start:end] = True
    assert (blank == expected).mean() > 0.99
    assert found.cuts() == cuts


def test_large_frames_are_measured_like_their_smaller_copies():
    """Not all of their pixels are averaged."""
    pictures = [*walker(1, 6), *[card(0)] * 6, *[card(200)] * 6, *walker(2, 6)]
    found = []
    for size in (SIZE, (1280, 960)):
        meter = FrameMeter()
        for i, picture in enumerate(pictures):
            scaled = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
            meter(VideoFrame.from_ndarray(scaled, "rgb24"), i / FPS)
        found.append(meter.facts())
    small, large = found
    assert list(large.kinds) == list(small.kinds) and {"ok", "cut", "flat"} <= set(large.kinds)
    np.testing.assert_allclose(large.luma, small.luma, atol=1)
    np.testing.assert_allclose(large.change, small.change, atol=1.5)
