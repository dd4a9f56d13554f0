"""Early stopping on held-out training videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.api import Detector
from kgvad.detector.data.duplicates import duplicate_groups
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.evaluation.evaluated_video import top_tenth
from kgvad.detector.evaluation.frame_metrics import roc_auc
from kgvad.detector.scoring.infer import infer
from kgvad.detector.training.callbacks import Callback, TrainingState
from kgvad.errors import FeatureError


def split_videos(
    samples: Sequence[TrainingSample], normal: int, share: float, seed: int
) -> tuple[list[TrainingSample], list[TrainingSample]]:
    """Training and held-out samples, split by video: crops and copies (identical features) of a video stay together.

    The share is taken of the normal and of the abnormal videos, at least one of each, and copies of what is held out
    come on top; the split depends only on the videos and the seed.

    Raises
    ------
    FeatureError
        No normal or no abnormal video would be left for training.
    """
    random = np.random.default_rng([seed, 0])  # the sampler seeds with three numbers, so no stream is shared
    normal_videos, abnormal_videos = (
        sorted({sample.video for sample in samples if bool(sample.target[normal]) is is_normal})
        for is_normal in (True, False)
    )
    held_out: set[str] = set()
    for videos in (normal_videos, abnormal_videos):
        held_out.update(random.permutation(videos)[: max(1, round(share * len(videos)))].tolist())
    for group in duplicate_groups((sample.video, sample.features) for sample in samples):
        if held_out.intersection(group):
            held_out.update(group)
    for kind, videos in (("normal", normal_videos), ("abnormal", abnormal_videos)):
        if held_out.issuperset(videos):
            raise FeatureError(
                f"{len(videos)} {kind} training videos are too few to hold some out",
                "train without --validation-share",
            )
    return [s for s in samples if s.video not in held_out], [s for s in samples if s.video in held_out]


class EarlyStopping(Callback):
    """Measures video-level AUC after every epoch and keeps the parameters of the first best epoch.

    Adds ``validation_auc`` and ``best_epoch`` to the record of the epoch.

    Attributes
    ----------
    best_epoch
        0 before the first epoch.
    best_auc
        Its AUC.

    Parameters
    ----------
    samples
        Held-out videos.
    normal
        Index of Normal.
    patience
        Epochs without improvement before training stops.
    """

    def __init__(self, samples: Sequence[TrainingSample], normal: int, patience: int) -> None:
        self._samples, self._normal, self._patience = samples, normal, patience
        self.best_epoch, self.best_auc = 0, 0.0

    def on_start(self, state: TrainingState) -> None:
        if state.history:
            self.best_epoch = int(state.history[-1]["best_epoch"])
            self.best_auc = state.history[self.best_epoch - 1]["validation_auc"]
            state.stop = self._is_over(state)

    def on_epoch_end(self, state: TrainingState) -> None:
        auc = self.measure(state.detector)
        if self.best_epoch == 0 or auc > self.best_auc:
            self.best_epoch, self.best_auc = len(state.history), auc
            state.best = {
                name: value.detach().to("cpu", copy=True).contiguous()
                for name, value in state.detector.state_dict().items()
            }
        state.history[-1] |= {"validation_auc": auc, "best_epoch": self.best_epoch}
        state.stop = self._is_over(state)

    def on_end(self, state: TrainingState) -> None:
        state.detector.load_state_dict(state.best)

    def measure(self, detector: Detector) -> float:
        """Area under the ROC curve of the video scores, which are the means of the highest tenth of snippet scores."""
        detector.eval()
        scores: dict[str, list[NDArray[np.float32]]] = {}
        abnormal: dict[str, float] = {}
        for sample in self._samples:
            scores.setdefault(sample.video, []).append(infer(detector, sample.features, sample.captions)["scores"])
            abnormal[sample.video] = float(not sample.target[self._normal])
        values = np.array([top_tenth(np.mean(crops, axis=0)) for crops in scores.values()])
        positive = np.array(list(abnormal.values()))
        return roc_auc(values, positive, 1 - positive)

    def _is_over(self, state: TrainingState) -> bool:
        return len(state.history) - self.best_epoch >= self._patience
