"""Text measures by hand, and deletion on a detector whose behaviour is known."""

import json
import math

import numpy as np
import pytest

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.errors import ReportError, UsageError
from kgvad.explain.analysis.events import EventRule, find_events, outside_events
from kgvad.explain.quality import faithfulness
from kgvad.explain.quality.text_quality import read_references, rouge_l, text_quality, tokens


def test_rouge_l_by_hand():
    # common subsequence "the cat the mat": 4 of 6 and 4 of 5 words
    assert rouge_l("the cat sat on the mat", "the cat on mat the") == pytest.approx(2 * 4 / 11)
    assert rouge_l("the cat is on the mat", "the cat sat on the mat") == pytest.approx(2 * 5 / 12)
    assert rouge_l("a b", "c d") == 0
    assert rouge_l("", "a") == 0
    assert tokens("A man's car, 2 doors.") == ["a", "man", "s", "car", "2", "doors"]


def test_identical_texts_are_perfect_and_foreign_ones_are_not():
    same = ["two men break the window of a parked car", "a fire burns in the middle of the bus"]
    best = text_quality(same, [[text] for text in same])
    assert best.bleu4.value == pytest.approx(1)
    assert best.rouge_l.value == pytest.approx(1)
    assert best.meteor.value > 0.99
    worst = text_quality(["x y z", "u v w"], [[text] for text in same])
    assert worst.rouge_l.value == 0
    assert worst.bleu4.value < 0.05


def test_bleu_by_hand():
    # candidate of 5 words against 6: precisions 5/5, 4/4, 3/3, 2/2, brevity exp(1 - 6/5)
    found = text_quality(["a b c d e"], [["a b c d e f"]])
    assert found.bleu4.value == pytest.approx(math.exp(1 - 6 / 5))


def test_the_best_of_several_references_counts_and_cosine_is_theirs():
    vectors = {"x": [1, 0], "far": [0, 1], "near": [0.6, 0.8]}
    found = text_quality(["x"], [["far", "near"]], lambda texts: np.array([vectors[t] for t in texts], float))
    assert found.cosine.value == pytest.approx(0.6)


@pytest.mark.parametrize(("candidates", "references"), [([], []), (["a"], []), (["a"], [[]])])
def test_texts_without_references_are_refused(candidates, references):
    with pytest.raises(ReportError):
        text_quality(candidates, references)


def test_references_of_every_form_are_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(
        json.dumps(
            {"a/v1.mp4": "one", "v2": ["x", "y"], "v3": {"sentences": ["s"]}, "v4": {"events_summary": ["e"]}, "v5": []}
        )
    )
    assert read_references(path) == {"a/v1": ["one"], "v2": ["x", "y"], "v3": ["s"], "v4": ["e"]}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"v": 3}'])
def test_files_without_references_are_refused(content, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ReportError):
        read_references(path)
    with pytest.raises(UsageError):
        read_references(tmp_path / "none.json")


def brightness(features):
    """A detector that scores a row by its first value and names category A by its second."""
    starts = np.arange(len(features)) * 16
    logits = np.stack([np.zeros(len(features)), features[:, 1], np.zeros(len(features))], 1)
    return Scores(
        "v",
        16.0,
        len(features) * 16,
        np.stack([starts, starts + 16], 1),
        np.clip(features[:, 0], 0, 1).astype(np.float32),
        alignment=(4 * logits).astype(np.float32),
        categories=["Normal", "A", "B"],
        normal=0,
        origin=Origin(trained=True, names_categories="yes"),
    )


def test_removing_the_event_removes_its_score_and_category_and_random_snippets_do_not():
    features = np.zeros((100, 2), np.float32)
    features[40:46] = (0.9, 1.0)
    base = brightness(features)
    events = find_events(base, EventRule())
    result = faithfulness._deletion(
        brightness, features, base, events, outside_events(base, events), np.random.default_rng(0)
    )
    whole = (6 * 0.9 + 0) / 7  # mean of the highest 100 // 16 + 1 rows
    assert result.score_drop == pytest.approx(whole, abs=1e-5)
    assert result.score_drop_random < 0.4 * whole
    share = math.exp(4) / (math.exp(4) + 1)
    assert result.category_drop == pytest.approx(share - 0.5, abs=1e-3)
    assert result.category_drop_random < 0.2
    assert result.sufficiency == pytest.approx(1, abs=1e-5)
    assert result.sufficiency_random < 0.6


def test_as_many_random_snippets_are_masked_as_cited():
    rng = np.random.default_rng(1)
    for lengths in ([3], [5, 5, 5], [40, 40], [99]):
        assert faithfulness._runs(lengths, 100, rng).sum() == sum(lengths)


def test_stability_is_the_overlap_of_the_events():
    features = np.zeros((20, 2), np.float32)
    features[5:10, 0] = 1
    moved = np.zeros((20, 2), np.float32)
    moved[6:11, 0] = 1
    base, rule = brightness(features), EventRule()
    blank = faithfulness.Faithfulness(0, 0, 0, 0, 0)
    result = faithfulness._stability(base, brightness(moved), find_events(base, rule), rule, blank)
    assert result.overlap == pytest.approx(4 / 6)
