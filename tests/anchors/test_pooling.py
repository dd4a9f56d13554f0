"""Poolings, worked out by hand."""

import numpy as np
import pytest

from kgvad.anchors.pooling import POOLINGS, balanced, pooling
from kgvad.errors import UsageError


def test_balanced_counts_many_facts_of_one_kind_as_one():
    vectors = np.eye(6, dtype=np.float32)
    relations = ["cue", "label", "related", "subclass", "superclass", "alias"]
    weights = np.array([1, 1, 0.7, 0.5, 0, 0.6], np.float32)  # the superclass is excluded
    # cue 1.0 to axis 0; label 0.3 to axis 1; two facts 0.8 to the middle of axes 2 and 3; the alias does not count
    raw = np.array([1, 0.3, 0.8 / 2**0.5, 0.8 / 2**0.5, 0, 0])
    assert np.allclose(balanced(vectors, weights, relations), raw / np.linalg.norm(raw), atol=1e-6)
    # without a cue the label counts as much as the facts
    raw = np.array([0, 1, 1 / 2**0.5, 1 / 2**0.5, 0, 0])
    assert np.allclose(balanced(vectors[1:], weights[1:], relations[1:]), raw / 2**0.5, atol=1e-6)
    assert np.allclose(balanced(vectors[5:], weights[5:], ["alias"]), vectors[5])


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_gives_a_unit_vector_and_one_concept_is_itself(name):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(6, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relations = ["label", "cue", "cue", "alias", "superclass", "related"]
    anchor = pooling(name)(vectors, np.full(6, 0.5, np.float32), relations)
    assert anchor.shape == (8,) and abs(np.linalg.norm(anchor) - 1) < 1e-5
    assert np.allclose(pooling(name)(vectors[:1], np.ones(1, np.float32), ["label"]), vectors[0], atol=1e-6)
    with pytest.raises(UsageError, match="balanced"):
        pooling("median")
