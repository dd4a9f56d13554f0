"""Bootstrap confidence intervals and paired tests over videos."""

from dataclasses import astuple

import numpy as np
import pytest

from kgvad.detector.evaluation.bootstrap import NAMES, BootstrapTable, bootstrap, holm
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.frame_metrics import measure
from kgvad.errors import UsageError


def random_videos(quality, seed, videos=40, snippets=4):
    random = np.random.default_rng(seed)
    made = []
    for number in range(videos):
        abnormal = number % 2
        scores = np.round(random.normal(size=snippets) + quality * abnormal, 1)  # rounded, so that snippets tie
        edges = np.cumsum([0, *random.integers(1, 40, snippets)])
        span = (int(edges[1]) // 2, int(edges[-2]) + 1)
        made.append(
            EvaluatedVideo(
                str(number), ("A",) * abnormal, scores, edges, (span,) * abnormal, random.normal(size=(snippets, 5))
            )
        )
    return made


def table(quality, seed, videos=40):
    return BootstrapTable(random_videos(quality, seed, videos), ["Normal", "A", "B", "C", "D"], 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_equals_measuring_its_videos(seed):
    names = ["Normal", "A", "B", "C", "D"]
    videos = random_videos(0.7, seed, 12)
    counts = np.random.default_rng(seed).integers(0, 4, 12)
    resample = [one for one, count in zip(videos, counts, strict=True) for _ in range(count)]
    expected = astuple(measure(resample, names, 0))
    found = BootstrapTable(videos, names, 0).measure(np.stack([counts, counts * 2.0]))
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-9)


def test_the_videos_as_they_are_are_one_rebootstrap():
    one = table(1.0, 3)
    np.testing.assert_allclose(one.measure(np.ones((1, 40)))[0], astuple(one.observed), rtol=1e-9)


def test_intervals_contain_the_metric_and_shrink_with_more_videos():
    small, large = table(1.0, 0, 20), table(1.0, 0, 200)
    one, other = (bootstrap([b], resamples=200).intervals()["frame_auc"] for b in (small, large))
    assert one.low < small.observed.frame_auc < one.high
    assert other.high - other.low < 0.6 * (one.high - one.low)


def test_a_metric_that_cannot_be_computed_has_no_interval():
    unnamed = BootstrapTable([EvaluatedVideo("v", ("A",), np.array([0.1]), np.array([0, 16]), ((0, 9),))])
    interval = bootstrap([unnamed], resamples=5).intervals()["category_top1"]
    assert np.isnan([interval.low, interval.high]).all()
    assert np.isnan(bootstrap([unnamed]).difference_from(bootstrap([unnamed]))["category_top1"].p)


def test_a_better_run_differs_and_an_equal_one_does_not():
    good, poor = bootstrap([table(2.0, 0)]), bootstrap([table(0.2, 1)])
    better = good.difference_from(poor)["frame_auc"]
    assert better.mean > 0 and better.low > 0 and better.p < 0.02
    same = good.difference_from(good)["frame_auc"]
    assert (same.mean, same.p) == (0, 1)
    assert good.difference_from(bootstrap([table(2.0, 5)]))["frame_auc"].p > 0.05


def test_seeds_are_averaged_and_resampled():
    tables = [table(quality, seed) for seed, quality in enumerate((0.2, 1.0, 2.5))]
    place = NAMES.index("frame_auc")
    found = bootstrap(tables, resamples=300)
    assert found.observed[place] == pytest.approx(np.mean([b.observed.frame_auc for b in tables]))
    # seeds that differ widen the interval beyond that of the same videos with seeds that agree
    wide, narrow = found.intervals()["frame_auc"], bootstrap([tables[1]] * 3, resamples=300).intervals()["frame_auc"]
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_different_videos_are_not_compared():
    with pytest.raises(UsageError, match="different test videos"):
        bootstrap([table(1.0, 0), table(1.0, 0, 30)])
    with pytest.raises(UsageError, match="40 and 30 different test videos"):
        bootstrap([table(1.0, 0)]).difference_from(bootstrap([table(1.0, 0, 30)]))


def test_p_values_are_adjusted_by_holm():
    """The example of Holm's method in its usual form: the least times three, the next times two, never falling."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == [0.2]
    adjusted = holm([0.02, None])
    assert adjusted[0] == 0.02 and np.isnan(adjusted[1])
    assert holm([]) == []
