"""Events on score curves small enough to check by eye: one snippet per second unless stated otherwise."""

import numpy as np
import pytest

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.detector.scoring.training_free import TrainingFreeRule
from kgvad.errors import UsageError
from kgvad.explain.analysis.events import EventRule, Thresholds, find_events


def curve(values, fps=16.0, step=16):
    starts = np.arange(len(values)) * step
    return Scores("v", fps, len(values) * step, np.stack([starts, starts + step], 1), np.array(values, np.float32))


RULE = EventRule(onset=0.5, offset=0.3, merge_gap_s=1.0, min_duration_s=1.0)


def spans(values, rule=RULE, **kwargs):
    return [(event.start_s, event.end_s) for event in find_events(curve(values, **kwargs), rule)]


def test_an_event_extends_to_the_offset_threshold_on_both_sides():
    assert spans([0, 0.2, 0.4, 0.6, 0.4, 0.2, 0]) == [(2, 5)]


def test_scores_below_the_onset_threshold_are_no_event():
    assert spans([0, 0.4, 0.49, 0.4, 0]) == []


def test_scores_equal_to_a_threshold_count():
    assert spans([0, 0.3, 0.5, 0.3, 0]) == [(1, 4)]


def test_short_gaps_are_merged_and_long_ones_are_not():
    assert spans([0.9, 0, 0.9]) == [(0, 3)]
    assert spans([0.9, 0, 0, 0.9]) == [(0, 1), (3, 4)]


def test_a_run_without_onset_is_not_merged():
    assert spans([0.9, 0, 0.4, 0.4]) == [(0, 1)]


def test_short_events_are_dropped_unless_the_video_is_shorter():
    rule = EventRule(onset=0.5, offset=0.3, merge_gap_s=0, min_duration_s=2.0)
    assert spans([0, 0.9, 0, 0], rule) == []
    assert spans([0.9], rule) == [(0, 1)]


def test_durations_are_seconds_at_every_frame_rate():
    values = [0, 0.9, 0, 0.9, 0]
    assert spans(values, fps=16) == [(1, 4)]  # a gap of 1 s
    assert spans(values, fps=8) == [(2, 4), (6, 8)]  # the same gap is 2 s


def test_onset_peak_and_means_are_those_of_the_curve():
    [event] = find_events(curve([0, 0.3, 0.6, 1.0, 0.5, 0]), RULE)
    assert (event.start_s, event.onset_s, event.peak_s, event.end_s) == (1, 2, 3.5, 5)
    assert event.snippets == (1, 5)
    assert event.peak_snippet == 3
    assert event.peak == pytest.approx(1.0)
    assert event.mean == pytest.approx((0.3 + 0.6 + 1.0 + 0.5) / 4)


def test_the_mean_is_weighted_by_duration():
    scores = Scores("v", 10.0, 40, np.array([[0, 10], [10, 40]]), np.array([0.5, 0.9], np.float32))
    [event] = find_events(scores, RULE)
    assert event.mean == pytest.approx(0.25 * 0.5 + 0.75 * 0.9)


def test_given_times_are_used_where_the_frame_rate_varies():
    times = np.array([[0, 1], [1, 5], [5, 6]], float)
    [event] = find_events(curve([0, 0.9, 0]), RULE, times)
    assert (event.start_s, event.end_s, event.peak_s) == (1, 5, 3)


def test_low_and_constant_curves_have_no_event():
    assert spans([0.0] * 50) == []
    assert spans([0.49] * 50) == []


def test_an_event_may_fill_the_video():
    assert spans([0.9] * 5) == [(0, 5)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 0.6, "onset": 0.5},
        {"offset": 0},
        {"onset": 1.5},
        {"min_duration_s": -1},
        {"merge_gap_s": float("nan")},
        {"onset": float("nan")},
    ],
)
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(UsageError):
        EventRule(**wrong)


def test_defaults_depend_on_the_scorer_and_user_values_win():
    pixels, words = (Origin(scorer="training-free", names_categories=n) for n in ("no", "hint"))
    half = TrainingFreeRule().half_at
    assert Thresholds().rule(pixels).onset == pytest.approx(2.25**2 / (2.25**2 + half**2), abs=1e-3)
    assert Thresholds().rule(words) == Thresholds().rule(Origin(scorer="mine")) == EventRule()
    assert Thresholds(onset=0.8).rule(words).offset == pytest.approx(0.8 * 0.7)
    assert Thresholds(onset=0.8, offset=0.1, min_duration_s=0).rule(pixels) == EventRule(0.8, 0.1, 2.0, 0)


def test_on_pixels_alone_an_event_stands_out_of_its_own_video():
    """A busy video: 0.3 throughout, 0.7 in the middle; fixed thresholds would make it one event."""
    pixels = Origin(scorer="training-free", names_categories="no")
    scores = np.array([0.3] * 8 + [0.7] * 3 + [0.3] * 8, np.float32)
    rule = Thresholds().rule(pixels, scores)
    assert rule.onset == pytest.approx(0.3 + 0.6 * 0.4)
    assert rule.offset == pytest.approx(0.3 + 0.5 * 0.4)
    flat = Thresholds().rule(pixels, np.full(19, 0.01, np.float32))
    assert flat == Thresholds().rule(pixels)  # nothing stands out: the fixed thresholds apply
    assert Thresholds(onset=0.8).rule(pixels, scores).onset == 0.8
