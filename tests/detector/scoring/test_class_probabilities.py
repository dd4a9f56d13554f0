"""Class probabilities: both rules against numbers worked out by hand."""

import numpy as np
import pytest

from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.errors import UsageError

LOGITS = np.log([[2.0, 1.0, 3.0], [8.0, 1.0, 1.0]])  # Normal, A, B
SCORES = np.array([0.8, 0.5])


def test_softmax_includes_normal_and_ignores_the_score():
    rule = ClassRule()
    np.testing.assert_allclose(rule.probabilities(SCORES, LOGITS, 0), [[2 / 6, 1 / 6, 3 / 6], [0.8, 0.1, 0.1]])
    np.testing.assert_array_equal(rule.probabilities(1 - SCORES, LOGITS, 0), rule.probabilities(SCORES, LOGITS, 0))


def test_dsanet_gives_normal_the_rest():
    found = ClassRule("dsanet").probabilities(SCORES, LOGITS, 0)
    np.testing.assert_allclose(found, [[0.2, 0.2, 0.6], [0.5, 0.25, 0.25]])  # .8 in parts of 1 : 3, .5 of 1 : 1


def test_a_temperature_takes_roots_of_the_odds():
    """At temperature 2: odds 4 become 2, so p = 2/3; 1 : 3 becomes 1 : sqrt(3)."""
    row = ClassRule("dsanet", 2).probabilities(SCORES, LOGITS, 0)[0]
    np.testing.assert_allclose(row, [1 / 3, 2 / 3 / (1 + 3**0.5), 2 / 3 * 3**0.5 / (1 + 3**0.5)])
    row = ClassRule("softmax", 2).probabilities(SCORES, LOGITS, 0)[0]
    np.testing.assert_allclose(row, np.sqrt([2, 1, 3]) / np.sqrt([2, 1, 3]).sum())


def test_scores_of_0_and_1_stay_and_normal_may_have_any_index():
    logits = np.array([[1.0, 0.0, 900.0]] * 2, np.float32)
    found = ClassRule("dsanet", 5).probabilities(np.array([0, 1], np.float32), logits, 2)
    q = 1 / (1 + np.exp(-0.2))
    np.testing.assert_allclose(found, [[0, 0, 1], [q, 1 - q, 0]])


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_unknown_rules_and_temperatures_are_refused(wrong):
    with pytest.raises(UsageError, match=r"--temperature .* above 0"):
        ClassRule("dsanet", wrong)
    with pytest.raises(UsageError, match="'sigmoid'; use softmax or dsanet"):
        ClassRule("sigmoid")
