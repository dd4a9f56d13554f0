"""What a report cites as the reason of a category is a term of the sum that decided it."""

from dataclasses import replace

import numpy as np
import pytest
from explain_samples import CATEGORIES, bank, report_on, scores, terms

from kgvad.explain.analysis.contributions import cited_concepts, cited_contributions
from kgvad.explain.analysis.events import find_events
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.scorers.base import ConceptTerms, exclude_snippets


def test_the_largest_terms_are_cited_relative_to_the_other_categories():
    span = find_events(scores())[0]
    known = bank(concept_vectors=np.eye(15, dtype=np.float32))
    found = cited_contributions(terms(), scores(), span, CATEGORIES[-1], known)
    assert [one.name for one in found] == ["extinguishing fire", "opening door", "reading", "running"]
    mean = (3 * 0.01 + 2) / 4  # over the four abnormal categories
    assert found[0].value == pytest.approx(2 - mean, abs=1e-4)
    assert found[2].value == pytest.approx(-1 - (3 * 0.01 - 1) / 4, abs=1e-4)
    assert found[0].concept == known.concepts[13].text and found[0].similarity == 1.0
    assert found[0].share == pytest.approx(1.4925 / (0.7425 + 1.4925), abs=1e-4)  # of the terms for the category
    assert [one.share for one in found[2:]] == pytest.approx([0.7575 / 0.765, 0.0075 / 0.765], abs=1e-4)


def test_a_concept_that_is_not_close_is_not_named():
    span = find_events(scores())[0]
    far = bank(concept_vectors=np.full((15, 15), 1.0, np.float32))  # cosine 1 / sqrt(15) with every column
    found = cited_contributions(terms(), scores(), span, CATEGORIES[-1], far)
    assert all(one.concept is None for one in found)
    assert cited_contributions(terms(), scores(), span, CATEGORIES[-1], None)[0].concept is None


def test_snippets_without_a_scene_start_no_event_and_are_not_normal():
    given = scores()
    peak = int(given.scores.argmax())
    quality = ["ok"] * len(given.scores)
    quality[peak - 2 : peak + 3] = ["flat"] * 5
    masked, excluded = exclude_snippets(given, quality, ("black", "flat", "fade"))
    assert excluded.sum() == 5 and masked.scores[peak] == given.scores.min()
    report = report_on(masked, excluded=excluded)
    assert report.summary.excluded_s > 0 and "excluded" in report.limitations
    same, nothing = exclude_snippets(given, ["ok"] * len(given.scores), ("flat",))
    assert nothing is None and same is given


def test_a_cue_that_we_wrote_explains_no_column():
    """It is what the category looks like, not a fact of the graph."""
    span = find_events(scores())[0]
    on_cues = replace(terms(), vectors=np.eye(4, 15, 12, dtype=np.float32))  # "extinguishing fire" lies on the cue
    known = bank(concept_vectors=np.eye(15, dtype=np.float32))
    found = cited_contributions(on_cues, scores(), span, CATEGORIES[-1], known)
    assert found[0].name == "extinguishing fire" and found[0].concept is None


def test_concepts_of_a_category_by_captions_are_cited_with_their_share_of_the_similarity():
    """Weighted by the scores, as the category is; concepts of other categories have no share."""
    given, known = scores(), bank()
    span = find_events(given)[0]
    values = np.zeros((len(given.scores), 15), np.float32)
    values[:, 0] = 9  # of Normal
    values[span.peak_snippet, 12] = 1
    values[slice(*span.snippets), 13] = 0.05
    found = cited_concepts(ConceptTerms(values), given, span, CATEGORIES[-1], known)
    weights = given.scores[slice(*span.snippets)].astype(float) + 1e-6
    terms = np.array([weights[span.peak_snippet - span.snippets[0]] / weights.sum(), 0.05])
    order = np.argsort(-terms)
    assert [one.name for one in found] == [known.concepts[12 + i].text for i in order]
    assert [one.share for one in found] == pytest.approx(terms[order] / terms.sum(), abs=1e-4)
    assert found[0].relation == known.concepts[12 + order[0]].relation


def test_the_report_states_the_shares():
    given = scores()
    values = np.ones((len(given.scores), 15), np.float32)
    origin = given.origin.model_copy(update={"names_categories": "hint", "trained": False})
    report = report_on(replace(given, origin=origin), bank=bank(), terms=ConceptTerms(values), captions_file="c.json")
    shares = [one.share for one in report.events[0].contributions]
    assert shares == [pytest.approx(1 / 3, abs=1e-4)] * 3
    not_seen = {"en": "not what this video shows", "de": "nicht, was dieses Video zeigt"}
    for language, text in (("en", "33% of the similarity"), ("de", "33 % der Ähnlichkeit")):
        said = " ".join(Renderer(language).render(report, "md").split())
        assert said.count(not_seen[language]) == len(report.events), "one of the three is a visual cue"
        assert said.count(text) == 3 * len(report.events)
