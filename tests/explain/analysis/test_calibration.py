"""Thresholds from ordinary footage: the accepted rate is kept, and the limit of the rate is exact."""

import numpy as np
import pytest
from scipy.stats import poisson

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError, UsageError
from kgvad.explain.analysis.calibration import (
    Rate,
    calibrate,
    lowest_onset,
    parse_rate,
    provable_alarms,
    upper_limit,
)
from kgvad.explain.analysis.events import EventRule, find_events


def curve(values):
    """One score a second."""
    starts = np.arange(len(values)) * 16
    return Scores("v", 16, len(values) * 16, np.stack([starts, starts + 16], 1), np.array(values, np.float32))


@pytest.mark.parametrize("allowed", [0, 1, 10])
def test_the_accepted_rate_of_false_alarms_is_kept(allowed):
    rng = np.random.default_rng(3)
    normal = [curve(rng.random(3600)) for _ in range(2)]  # two hours
    rule = calibrate(normal, EventRule(merge_gap_s=0), Rate(allowed, "hour"))
    assert sum(len(find_events(video, rule)) for video in normal) <= allowed * 2
    assert rule.offset == pytest.approx(rule.onset * 0.35 / 0.5)


def test_the_lowest_threshold_is_found():
    normal = [curve([0.1, 0.2, 0.1] * 100)]
    rule = calibrate(normal, EventRule(merge_gap_s=0), Rate(0, "hour"))
    assert 0.2 < rule.onset < 0.21
    assert find_events(curve([0.1, 0.25, 0.1]), rule)


def test_the_highest_scores_of_long_footage_are_all_tried():
    scores = np.linspace(0.1, 0.5, 20000)
    scores[[5000, 10000, 15000]] = [0.9, 0.8, 0.7]
    times = np.stack([np.arange(20000.0) * 2, np.arange(20000.0) * 2 + 2], 1)
    rule = lowest_onset([(scores, times)], EventRule(merge_gap_s=0, min_duration_s=0), 2)
    assert 0.7 < rule.onset < 0.7003


def test_without_footage_there_is_an_error():
    with pytest.raises(ScoresError, match="no normal footage"):
        calibrate([])


@pytest.mark.parametrize(
    ("text", "per_hour"), [("1/day", 1 / 24), ("2/hour", 2), (" .5 / hour ", 0.5), ("7/week", 7 / 168)]
)
def test_rates_are_read(text, per_hour):
    assert parse_rate(text).per_hour == pytest.approx(per_hour)


@pytest.mark.parametrize("text", ["1", "-1/day", "1/fortnight", "day", "1/day/day"])
def test_other_rates_are_refused(text):
    with pytest.raises(UsageError, match="write 1/day"):
        parse_rate(text)


def test_a_day_without_an_alarm_bounds_the_rate_at_three_a_day():
    assert upper_limit(0, 24) * 24 == pytest.approx(3.0, abs=0.01)
    assert upper_limit(0, 72) * 24 == pytest.approx(1.0, abs=0.002)
    assert Rate(1, "day").footage_needed_h() == pytest.approx(71.9, abs=0.05)
    for alarms in (0, 3):  # at the limit, so few alarms or fewer have a probability of 5 %
        assert poisson.cdf(alarms, upper_limit(alarms, 10) * 10) == pytest.approx(0.05)


def test_only_so_many_alarms_are_allowed_that_the_limit_stays_within_the_rate():
    day = Rate(1, "day")
    assert [provable_alarms(day, hours) for hours in (24, 71, 72, 120)] == [None, None, 0, 1]
    assert provable_alarms(Rate(2, "hour"), 24) > 30


def test_the_limit_holds_for_thresholds_set_on_the_same_footage():
    """In 19 of 20 cases the true rate at the threshold is within the limit; scores are peaks, uniform from 0 to 1."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        peaks = np.sort(rng.random(rng.poisson(100)))  # 100 hours, one peak an hour
        for allowed in (0, 2):
            threshold = peaks[-1 - allowed]
            inside += (1 - threshold) <= upper_limit(allowed, 100)
    assert 0.93 < inside / 800 < 0.97
