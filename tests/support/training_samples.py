"""A few training videos, and a run's settings, for tests of the training loop."""

import numpy as np
import torch

from kgvad.detector.api import Recipe
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.run import RunConfig
from kgvad.detector.training.callbacks import Callback
from kgvad.detector.training.trainer import Trainer

EPOCHS = 4


def samples(dim=6, kinds=3, each=8):
    random = np.random.default_rng(0)
    found = []
    for kind in range(kinds):
        for number in range(each):
            x = random.normal(size=(int(random.integers(3, 20)), dim)).astype(np.float32)
            x[: len(x) // 2, kind] += 2.0 * (kind > 0)
            found.append(TrainingSample(f"{kind}-{number}", np.eye(kinds, dtype=np.float32)[kind], x))
    return found


def config(**changes):
    fields = {
        "detector": "anchor-aligned",
        "options": {"width": 8, "anchors": False, "layers": 1},
        "recipe": Recipe(epochs=EPOCHS, normal_batch=4, abnormal_batch=4),
        "seed": 1,
        "dataset": "toy",
        "categories": ("Normal", "A", "B"),
        "normal": 0,
        "dim": 6,
        "encoder": "toy",
        "features_fingerprint": "f",
        "videos": 24,
        "abnormal_videos": 16,
    }
    return RunConfig(**(fields | changes))


def same(one, other):
    a, b = one.detector.state_dict(), other.detector.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train(videos, run_config, folder, **more):
    """Train to the end."""
    return Trainer(videos, run_config, folder, **more).fit()


class StopAfter(Callback):
    """Interrupts training after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, state):
        if len(state.history) == self.epoch:
            raise KeyboardInterrupt
