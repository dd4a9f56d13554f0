"""What a training gains that starts from another run, measured on held-out videos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.metrics import roc_auc_score

from kgvad.detector.run import START, Run
from kgvad.detector.training.thresholds import HeldOutVideo
from kgvad.files import write_text

logger = logging.getLogger(__name__)

DRAWS = 2000  # bootstrap samples of the videos
Measure = Callable[[NDArray[np.intp]], float]


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
    highest = [np.array([video.highest for video in run]) for run in runs]

    def auc(run: int) -> Measure:
        return lambda index: float(roc_auc_score(abnormal[index], highest[run][index]))

    everything, draws = np.arange(len(names)), _draws(abnormal)
    figure = _figure([auc(run) for run in range(3)], everything, draws)
    categories = None
    correct = [_correct(run, normal) for run in runs]
    if all(one is not None for one in correct):
        values = [np.asarray(one, float)[abnormal] for one in correct]
        inside = [_rank(abnormal)[draw[abnormal[draw]]] for draw in draws]

        def share(run: int) -> Measure:
            return lambda index: float(values[run][index].mean())

        categories = _figure([share(run) for run in range(3)], np.arange(int(abnormal.sum())), inside)
    return StartGain(start=start.folder.name, video_auc=figure, category=categories)


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


def _figure(measures: list[Measure], everything: NDArray[np.intp], draws: list[NDArray[np.intp]]) -> Figure:
    start, prior, trained = (measure(everything) for measure in measures)
    sampled = np.array([[measure(draw) for measure in measures] for draw in draws])  # [draws, 3]

    def gain(other: int, value: float) -> Gain:
        low, high = np.quantile(sampled[:, 2] - sampled[:, other], [0.025, 0.975])
        return Gain(difference=round(trained - value, 4), low=round(float(low), 4), high=round(float(high), 4))

    return Figure(
        videos=len(everything),
        start=round(start, 4),
        prior=round(prior, 4),
        trained=round(trained, 4),
        over_start=gain(0, start),
        over_prior=gain(1, prior),
    )


def _draws(abnormal: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Bootstrap samples that keep the numbers of normal and abnormal videos."""
    random = np.random.default_rng(0)
    groups = [np.flatnonzero(abnormal), np.flatnonzero(~abnormal)]
    return [np.concatenate([random.choice(group, len(group)) for group in groups]) for _ in range(DRAWS)]


def _rank(abnormal: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number of each abnormal video among the abnormal ones."""
    return np.cumsum(abnormal) - 1


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
