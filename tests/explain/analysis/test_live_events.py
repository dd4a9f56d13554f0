"""Events found while scores arrive are those found in the whole video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgvad.explain.analysis.events import EventRule, event_runs, event_span, find_events
from kgvad.explain.analysis.live_events import EventTracker

RULE = EventRule(onset=0.8, offset=0.5, merge_gap_s=2.0, min_duration_s=1.0)


def follow(scores, rule=RULE, step_s=1.6, **options):
    tracker, changes = EventTracker(rule, **options), []
    for number, score in enumerate(scores):
        changes.append(tracker.push(number * step_s, (number + 1) * step_s, score))
    return changes, tracker


@given(
    st.lists(st.sampled_from([0.1, 0.5, 0.6, 0.8, 0.9]), min_size=1, max_size=60),
    st.sampled_from([0.5, 1.6]),
    st.sampled_from([0.0, 1.0, 2.0, 4.0]),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_closed_events_are_those_of_the_whole_video(scores, step_s, merge_gap_s, min_duration_s):
    rule = EventRule(0.8, 0.5, merge_gap_s, min_duration_s)
    padded = [*scores, *[0.1] * 20]  # everything has ended
    changes, tracker = follow(padded, rule, step_s)
    closed = [change.event for row in changes for change in row if change.kind == "close"]
    times = np.array([[i * step_s, (i + 1) * step_s] for i in range(len(padded))])
    whole = [event_span(np.array(padded), times, run, rule) for run in event_runs(np.array(padded), times, rule)]
    assert closed == [event for event in whole if event.end_s - event.start_s >= min_duration_s - 1e-9]
    assert tracker.open is None and not tracker._scores


@given(st.lists(st.sampled_from([0.1, 0.6, 0.9]), max_size=60))
def test_every_event_opens_once_grows_and_closes_once(scores):
    changes, tracker = follow(scores)
    kinds = [change.kind for row in changes for change in row] + [change.kind for change in tracker.finish("stopped")]
    open_now = False
    for kind in kinds:
        assert (kind == "open") != open_now
        open_now = kind != "close"
    assert not open_now


def test_an_event_opens_with_the_row_that_crosses_the_threshold_and_reaches_back():
    changes, tracker = follow([0.1, 0.6, 0.9])
    assert [len(row) for row in changes] == [0, 0, 1]
    assert changes[2][0].kind == "open"
    assert (tracker.open.start_s, tracker.open.onset_s) == (pytest.approx(1.6), pytest.approx(3.2))


def test_a_gap_is_bridged_until_no_row_can_be_merged():
    changes, _ = follow([0.9, 0.1, 0.9, 0.1, 0.1])
    kinds = [[change.kind for change in row] for row in changes]
    assert kinds == [["open"], [], ["update"], [], ["close"]]
    assert changes[4][0].event.snippets == (0, 3)
    assert changes[4][0].reason == "ended"


def test_a_long_event_is_closed_and_goes_on_as_another():
    changes, tracker = follow([0.9] * 100, longest_s=16.0)
    closed = [change for row in changes for change in row if change.kind == "close"]
    assert len(closed) == 9 and {change.reason for change in closed} == {"long"}
    assert all(change.event.end_s - change.event.start_s <= 16 + 1.6 + 1e-9 for change in closed)
    assert len(tracker._scores) < 12


def test_memory_is_bounded_where_the_score_stays_between_the_thresholds():
    _, tracker = follow([0.6] * 1000, longest_s=16.0)
    assert len(tracker._scores) <= 10


def test_the_rule_does_not_change_within_an_event():
    _, tracker = follow([0.9])
    tracker.rule = EventRule(0.95, 0.9)
    assert tracker.rule == RULE
    tracker.finish("stopped")
    tracker.rule = EventRule(0.95, 0.9)
    assert tracker.rule.onset == 0.95


def test_whole_videos_still_drop_what_is_too_short():
    from explain_samples import scores

    found = scores(events=((60, 80, 0.9), (120, 121, 0.9)))
    assert [event.snippets for event in find_events(found)] == [(60, 80)]
