"""Recognised actions, on small numbers; the real recogniser in a slow test."""

import numpy as np
import pytest
from explain_samples import scores

from kgvad.explain.analysis.action_hints import calm_spans, named_actions
from kgvad.explain.analysis.events import EventRule, find_events


def test_actions_are_named_by_their_rise():
    names = ["walking", "fighting", "cooking", "resting"]
    found = named_actions(names, np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.6, 0.05, 0.13, 0.22]))
    assert [(a.name, a.probability, a.outside) for a in found] == [("fighting", 0.3, 0.05)]


def test_calm_snippets_are_outside_the_events_and_apart():
    given = scores(aligned=False)
    events = find_events(given, EventRule())
    spans = calm_spans(given, events)
    assert len(spans) == 3
    for start, end in spans:
        assert all(end <= 16 * e.snippets[0] or start >= 16 * e.snippets[1] for e in events)


@pytest.mark.slow
def test_the_real_recogniser_sees_cricket(shared, weights):
    """The clip shows cricket; a middle stretch of it, called an event, gets the name."""
    weights("i3d-k400")
    from kgvad.explain.analysis.action_hints import recognise
    from kgvad.video.decode import probe

    path = shared / "videos/actions/cricket.avi"
    info = probe(path, exact=True)
    rows = info.frame_count // 16
    starts = np.arange(rows) * 16
    values = np.where(np.arange(rows) >= rows // 2, 0.9, 0.1)
    given = scores(aligned=False)
    given = type(given)("v", info.fps, info.frame_count, np.stack([starts, starts + 16], 1), values.astype(np.float32))
    events = find_events(given, EventRule(min_duration_s=0))
    seen = recognise(path, given, events, info)
    # the same action fills the rest of the video, so it must not be named as one that rises
    assert all(action.probability > action.outside for action in seen[1])
