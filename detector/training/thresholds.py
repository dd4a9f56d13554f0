"""Thresholds of a run for events and categories, measured on training videos that were held out, fold by fold."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from kgvad.detector.api import Detector
from kgvad.detector.data.duplicates import duplicate_groups
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.run import CAUSAL_THRESHOLDS, THRESHOLDS, Run
from kgvad.detector.scoring.infer import infer
from kgvad.detector.thresholds import RunThresholds
from kgvad.files import write_text

logger = logging.getLogger(__name__)

FALSE_ALARM_RATE = 0.05  # share of normal videos that may have an event
SMALL_SET = 300  # videos; larger sets are cross-validated only on request: it takes as long as `folds` trainings
FOLDS = 4
NAMED_CORRECT = 0.5  # share of the named categories that must be correct
MARGINS = np.round(np.arange(0, 1.001, 0.05), 2)  # candidates for the lead at which a category is named
FEWEST_NAMED = 10  # held-out videos on which the share of correct names is measured

TrainFold = Callable[[Sequence[TrainingSample], Path], Run]


@dataclass(frozen=True, eq=False)
class HeldOutVideo:
    """What a run that was not trained on a video says about it.

    Attributes
    ----------
    target
        float32 [C], 1 for the labels of the video.
    highest
        Highest anomaly score.
    category_logits
        Alignment [C], averaged over the snippets with the scores as weights; ``None`` where the run names none.
    causal
        The same by the causal form of the detector; ``None`` where it has none.
    """

    target: NDArray[np.float32]
    highest: float
    category_logits: NDArray[np.float64] | None
    causal: HeldOutVideo | None = None


def measure_thresholds(held_out: Sequence[HeldOutVideo], normal: int) -> RunThresholds:
    """Choose the thresholds of a run.

    Parameters
    ----------
    held_out
        Videos that were scored by runs that were not trained on them.
    normal
        Index of Normal.
    """
    is_normal = np.array([bool(video.target[normal]) for video in held_out])
    highest = np.array([video.highest for video in held_out])
    found = choose_threshold(highest[is_normal], highest[~is_normal], FALSE_ALARM_RATE)
    abnormal = [video for video in held_out if not video.target[normal]]
    logits = [video.category_logits for video in abnormal if video.category_logits is not None]
    if len(logits) < len(abnormal):
        return found
    targets = np.stack([video.target for video in abnormal])
    return choose_category_margin(found, np.delete(np.stack(logits), normal, 1), np.delete(targets, normal, 1) > 0)


def held_out_videos(
    samples: Sequence[TrainingSample], fold_of: Mapping[str, int], train: TrainFold
) -> Iterator[tuple[str, HeldOutVideo]]:
    """Train once for each fold, and yield name and result of every video of the fold; of crops, the highest score.

    Parameters
    ----------
    samples
        Training videos.
    fold_of
        Fold of each video (:func:`assign_folds`).
    train
        Trains on some of the samples into a folder.
    """
    numbers = sorted(set(fold_of.values()))
    with tempfile.TemporaryDirectory(prefix="kgvad-folds-") as folder:
        for fold in numbers:
            logger.info("held-out fold %d of %d, for thresholds and held-out figures", fold + 1, len(numbers))
            run = train([sample for sample in samples if fold_of[sample.video] != fold], Path(folder, str(fold)))
            found: dict[str, HeldOutVideo] = {}
            for sample in samples:
                if fold_of[sample.video] == fold:
                    video = hold_out(run, sample)
                    known = found.get(sample.video)
                    if known is None or video.highest > known.highest:
                        found[sample.video] = video
            yield from found.items()


def hold_out(run: Run, sample: TrainingSample) -> HeldOutVideo:
    """What ``run`` says about a video that it was not trained on."""
    form = run.detector.causal_form()
    causal = None if form is None else _held_out(form.eval(), sample)
    return replace(_held_out(run.detector, sample), causal=causal)


def _held_out(detector: Detector, sample: TrainingSample) -> HeldOutVideo:
    result = infer(detector, sample.features, sample.captions)
    scores, alignment = result["scores"], result.get("alignment")
    logits = None
    if alignment is not None:
        logits = np.average(alignment.astype(np.float64), axis=0, weights=scores.astype(np.float64) + 1e-6)
    return HeldOutVideo(sample.target, float(scores.max()), logits)


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


def choose_category_margin(
    thresholds: RunThresholds, logits: NDArray[np.float64], targets: NDArray[np.bool_]
) -> RunThresholds:
    """``thresholds`` with the temperature of the categories, and the lead at which a category is named.

    The temperature minimises the cross-entropy (Guo et al. 2017, On Calibration of Modern Neural Networks). The lead is
    the smallest at which at least :data:`NAMED_CORRECT` of the named categories are correct. Nothing is added where
    there is one category only, or too few videos.

    Parameters
    ----------
    logits
        float64 [N, K] of held-out abnormal videos over the K categories without Normal.
    targets
        bool [N, K].
    """
    if logits.shape[1] < 2 or len(logits) < FEWEST_NAMED:
        return thresholds
    share = targets / np.maximum(targets.sum(1, keepdims=True), 1)

    def cross_entropy(log_temperature: float) -> float:
        return -float((share * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(1).mean())

    temperature = float(np.exp(minimize_scalar(cross_entropy, bounds=(-3, 3), method="bounded").x))
    probability = softmax(logits / temperature, axis=1)
    ordered = np.sort(probability, axis=1)
    lead = ordered[:, -1] - ordered[:, -2]
    correct = targets[np.arange(len(logits)), probability.argmax(1)]
    margin, named = 1.0, np.zeros(len(lead), bool)  # where no lead makes names reliable, none is given
    for candidate in MARGINS:
        reached = lead >= candidate
        if reached.sum() < FEWEST_NAMED:
            break
        if correct[reached].mean() >= NAMED_CORRECT:
            margin, named = float(candidate), reached
            break
    update = {
        "temperature": round(temperature, 4),
        "category_margin": margin,
        "named_rate": round(float(named.mean()), 4),
        "named_correct": round(float(correct[named].mean()), 4) if named.any() else None,
    }
    return thresholds.model_copy(update=update)


def assign_folds(samples: Sequence[TrainingSample], normal: int, folds: int, seed: int) -> dict[str, int] | None:
    """Fold of each video, normal and abnormal videos spread evenly; ``None`` where there are fewer than two of a kind.

    Videos with identical features share a fold. Fewer folds are made where a kind is rarer.
    """
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
    for group in duplicate_groups((sample.video, sample.features) for sample in samples):
        fold_of |= dict.fromkeys(group, fold_of[group[0]])
    return fold_of


def save_thresholds(run: Run, held_out: Sequence[HeldOutVideo]) -> RunThresholds:
    """Measure the thresholds of a run, write them into its folder, those of its causal form too, and log them."""
    thresholds = measure_thresholds(held_out, run.config.normal)
    write_text(run.folder / THRESHOLDS, thresholds.model_dump_json(indent=1) + "\n")
    causal = [video.causal for video in held_out if video.causal is not None]
    if causal:
        found = measure_thresholds(causal, run.config.normal)
        write_text(run.folder / CAUSAL_THRESHOLDS, found.model_dump_json(indent=1) + "\n")
    logger.info(
        "onset threshold %.3f: %.0f %% of %d held-out normal videos reach it, %.0f %% of %d abnormal ones do not",
        thresholds.onset,
        100 * thresholds.false_alarm_rate,
        thresholds.normal_videos,
        100 * thresholds.miss_rate,
        thresholds.abnormal_videos,
    )
    if thresholds.category_margin is not None and thresholds.named_correct is not None:
        logger.info(
            "a category is named from a lead of %.2f: in %.0f %% of held-out abnormal videos, %.0f %% correctly",
            thresholds.category_margin,
            100 * (thresholds.named_rate or 0),
            100 * thresholds.named_correct,
        )
    return thresholds
