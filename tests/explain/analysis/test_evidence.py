"""Categories, evidence and contrast, on numbers small enough to check by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from explain_samples import bank, report_on, scores

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.detector.thresholds import RunThresholds
from kgvad.errors import AnchorError
from kgvad.explain.analysis.category import CATEGORY_MARGIN, category_margin, is_clear
from kgvad.explain.analysis.events import EventRule, find_events, outside_events
from kgvad.explain.analysis.evidence import (
    category_shares,
    concept_rises,
    contrast_of,
    evidence_for,
    snippet_shares,
    temperature,
)

NAMES = ["Normal", "A", "B"]


def scored(values, alignment=None, concepts=None):
    starts = np.arange(len(values)) * 16
    return Scores(
        "v",
        16.0,
        len(values) * 16,
        np.stack([starts, starts + 16], 1),
        np.array(values, np.float32),
        alignment=None if alignment is None else np.array(alignment, np.float32),
        categories=None if alignment is None else NAMES,
        normal=None if alignment is None else 0,
        concept_alignment=None if concepts is None else np.array(concepts, np.float32),
        origin=Origin(names_categories="yes"),
    )


def small_bank(joint=None):
    def concept(text):
        return SimpleNamespace(
            text=text, relation="cue", qid=None, property=None, path=(), path_text="", source="", fetched_at=None
        )

    return SimpleNamespace(
        categories=NAMES,
        normal=0,
        concepts=[concept(t) for t in ("calm", "a1", "a2", "a1", "b1")],
        concept_category=np.array([0, 1, 1, 1, 2]),
        encoder=SimpleNamespace(joint=joint),
    )


def event_of(given):
    [event] = find_events(given, EventRule(min_duration_s=0))
    return event


def test_shares_are_the_softmax_of_the_mean_over_the_event_without_normal():
    given = scored([0, 1, 1, 0], [[9, 0, 9], [9, 2, 0], [9, 2, 2], [9, 0, 9]])
    first, second = category_shares(given, event_of(given), {"A": "an a"})
    weights = np.exp([2.0, 1.0])
    assert (first.name, first.text, second.name, second.text) == ("A", "an a", "B", "B")
    assert first.probability == pytest.approx(weights[0] / weights.sum(), abs=1e-4)


def test_snippets_with_higher_scores_count_more():
    given = scored([0, 1.0, 0.5, 0], [[0, 0, 0], [0, 5, 0], [0, 0, 5], [0, 0, 0]])
    first, _ = category_shares(given, event_of(given), {})
    assert first.name == "A"
    assert first.probability == pytest.approx(1 / (1 + np.exp(-(5 * 1.0 - 5 * 0.5) / 1.5)), abs=1e-4)


def test_only_cosines_get_a_temperature_below_one():
    cosines, logits = scored([0, 1], [[0.3, -1.0, 0]] * 2), scored([0, 1], [[0.3, 4.0, 0]] * 2)
    assert temperature(cosines) < 1
    assert temperature(logits) == 1
    measured = RunThresholds(
        onset=0.5, false_alarm_rate=0, miss_rate=0, normal_videos=1, abnormal_videos=1, temperature=0.7
    )
    origin = logits.origin.model_copy(update={"thresholds": measured})
    assert temperature(replace(logits, origin=origin)) == 0.7
    shares = snippet_shares(np.array([[1.0, 2.0, 0.0]]), 0, 0.5)[0]
    normal = np.e / (np.e + np.e**2 + 1)  # the share of Normal is that of the detector
    assert shares == pytest.approx([normal, (1 - normal) / (1 + np.exp(-4)), (1 - normal) / (1 + np.exp(4))])


def test_the_margin_of_the_run_decides_whether_a_category_is_named():
    given = scored([0, 1, 1, 0], [[0, 0, 0], [0, 2, 1], [0, 2, 1], [0, 0, 0]])
    shares = category_shares(given, event_of(given), {})  # .73 and .27
    assert is_clear(shares, 0.4) and not is_clear(shares, 0.5)
    assert is_clear(shares[:1], 1.0) and is_clear([], 0.1) is None
    measured = RunThresholds(
        onset=0.5, false_alarm_rate=0, miss_rate=0, normal_videos=1, abnormal_videos=1, category_margin=0.3
    )
    assert category_margin(Origin(thresholds=measured)) == 0.3
    assert category_margin(Origin()) == CATEGORY_MARGIN


def test_evidence_is_the_rise_above_the_rest_and_above_normal():
    concepts = [[0.1, 0.1, 0.1, 0.1, 0.1], [0.2, 0.5, 0.25, 0.4, 0.3], [0.1, 0.1, 0.1, 0.1, 0.1]]
    given = scored([0, 1, 0], concepts=concepts)
    event, bank_ = event_of(given), small_bank()
    change = concept_rises(given, bank_, event, outside_events(given, [event]))
    assert change.normal == pytest.approx(0.1)
    assert change.rise == pytest.approx([0, 0.3, 0.05, 0.2, 0.1])
    cited = evidence_for(bank_, change, "A", {})
    assert [e.concept for e in cited] == ["a1", "a2"]  # the second a1 is the same text
    assert cited[0].rise == pytest.approx(0.3, abs=1e-4)
    assert (cited[0].inside, cited[0].outside) == (0.5, 0.1)
    assert [e.contribution for e in cited] == pytest.approx([0.3 / 0.35, 0.05 / 0.35], abs=1e-4)


@pytest.mark.parametrize(
    ("joint", "inside", "cited"),
    [
        (None, [0.26, 0.26], ["a1", "a2"]),
        (None, [0.26, 0.24], ["a1"]),  # not similar enough
        ("clip", [0.24, 0.21], ["a1", "a2"]),
        ("clip", [0.24, 0.19], ["a1"]),
    ],
)
def test_a_concept_is_cited_only_above_a_least_similarity_and_rise(joint, inside, cited):
    def cite(outside):
        concepts = [[0, outside, outside, 0, 0], [0, *inside, 0, 0], [0, outside, outside, 0, 0]]
        given = scored([0, 1, 0], concepts=concepts)
        event, bank_ = event_of(given), small_bank(joint)
        change = concept_rises(given, bank_, event, outside_events(given, [event]))
        return [e.concept for e in evidence_for(bank_, change, "A", {})]

    assert cite(0.1) == cited
    assert cite(0.255 if joint is None else 0.235) == []  # hardly rises


def test_concepts_that_fall_are_never_cited():
    given = scored([0, 1, 0], concepts=[[0.1, 0.9, 0.9, 0.9, 0.9], [0.1, 0.2, 0.1, 0, 0.3], [0.1, 0.9, 0.9, 0.9, 0.9]])
    event, bank_ = event_of(given), small_bank()
    change = concept_rises(given, bank_, event, outside_events(given, [event]))
    assert evidence_for(bank_, change, "A", {}) == []


def test_where_events_fill_the_video_normal_concepts_are_the_reference():
    given = scored([1, 1], concepts=[[0.2, 0.5, 0.1, 0.1, 0.1]] * 2)
    event, bank_ = event_of(given), small_bank()
    change = concept_rises(given, bank_, event, outside_events(given, [event]))
    assert change.outside is None
    [cited] = evidence_for(bank_, change, "A", {})
    assert (cited.concept, cited.outside) == ("a1", None)
    assert cited.rise == pytest.approx(0.3, abs=1e-4)


def test_the_contrast_needs_a_concept_that_distinguishes_the_two():
    concepts = [[0.0] * 5, [0, 0.3, 0, 0, 0.1], [0.0] * 5]
    given = scored([0, 1, 0], concepts=concepts)
    event, bank_ = event_of(given), small_bank()
    change = concept_rises(given, bank_, event, outside_events(given, [event]))
    found = contrast_of(bank_, change, "A", "B")
    assert (found.concept, found.rival_concept) == ("a1", "b1")
    assert (found.rise, found.rival_rise) == pytest.approx((0.3, 0.1), abs=1e-4)
    assert contrast_of(bank_, change, "B", "A") is None


def test_a_bank_of_another_size_is_refused():
    given = scored([0, 1, 0], concepts=[[0.0] * 4] * 3)
    event = event_of(given)
    with pytest.raises(AnchorError, match="4 concepts"):
        concept_rises(given, small_bank(), event, outside_events(given, [event]))


def test_the_sample_of_the_other_tests_has_its_categories():
    report = report_on(scores(names="yes", trained=True), bank=bank())
    assert [event.categories[0].name for event in report.events] == ["Robbery", "Arson"]
    assert {e.category for e in report.events[0].evidence} == {"Robbery"}
    assert report.events[0].evidence[0].path or report.events[0].evidence[0].relation != "superclass"
