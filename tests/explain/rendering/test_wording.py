"""Sentences of a report do not contradict its numbers, or each other."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from explain_samples import CATEGORIES, bank, report_on, scores, terms

from kgvad.detector.thresholds import RunThresholds
from kgvad.detector.training.exemplars import Match
from kgvad.explain.analysis.contributions import cited_contributions
from kgvad.explain.analysis.events import Thresholds, find_events
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.report import Action
from kgvad.explain.text import category_text

RENDERERS = {language: Renderer(language) for language in ("en", "de")}
LANGUAGES = pytest.mark.parametrize("language", RENDERERS)


def said(report, language="en", form="md"):
    """One view, with spaces that break lines."""
    return RENDERERS[language].render(report, form).replace("\xa0", " ")


def first(given, count):
    """The first snippets alone."""
    names = ("spans", "scores", "alignment", "concept_alignment")
    return replace(given, frame_count=count * 16, **{name: getattr(given, name)[:count] for name in names})


@LANGUAGES
def test_an_event_of_under_a_second_starts_and_ends_at_different_times(language):
    """Times were cut to seconds: it lasted "from 00:00:00 to 00:00:00 (0.1 seconds)"."""
    brief = replace(first(scores(events=((0, 1, 0.9),)), 1), fps=160.0)
    mark = RENDERERS[language].phrases.labels["decimal"]
    text = said(report_on(brief), language)
    assert f"00:00:00{mark}0" in text and f"00:00:00{mark}1" in text and f"(0{mark}1 " in text
    assert f"00:00:00{mark}1 ·" in said(report_on(brief), language, "html")  # the duration at the top


def test_the_times_of_an_event_differ_by_its_duration():
    """Starts and ends were cut to seconds while durations were rounded: 00:00:04 to 00:00:24 were 19 seconds."""
    for start in range(20, 40):
        text = said(report_on(scores(events=((start, start + 36, 0.9),))))
        hours, minutes, seconds = zip(*re.findall(r"(\d\d):(\d\d):(\d\d\.\d)", text)[:2], strict=True)
        begin, end = (int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in zip(hours, minutes, seconds, strict=True))
        stated = float(re.search(r"\((?:about )?([\d.]+) seconds\)", text)[1])
        assert abs((end - begin) - stated) <= 0.5
        assert f"{end - begin:.1f}" in ("19.2", "19.1", "19.3")


def test_a_duration_that_was_not_rounded_is_not_called_about():
    assert "It lasts 16 seconds" in said(report_on(scores(events=((30, 60, 0.9),))))
    assert "It lasts about 10 seconds" in said(report_on(scores(events=((30, 49, 0.9),))))


@LANGUAGES
def test_no_event_is_said_to_have_the_highest_score_alone_where_several_have_it(language):
    tied, alone = (
        {
            "en": "Three events share the highest score; the first of them is event 2",
            "de": "Drei Ereignisse haben gemeinsam den höchsten Wert, als erstes Ereignis 2",
        },
        {"en": "Event 2 has the highest score", "de": "Den höchsten Wert hat Ereignis 2"},
    )
    several = scores(names="hint", events=((10, 20, 0.6), (40, 50, 0.9), (70, 80, 0.9), (100, 110, 0.9)))
    assert tied[language] in said(report_on(several), language)
    assert alone[language] not in said(report_on(several), language)
    assert alone[language] in said(report_on(scores(names="hint", events=((10, 20, 0.6), (40, 50, 0.9)))), language)


@LANGUAGES
@pytest.mark.parametrize("count", [1, 2])
def test_one_action_or_segment_or_concept_is_not_spoken_of_as_several(language, count):
    pixels = scores(encoder="efficientnet-lite0", aligned=False)
    seen = tuple(Action(name=name, probability=0.4, outside=0.01) for name in ("fencing", "boxing"))[:count]
    matches = [Match("Robbery/012", "Robbery", 70.4, 75.0, 0.8), Match("x", "Arson", 5.0, 10.0, 0.5)][:count]
    stored = {"features": np.zeros((180, 2)), "exemplars": SimpleNamespace(nearest=lambda features: matches)}
    text = said(report_on(pixels, facts={"actions": {1: seen}, "action_recogniser": "I3D"}), language)
    text += said(report_on(scores(names="yes", trained=True, encoder="i3d"), **stored), language)
    text += said(with_evidence(report_on(scores(names="hint"), bank=bank()), count), language)
    several = {
        "en": ("These are the actions", "They show", "similar segments of", "These concepts of"),
        "de": ("Bei diesen Handlungen", "Sie zeigen", "Die ähnlichsten Abschnitte der", "Diese Begriffe zu"),
    }
    assert [words in text for words in several[language]] == [count > 1] * 4


def with_evidence(report, count):
    """The first event alone, unclear, with so many concepts."""
    event = report.events[0]
    unclear = event.model_copy(update={"category_clear": False, "evidence": event.evidence[:count]})
    assert len(unclear.evidence) == count
    return report.model_copy(update={"events": (unclear,)})


def test_a_category_without_a_text_is_written_alike_in_all_sentences():
    """Its name stood in some and words made from it in others: "RoadAccidents" and "road accidents"."""
    known = bank(concept_vectors=np.eye(15, dtype=np.float32))
    known.concepts[7].text, known.concepts[7].path_text = "crash", "RoadAccidents is a kind of crash"
    given = scores(names="yes", trained=True)
    values = given.alignment.copy()
    values[:, CATEGORIES.index("RoadAccidents")] += 9
    on_crash = replace(
        terms(),
        vectors=np.eye(4, 15, 5, dtype=np.float32),  # "extinguishing fire" lies on it
        over=lambda weights: terms().over(weights)[[0, 1, 4, 3, 2]],
    )
    report = report_on(replace(given, alignment=values), bank=known, terms=on_crash)
    text = said(report).partition("## Method")[0]
    assert "category is road accidents (" in text and "Road accidents is a kind of crash" in text
    assert "RoadAccidents" not in text
    assert category_text("NATO convoy", {}) == "NATO convoy" and category_text("Anomaly", {}) == "anomaly"


def test_the_name_of_an_item_is_no_reason_for_a_term():
    """It read: closest to "explosion". Explosion is explosion in Wikidata."""
    known = bank(concept_vectors=np.eye(15, dtype=np.float32))
    on_label = replace(terms(), vectors=np.eye(4, 15, 10, dtype=np.float32))  # "extinguishing fire" lies on the label
    known.concepts[12].path_text = "Explosion is explosion in Wikidata"
    found = cited_contributions(on_label, scores(), find_events(scores())[0], CATEGORIES[-1], known)
    assert found[0].concept == known.concepts[12].text and found[0].path_text is None


@LANGUAGES
def test_a_run_whose_leads_are_all_unreliable_does_not_ask_for_a_lead_of_100_points(language):
    report = report_on(scores(names="yes", trained=True, thresholds=measured(1.0)))
    text = said(report, language)
    never = {"en": "none is named: on held-out videos", "de": "aber keine wird genannt: An zurückgehaltenen Videos"}
    assert "100 p" not in text and "100 P" not in text and never[language] in text
    assert f"`{RENDERERS[language].phrases.labels['never']}`" in text
    any_lead = said(report_on(scores(names="yes", trained=True, thresholds=measured(0.0))), language)
    assert "at least 0 p" not in any_lead and "mindestens 0 P" not in any_lead
    point = {"en": "at least 1 percentage point;", "de": "mindestens 1 Prozentpunkt vor"}
    assert point[language] in said(report_on(scores(names="yes", trained=True, thresholds=measured(0.01))), language)


def measured(margin):
    """What was measured of a run."""
    return RunThresholds(
        onset=0.5, false_alarm_rate=0, miss_rate=0, normal_videos=9, abnormal_videos=9, category_margin=margin
    )


@LANGUAGES
def test_markdown_without_pictures_announces_no_frames(language):
    labels, text = RENDERERS[language].phrases.labels, said(report_on(scores()), language)
    assert f"{labels['key_moments']}: 00:00:" in text and labels["key_frames"] not in text


@LANGUAGES
def test_unusual_stretches_are_not_called_events_where_they_are_numbered(language):
    report = report_on(scores(encoder="efficientnet-lite0", aligned=False))
    label = RENDERERS[language].phrases.labels["event"]
    assert f"{label} 1" not in said(report, language) and f"{label} 1" not in said(report, language, "html")
    tied = report_on(scores(encoder="efficientnet-lite0", aligned=False, events=((40, 50, 0.9), (80, 90, 0.9))))
    share = {"en": "Two stretches share", "de": "Zwei Abschnitte haben gemeinsam"}
    assert share[language] in said(tied, language)


@LANGUAGES
def test_what_the_user_set_of_the_rule_is_said(language):
    labels, rule = (
        RENDERERS[language].phrases.labels,
        {
            "en": "The user set the onset threshold and the minimum event duration.",
            "de": "Der Benutzer hat die Einsatzschwelle und die Mindestdauer eines Ereignisses gesetzt.",
        },
    )
    named = (rule[language], f"({labels['by_user']})")
    chosen = Thresholds(onset=0.4, min_duration_s=2.0)
    given = report_on(scores(), facts={"set_by_user": chosen.by_user})
    assert all(text in said(given, language) for text in named)
    assert not any(text in said(report_on(scores()), language) for text in named)
