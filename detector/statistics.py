"""How sure a figure is: bootstrap intervals over videos and a paired test between two runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

import numpy as np

from kgvad.detector.metrics import Board, Floats, Metrics
from kgvad.errors import UsageError

DRAWS = 1000
NAMES = tuple(field.name for field in fields(Metrics))


@dataclass(frozen=True)
class Interval:
    """Percentile bootstrap interval of one figure."""

    low: float
    high: float


def _weights(videos: int, draws: int, seed: int) -> Iterator[Floats]:
    """Number of times each video is drawn, draw after draw; the same for every run with as many videos."""
    random = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(random.integers(0, videos, videos), minlength=videos).astype(np.float64)


def bootstrap(board: Board, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """Intervals of all figures; videos, not frames, are drawn: the frames of a video belong together.

    A draw without, say, abnormal videos says nothing about a figure and is left out of its interval.
    """
    values = np.array([astuple(board.figures(weight)) for weight in _weights(board.count, draws, seed)])
    tail = 50 * (1 - level)
    found = {}
    for name, column in zip(NAMES, values.T, strict=True):
        finite = column[np.isfinite(column)]
        low, high = np.percentile(finite, [tail, 100 - tail]) if len(finite) else (float("nan"), float("nan"))
        found[name] = Interval(float(low), float(high))
    return found


@dataclass(frozen=True)
class Difference:
    """First minus second, its interval, and the two-sided bootstrap p-value."""

    mean: float
    low: float
    high: float
    p: float


def paired(first: Board, second: Board, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Difference]:
    """Compare two runs on the same videos: both are measured on the same draws of videos.

    p is twice the smaller share of draws on either side of zero, counting the observed one (Davison and Hinkley 1997,
    4.2.1), so it is never below 2 / (draws + 1).

    Raises
    ------
    UsageError
        The runs were measured on different numbers of videos.
    """
    if first.count != second.count:
        raise UsageError(f"{first.count} and {second.count} test videos cannot be paired", "score the same videos")
    rows = [
        np.subtract(astuple(first.figures(weight)), astuple(second.figures(weight)))
        for weight in _weights(first.count, draws, seed)
    ]
    observed = np.subtract(astuple(first.figures()), astuple(second.figures()))
    found = {}
    for name, column, value in zip(NAMES, np.array(rows).T, observed, strict=True):
        finite = column[np.isfinite(column)]
        if not len(finite):
            found[name] = Difference(float("nan"), float("nan"), float("nan"), float("nan"))
            continue
        below, above = np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0)
        low, high = np.percentile(finite, [2.5, 97.5])
        p = min(1.0, 2 * (min(below, above) + 1) / (len(finite) + 1))
        found[name] = Difference(float(value), float(low), float(high), p)
    return found


def paired_over_seeds(
    first: list[Board], second: list[Board], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Difference]:
    """Like :func:`paired`, for the mean over seeds of each method.

    Raises
    ------
    UsageError
        The runs were measured on different numbers of videos.
    """
    if len({board.count for board in (*first, *second)}) != 1:
        raise UsageError("the runs were measured on different test videos", "score the same videos")
    return paired(_mean(first), _mean(second), draws=draws, seed=seed)


class _Mean(Board):
    """Boards of several seeds measured as one: every figure is their mean."""

    def __init__(self, boards: list[Board]) -> None:
        self.count = boards[0].count
        self._boards = boards

    def figures(self, weights: np.typing.NDArray[np.floating] | None = None) -> Metrics:
        return Metrics(*np.mean([astuple(board.figures(weights)) for board in self._boards], axis=0).tolist())


def _mean(boards: list[Board]) -> Board:
    return boards[0] if len(boards) == 1 else _Mean(boards)
