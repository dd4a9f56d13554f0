"""A camera's footage and an encoder that needs no weights, for tests of watching."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np

from kgvad.detector.run import Run
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.explain.analysis.events import Thresholds
from kgvad.video.windows import WindowSampling
from kgvad.video.write import write_video
from kgvad.watch.camera_settings import CameraSettings
from kgvad.watch.watcher import CameraRule, Models, Watcher

FPS = 10
BRIGHT, DARK = 200, 90  # mean grey value; events are bright


class FakeClock:
    """Time that passes while something waits for it."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def now(self):
        return datetime(2026, 1, 5, 12, tzinfo=timezone.utc) + timedelta(seconds=self.seconds)

    def wait(self, seconds, stop):
        self.seconds += max(0.0, seconds)
        return stop.is_set()


class BrightEncoder:
    """Features of the shipped run that make bright windows abnormal."""

    name, dim, weights, batch, fingerprint = "bright", 400, "none", 1, "b"
    sampling = WindowSampling()

    def __init__(self, detector):
        self.columns = detector.problem.columns
        self.direction = (detector.local_weight * 4 + detector.video_weight).detach().numpy()
        self.direction = self.direction / self.direction.std()

    def decode_size(self, width, height):
        return width, height

    def encode(self, clips):
        bright = clips.mean((1, 2, 3, 4)) > (BRIGHT + DARK) / 2
        noise = np.random.default_rng(0).normal(size=(len(clips), self.dim))
        return (noise + np.where(bright, 3.0, -3.0)[:, None] * self.direction).astype(np.float32)


@cache
def models():
    run = Run.load(UCF_ACTIONS).causal()
    return Models(run, BrightEncoder(run.detector))


def pictures(seconds, bright=(), size=(48, 32), fps=FPS):
    """A textured picture, brighter within the parts [start, end) seconds."""
    texture = np.random.default_rng(1).integers(-40, 40, (size[1], size[0], 3))
    for number in range(round(seconds * fps)):
        inside = any(start <= number / fps < end for start, end in bright)
        yield np.clip(texture + (BRIGHT if inside else DARK), 0, 255).astype(np.uint8)


def footage(path, seconds=32, bright=((12.8, 24),), **options):
    """Write a video with an event; returns its path."""
    return write_video(path, pictures(seconds, bright), FPS, **options)


def rules(cameras, shared, **more):
    from kgvad.watching import live_rule

    return [(camera, CameraRule(live_rule(shared, Thresholds()), **more)) for camera in cameras]


def watch(cameras, archive=None, *, settings=None, calibrated=None, scenes=(), **options):
    """Watch until the cameras end; the messages."""
    shared, messages = models(), []
    found = rules(cameras, shared, settings=settings or CameraSettings(), calibrated=calibrated, scenes=scenes)
    Watcher(found, shared, messages.append, archive, **options).run()
    return messages


def archive(folder):
    from kgvad.explain.rendering.render import Renderer
    from kgvad.watch.archive import Archive

    return Archive(Path(folder), Renderer("en"), {"RoadAccidents": "road accident"})


def main():
    """Watch SOURCE into FOLDER, as the command does: for tests that end the process."""
    from kgvad.video.cameras import parse_cameras
    from kgvad.watch.messages import to_line

    cameras, shared = parse_cameras([sys.argv[1]], as_live=True), models()
    watcher = Watcher(
        rules(cameras, shared), shared, lambda message: print(to_line(message), flush=True), archive(sys.argv[2])
    )
    watcher.stop_on_signals()
    watcher.run()


if __name__ == "__main__":
    main()
