"""Intervals and paired tests over videos."""

from dataclasses import astuple

import numpy as np
import pytest

from kgvad.detector.evaluation.bootstrap import NAMES, Board, sample
from kgvad.detector.evaluation.frame_metrics import Track, measure
from kgvad.errors import UsageError


def tracks(quality, seed, videos=40, rows=4):
    random = np.random.default_rng(seed)
    made = []
    for number in range(videos):
        abnormal = number % 2
        scores = np.round(random.normal(size=rows) + quality * abnormal, 1)  # rounded, so that rows tie
        edges = np.cumsum([0, *random.integers(1, 40, rows)])
        span = (int(edges[1]) // 2, int(edges[-2]) + 1)
        made.append(
            Track(str(number), ("A",) * abnormal, scores, edges, (span,) * abnormal, random.normal(size=(rows, 5)))
        )
    return made


def board(quality, seed, videos=40):
    return Board(tracks(quality, seed, videos), ["Normal", "A", "B", "C", "D"], 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_draw_equals_measuring_the_drawn_videos(seed):
    names = ["Normal", "A", "B", "C", "D"]
    videos = tracks(0.7, seed, 12)
    counts = np.random.default_rng(seed).integers(0, 4, 12)
    drawn = [track for track, count in zip(videos, counts, strict=True) for _ in range(count)]
    expected = astuple(measure(drawn, names, 0))
    found = Board(videos, names, 0).measure(np.stack([counts, counts * 2.0]))
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-9)


def test_videos_as_they_are_are_one_draw():
    one = board(1.0, 3)
    np.testing.assert_allclose(one.measure(np.ones((1, 40)))[0], astuple(one.observed), rtol=1e-9)


def test_intervals_hold_the_figure_and_shrink_with_videos():
    small, large = board(1.0, 0, 20), board(1.0, 0, 200)
    one, other = (sample([b], draws=200).intervals()["frame_auc"] for b in (small, large))
    assert one.low < small.observed.frame_auc < one.high
    assert other.high - other.low < 0.6 * (one.high - one.low)


def test_what_a_run_does_not_give_has_no_interval():
    unnamed = Board([Track("v", ("A",), np.array([0.1]), np.array([0, 16]), ((0, 9),))])
    interval = sample([unnamed], draws=5).intervals()["category_top1"]
    assert np.isnan([interval.low, interval.high]).all()
    assert np.isnan(sample([unnamed]).minus(sample([unnamed]))["category_top1"].p)


def test_a_better_run_is_told_from_an_equal_one():
    good, poor = sample([board(2.0, 0)]), sample([board(0.2, 1)])
    better = good.minus(poor)["frame_auc"]
    assert better.mean > 0 and better.low > 0 and better.p < 0.02
    same = good.minus(good)["frame_auc"]
    assert (same.mean, same.p) == (0, 1)
    assert good.minus(sample([board(2.0, 5)]))["frame_auc"].p > 0.05


def test_seeds_are_averaged_and_drawn():
    boards = [board(quality, seed) for seed, quality in enumerate((0.2, 1.0, 2.5))]
    place = NAMES.index("frame_auc")
    found = sample(boards, draws=300)
    assert found.observed[place] == pytest.approx(np.mean([b.observed.frame_auc for b in boards]))
    # seeds that differ widen the interval beyond that of the same videos with seeds that agree
    wide, narrow = found.intervals()["frame_auc"], sample([boards[1]] * 3, draws=300).intervals()["frame_auc"]
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_different_videos_are_not_compared():
    with pytest.raises(UsageError, match="different test videos"):
        sample([board(1.0, 0), board(1.0, 0, 30)])
    with pytest.raises(UsageError, match="40 and 30 different test videos"):
        sample([board(1.0, 0)]).minus(sample([board(1.0, 0, 30)]))
