"""Early stopping on videos kept back from the training list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kgvad.detector.api import Detector
from kgvad.detector.data.samples import Sample
from kgvad.detector.evaluation.evaluated_video import top_tenth
from kgvad.detector.evaluation.frame_metrics import roc_auc
from kgvad.detector.scoring.infer import infer
from kgvad.errors import FeatureError


def split_videos(samples: Sequence[Sample], normal: int, share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and samples to validate on, by video: crops of a video stay together.

    The share is taken of the normal and of the abnormal videos, at least one of each; the choice depends on the
    names of the videos and the seed alone.

    Raises
    ------
    FeatureError
        A kind of videos would have none left to train on.
    """
    random = np.random.default_rng([seed, 0])  # a sampler's streams have three numbers: none is the same
    held: set[str] = set()
    for quiet in (True, False):
        videos = sorted({sample.video for sample in samples if bool(sample.target[normal]) is quiet})
        count = max(1, round(share * len(videos)))
        if count >= len(videos):
            raise FeatureError(
                f"{len(videos)} {'normal' if quiet else 'abnormal'} training videos are too few to validate on some",
                "train without --validate",
            )
        held.update(random.permutation(videos)[:count].tolist())
    return [s for s in samples if s.video not in held], [s for s in samples if s.video in held]


class Validation:
    """Video-level AUC after every epoch; the parameters of the first best epoch are kept.

    Attributes
    ----------
    epoch
        The best so far; 0 before the first.
    auc
        Its AUC.
    state
        Its parameters.
    """

    def __init__(self, samples: Sequence[Sample], normal: int, patience: int) -> None:
        self._samples, self._normal, self._patience = samples, normal, patience
        self.epoch, self.auc = 0, 0.0
        self.state: dict[str, Tensor] = {}

    def update(self, detector: Detector, epoch: int) -> dict[str, float]:
        """Measure the detector after ``epoch``; what the history says of it."""
        auc = self.measure(detector)
        if self.epoch == 0 or auc > self.auc:
            self.epoch, self.auc = epoch, auc
            self.state = {
                name: value.detach().to("cpu", copy=True).contiguous() for name, value in detector.state_dict().items()
            }
        return {"validation_auc": auc, "best_epoch": self.epoch}

    def measure(self, detector: Detector) -> float:
        """Area under the ROC curve of the videos' scores, the means of their largest tenth of rows."""
        detector.eval()
        scores: dict[str, list[NDArray[np.float32]]] = {}
        abnormal: dict[str, float] = {}
        for sample in self._samples:
            scores.setdefault(sample.video, []).append(infer(detector, sample.features, sample.text)["scores"])
            abnormal[sample.video] = float(not sample.target[self._normal])
        values = np.array([top_tenth(np.mean(crops, axis=0)) for crops in scores.values()])
        positive = np.array(list(abnormal.values()))
        return roc_auc(values, positive, 1 - positive)

    def over(self, epoch: int) -> bool:
        """Whether ``patience`` epochs brought nothing better."""
        return self.epoch > 0 and epoch - self.epoch >= self._patience

    def restore(self, history: Sequence[Mapping[str, float]], state: dict[str, Tensor]) -> None:
        """Go on after the last epoch of ``history``, with the kept parameters."""
        self.epoch = int(history[-1]["best_epoch"])
        self.auc = history[self.epoch - 1]["validation_auc"]
        self.state = state
