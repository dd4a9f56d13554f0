"""Intervals and paired tests over videos."""

import numpy as np
import pytest

from kgvad.detector.metrics import Board, Track
from kgvad.detector.statistics import bootstrap, paired, paired_over_seeds
from kgvad.errors import UsageError


def board(quality, seed, videos=40):
    random = np.random.default_rng(seed)
    tracks = []
    for number in range(videos):
        abnormal = number % 2
        scores = random.normal(size=4) + quality * abnormal
        edges = np.arange(0, 65, 16)
        tracks.append(Track(str(number), ("A",) * abnormal, scores, edges, ((0, 64),) * abnormal))
    return Board(tracks)


def test_weights_equal_repetition():
    tracks = [
        Track(str(n), ("A",) * (n % 2), np.array([0.1 * n, 0.5]), np.array([0, 16, 40]), ((0, 20),) * (n % 2))
        for n in range(6)
    ]
    counts = [2, 1, 0, 3, 1, 1]
    repeated = Board([track for track, count in zip(tracks, counts, strict=True) for _ in range(count)])
    weighted = Board(tracks).figures(np.array(counts))
    whole = repeated.figures()
    assert weighted.frame_auc == pytest.approx(whole.frame_auc)
    assert weighted.frame_ap == pytest.approx(whole.frame_ap)
    assert weighted.ano_auc == pytest.approx(whole.ano_auc)
    assert weighted.video_auc == pytest.approx(whole.video_auc)


def test_intervals_hold_the_figure_and_shrink_with_videos():
    small, large = board(1.0, 0, 20), board(1.0, 0, 200)
    one, other = bootstrap(small, draws=200)["frame_auc"], bootstrap(large, draws=200)["frame_auc"]
    assert one.low < small.figures().frame_auc < one.high
    assert other.high - other.low < 0.6 * (one.high - one.low)
    assert np.isnan(bootstrap(small, draws=5)["category_top1"].low)


def test_a_better_run_is_told_from_an_equal_one():
    good, poor = board(2.0, 0), board(0.2, 1)
    better = paired(good, poor, draws=300)["frame_auc"]
    assert better.mean > 0 and better.low > 0 and better.p < 0.02
    same = paired(good, good, draws=100)["frame_auc"]
    assert (same.mean, same.p) == (0, 1)
    assert paired(good, board(2.0, 5), draws=300)["frame_auc"].p > 0.05


def test_seeds_are_averaged():
    boards = [board(1.0, seed) for seed in range(3)]
    found = paired_over_seeds(boards, [board(1.0, 9)], draws=50)["frame_auc"]
    expected = np.mean([b.figures().frame_auc for b in boards]) - board(1.0, 9).figures().frame_auc
    assert found.mean == pytest.approx(expected)
    with pytest.raises(UsageError, match="different test videos"):
        paired_over_seeds(boards, [board(1.0, 9, 30)])
