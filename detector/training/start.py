"""What a training gains that starts from another run, measured on held-out videos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kgvad.detector.run import START, Run
from kgvad.detector.training.thresholds import HeldOutVideo
from kgvad.files import write_text

logger = logging.getLogger(__name__)

DRAWS = 2000  # bootstrap samples of the videos
Floats = NDArray[np.float64]
Measure = Callable[[Floats], Floats]  # of weights [draws, videos]: how many times each draw has each video


class Gain(BaseModel):
    """Difference of a figure between two runs on the same held-out videos, with a 95 % bootstrap interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    difference: float
    low: float
    high: float

    def words(self) -> str:
        """``gain``, ``loss`` or ``no clear difference``, by the interval, with the figures."""
        word = "gain" if self.low > 0 else "loss" if self.high < 0 else "no clear difference"
        return f"{word} ({self.difference:+.3f}, {self.low:+.3f} to {self.high:+.3f})"


class Figure(BaseModel):
    """One figure of the start, of a training from the prior and of the training towards the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    videos: int
    start: float
    prior: float = Field(description="Of the same training without the start.")
    trained: float
    over_start: Gain
    over_prior: Gain


class StartGain(BaseModel):
    """``start.json``: what starting from another run gains on held-out training videos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    start: str = Field(description="Run that the training started from.")
    video_auc: Figure
    category: Figure | None = Field(default=None, description="Share of abnormal videos with the right category first.")


HeldOut = Mapping[str, HeldOutVideo]


def measure_gain(start: Run, normal: int, started: HeldOut, prior: HeldOut, trained: HeldOut) -> StartGain:
    """Compare three runs on the same held-out videos.

    Parameters
    ----------
    start
        The run that the training started from.
    normal
        Index of Normal.
    started, prior, trained
        Results of the start itself, of trainings from the prior and of trainings towards the start, by video.
    """
    names = sorted(trained)
    runs = [[run[name] for name in names] for run in (started, prior, trained)]
    abnormal = np.array([not video.target[normal] for video in runs[0]])
    weights = _weights(abnormal)
    video_auc = _figure([_auc(np.array([video.highest for video in run]), abnormal) for run in runs], weights)
    category = None
    correct = [_correct(run, normal) for run in runs]
    if all(one is not None for one in correct):
        shares = [_share(np.asarray(one, float)[abnormal]) for one in correct]
        category = _figure(shares, weights[:, abnormal])
    return StartGain(start=start.folder.name, video_auc=video_auc, category=category)


def save_gain(run: Run, found: StartGain) -> None:
    """Write ``start.json`` into the folder of the run and log what it says."""
    write_text(run.folder / START, found.model_dump_json(indent=1) + "\n")
    for name, figure in (("video AUC", found.video_auc), ("category", found.category)):
        if figure is not None:
            logger.info(
                "%s on %d held-out videos: %.3f as %s, %.3f trained from the prior, %.3f trained towards it: "
                "%s over %s, %s over the prior",
                name,
                figure.videos,
                figure.start,
                found.start,
                figure.prior,
                figure.trained,
                figure.over_start.words(),
                found.start,
                figure.over_prior.words(),
            )
    if found.video_auc.over_start.low <= 0:
        logger.warning("training shows no gain over %s on held-out videos: more videos may help", found.start)


def _figure(measures: list[Measure], weights: Floats) -> Figure:
    videos = weights.shape[1]
    start, prior, trained = (float(measure(np.ones((1, videos)))[0]) for measure in measures)
    sampled = [measure(weights) for measure in measures]

    def gain(other: int, value: float) -> Gain:
        low, high = np.quantile(sampled[2] - sampled[other], [0.025, 0.975])
        return Gain(difference=round(trained - value, 4), low=round(float(low), 4), high=round(float(high), 4))

    return Figure(
        videos=videos,
        start=round(start, 4),
        prior=round(prior, 4),
        trained=round(trained, 4),
        over_start=gain(0, start),
        over_prior=gain(1, prior),
    )


def _weights(abnormal: NDArray[np.bool_]) -> Floats:
    """Bootstrap samples that keep the numbers of normal and abnormal videos, [draws, videos]."""
    random = np.random.default_rng(0)
    weights = np.empty((DRAWS, len(abnormal)))
    for group in (abnormal, ~abnormal):
        count = int(group.sum())
        weights[:, group] = random.multinomial(count, np.full(count, 1 / count), DRAWS)
    return weights


def _auc(scores: Floats, abnormal: NDArray[np.bool_]) -> Measure:
    """Share of the pairs of an abnormal and a normal video in which the abnormal one scores higher; ties are half."""
    wins = (np.sign(scores[abnormal, None] - scores[None, ~abnormal]) + 1) / 2
    return lambda weights: ((weights[:, abnormal] @ wins) * weights[:, ~abnormal]).sum(1) / wins.size


def _share(correct: Floats) -> Measure:
    """Share of correct videos."""
    return lambda weights: weights @ correct / len(correct)


def _correct(videos: list[HeldOutVideo], normal: int) -> list[bool] | None:
    """Whether the first category is right, for each video; ``None`` where there is no choice of categories."""
    found = []
    for video in videos:
        if video.category_logits is None or len(video.category_logits) < 3:
            return None
        logits = np.array(video.category_logits, float)
        logits[normal] = -np.inf
        found.append(bool(video.target[int(np.argmax(logits))]))
    return found
