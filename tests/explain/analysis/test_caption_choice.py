"""The caption that a report quotes says what the others say."""

import numpy as np
from explain_samples import FPS, report_on, scores

from kgvad.explain.analysis.caption_choice import typical_caption
from kgvad.explain.rendering.render import Renderer

FIRE = "A bus is burning on the street and people run away."
SHORT = "A bus is burning."
OTHER = "A timestamp is shown."


def test_the_caption_that_covers_the_others_is_typical():
    assert typical_caption([OTHER, SHORT, FIRE, "People run away from a burning bus on the street."]) == 2
    assert typical_caption([SHORT, FIRE, SHORT, FIRE, OTHER]) == 1, "the first of equals"
    assert typical_caption(["", "..."]) == 0 and typical_caption([FIRE]) == 0


def test_many_captions_are_compared_by_forty_of_them():
    many = [OTHER] * 500 + [FIRE] * 1500
    assert many[typical_caption(many)] == FIRE


def test_a_report_quotes_it_with_its_time_and_asks_for_the_category():
    """Captions outside of the event are not quoted, the one at the peak only if it is typical."""
    given = scores(names="hint", events=((60, 80, 0.9),))
    frames = given.spans[:, 0]
    captions = [(int(frames[i]), SHORT if i < 60 else OTHER if i == 60 else FIRE) for i in (10, 20, 30, 60, 66, 70)]
    report = report_on(given, captions=captions, captions_file="captions.json")
    event = report.events[0]
    assert event.caption == FIRE and event.caption_s == np.round(66 * 16 / FPS, 3)
    text = " ".join(Renderer().render(report, "md").split())
    assert f"The caption at 00:00:35.2 reads: “{FIRE}” Robbery?" in text
    assert f"lautet: „{FIRE}“ Raub?" in " ".join(Renderer("de").render(report, "md").split())


def test_a_quoted_caption_ends_the_sentence():
    """Captioning models leave out the full stop, and the next sentence follows."""
    bare = FIRE.rstrip(".")
    report = report_on(scores(names="hint", events=((60, 80, 0.9),)), captions=[(1100, bare)])
    english, german = (" ".join(Renderer(language).render(report, "md").split()) for language in ("en", "de"))
    assert f"reads: “{bare}”. Robbery?" in english
    assert f"lautet: „{bare}“. Raub?" in german


def test_without_a_caption_in_the_event_none_is_quoted():
    report = report_on(scores(names="hint", events=((60, 80, 0.9),)), captions=[(0, FIRE)])
    assert report.events[0].caption is None and report.events[0].caption_s is None
