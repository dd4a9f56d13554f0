"""The onset threshold of a run, measured on training videos that were held out, fold by fold."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.run import THRESHOLDS, Run, RunThresholds
from kgvad.detector.scoring.infer import infer
from kgvad.files import write_text

logger = logging.getLogger(__name__)

FALSE_ALARM_RATE = 0.05  # share of normal videos that may have an event
SMALL_SET = (
    300  # videos; larger sets are cross-validated only on request, because it takes as long as `folds` trainings
)
FOLDS = 4

TrainFold = Callable[[Sequence[TrainingSample], Path], Run]


def measure_thresholds(
    samples: Sequence[TrainingSample],
    normal: int,
    train: TrainFold,
    *,
    folds: int = FOLDS,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    seed: int = 0,
) -> RunThresholds | None:
    """Train on all folds but one, score the one that is left out, and choose the threshold on all held-out videos.

    Parameters
    ----------
    samples
        Training videos; crops of a video stay in one fold.
    normal
        Index of Normal.
    train
        Trains on some of the samples into a folder.
    folds
        Number of folds; fewer where a kind of video is rarer.
    false_alarm_rate
        Share of held-out normal videos whose highest score may reach the threshold.
    seed
        Of the assignment of videos to folds.

    Returns
    -------
    RunThresholds or None
        ``None`` where there are fewer than two normal or two abnormal videos.
    """
    fold_of = assign_folds(samples, normal, folds, seed)
    if fold_of is None:
        return None
    highest: dict[bool, dict[str, float]] = {True: {}, False: {}}
    with tempfile.TemporaryDirectory(prefix="kgvad-folds-") as folder:
        for fold in sorted(set(fold_of.values())):
            logger.info("held-out fold %d of %d, for the onset threshold", fold + 1, len(set(fold_of.values())))
            run = train([sample for sample in samples if fold_of[sample.video] != fold], Path(folder, str(fold)))
            for sample in samples:
                if fold_of[sample.video] == fold:
                    found = float(infer(run.detector, sample.features, sample.captions)["scores"].max())
                    group = highest[bool(sample.target[normal])]
                    group[sample.video] = max(group.get(sample.video, 0.0), found)
    return choose_threshold(
        np.array(list(highest[True].values())), np.array(list(highest[False].values())), false_alarm_rate
    )


def choose_threshold(
    normal: NDArray[np.floating], abnormal: NDArray[np.floating], false_alarm_rate: float
) -> RunThresholds:
    """The lowest threshold that at most this share of the normal videos reaches.

    Parameters
    ----------
    normal, abnormal
        Highest score of each held-out video.
    """
    ordered = np.sort(normal)[::-1]
    allowed = int(false_alarm_rate * len(ordered))  # normal videos that may reach the threshold
    first_refused = float(ordered[allowed]) if allowed < len(ordered) else 0.0
    onset = float(np.clip(np.nextafter(np.float32(first_refused), np.float32(1)), 0.01, 1.0))
    return RunThresholds(
        onset=round(onset, 6) if round(onset, 6) > first_refused else onset,
        false_alarm_rate=float((normal >= onset).mean()),
        miss_rate=float((abnormal < onset).mean()),
        normal_videos=len(normal),
        abnormal_videos=len(abnormal),
    )


def assign_folds(samples: Sequence[TrainingSample], normal: int, folds: int, seed: int) -> dict[str, int] | None:
    """Fold of each video, normal and abnormal videos spread evenly; ``None`` where there are too few."""
    random = np.random.default_rng([seed, 1])
    groups = []
    for is_normal in (True, False):
        groups.append(sorted({sample.video for sample in samples if bool(sample.target[normal]) is is_normal}))
    folds = min(folds, *(len(videos) for videos in groups))
    if folds < 2:
        return None
    fold_of: dict[str, int] = {}
    for videos in groups:
        for index, video in enumerate(random.permutation(videos).tolist()):
            fold_of[video] = index % folds
    return fold_of


def save_thresholds(run: Run, thresholds: RunThresholds) -> None:
    """Write ``thresholds.json`` into the folder of the run and log what it says."""
    write_text(run.folder / THRESHOLDS, thresholds.model_dump_json(indent=1) + "\n")
    logger.info(
        "onset threshold %.3f: %.0f %% of %d held-out normal videos reach it, %.0f %% of %d abnormal ones do not",
        thresholds.onset,
        100 * thresholds.false_alarm_rate,
        thresholds.normal_videos,
        100 * thresholds.miss_rate,
        thresholds.abnormal_videos,
    )
