"""Joint spaces of images and texts as CLIP has them: narrow cosines, far from 0."""

from types import SimpleNamespace

import numpy as np
import pytest

from kgvad.detector.scoring.joint_scorer import category_similarity, joint_evidence

T, EVENT = 200, slice(90, 120)


def clip_like(scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Cosines of 200 snippets with 14 concepts, .18 to .27 for scale 1; concept 3 rises during the event."""
    rng = np.random.default_rng(seed)
    cosines = 0.225 + 0.009 * rng.normal(size=14) + 0.005 * rng.normal(size=(T, 14))
    cosines[EVENT, 3] += 0.025
    return (0.225 + scale * (np.clip(cosines, 0.18, 0.27) - 0.225)).astype(np.float32)


def bank(concepts: int = 14) -> SimpleNamespace:
    """Categories of two concepts each, the last is Normal."""
    owner = np.repeat(np.arange(concepts // 2), 2)
    return SimpleNamespace(categories=[f"c{i}" for i in range(concepts // 2)], normal=6, concept_category=owner)


def test_narrow_cosines_neither_saturate_nor_vanish():
    found = joint_evidence(clip_like(), bank(), 9, 3.0)
    assert found.log_odds.shape == (T,) and found.alignment.shape == (T, 7)
    assert np.median(found.log_odds) == pytest.approx(0, abs=1e-9)
    assert 0.1 < found.log_odds[EVENT].mean() < 3
    assert np.abs(found.log_odds).max() < 3
    quiet = np.r_[found.log_odds[:80], found.log_odds[130:]]
    assert found.log_odds[95:115].min() > quiet.max()
    assert found.alignment[EVENT].mean(0).argmax() == 1  # the category of concept 3


@pytest.mark.parametrize("scale", [0.2, 5.0])
def test_the_scale_comes_from_the_data(scale):
    one, other = joint_evidence(clip_like(), bank(), 9, 3.0), joint_evidence(clip_like(scale), bank(), 9, 3.0)
    np.testing.assert_allclose(other.log_odds, one.log_odds, atol=1e-2)


def test_a_still_video_has_no_evidence():
    still = np.tile(clip_like()[:1], (T, 1)) + 1e-6 * np.random.default_rng(1).normal(size=(T, 14))
    assert np.abs(joint_evidence(still.astype(np.float32), bank(), 9, 3.0).log_odds).max() < 0.01


def test_category_similarity_is_a_soft_maximum():
    own = SimpleNamespace(categories=["a", "b"], concept_category=np.array([0, 0, 1]))
    found = category_similarity(np.array([[0.3, 0.3, 0.1]], np.float32), own, 0.05)
    np.testing.assert_allclose(found, [[0.3, 0.1]], atol=1e-6)
    found = category_similarity(np.array([[0.9, 0.1, 0.1]], np.float32), own, 0.01)
    np.testing.assert_allclose(found[0, 0], 0.9 - 0.01 * np.log(2), atol=1e-6)
