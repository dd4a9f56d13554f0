"""Which sentences of a report are compared with texts of people."""

from explain_samples import report_on, scores

from kgvad.explain.quality.tables import explanation
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.rendering.sentences import with_sentences


def test_what_is_measured_is_what_the_summary_says_of_the_events():
    given = scores(names="hint", events=((60, 80, 0.9),))
    report = report_on(given, captions=[(1100, "A man runs away.")], captions_file="captions.json")
    said = explanation(with_sentences(report, Renderer().phrases))
    assert said == "The caption at 00:00:36.3 reads: “A man runs away.” Robbery?"
