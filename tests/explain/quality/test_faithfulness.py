"""Deletion of the concepts that carry a category which is a sum over concepts."""

from types import SimpleNamespace

import numpy as np
import pytest

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.explain.analysis.events import EventRule
from kgvad.explain.quality.faithfulness import concept_deletion
from kgvad.vectors import unit

T, CONCEPTS = 40, 12  # of each category


def bank():
    vectors = unit(np.random.default_rng(0).normal(size=(3 * CONCEPTS, 64)).astype(np.float32))
    anchors = np.stack([unit(vectors[i * CONCEPTS : (i + 1) * CONCEPTS].mean(0)) for i in range(3)])
    return SimpleNamespace(
        categories=["Arson", "Fighting", "Normal"],
        normal=2,
        anchors=anchors,
        concept_vectors=vectors,
        concept_category=np.repeat(np.arange(3), CONCEPTS),
        concepts=[None] * 3 * CONCEPTS,
    )


def scores(similarity):
    """An event in the middle, in which the text is similar to some concepts."""
    made = bank()
    x = np.zeros((T, 64), np.float32)
    x[15:25] = unit(similarity @ made.concept_vectors)
    level = np.zeros(T, np.float32)
    level[15:25] = 0.9
    return Scores(
        video="v",
        fps=30.0,
        frame_count=T * 16,
        spans=np.stack([np.arange(T) * 16, np.arange(1, T + 1) * 16], 1),
        scores=level,
        origin=Origin(scorer="training-free", names_categories="hint"),
        alignment=x @ made.anchors.T,
        categories=made.categories,
        normal=2,
        concept_alignment=x @ made.concept_vectors.T,
    )


def test_the_cited_concepts_carry_the_category():
    similarity = np.zeros(3 * CONCEPTS, np.float32)
    similarity[[1, 4, 7]] = 1
    cited, random = concept_deletion(scores(similarity), bank(), EventRule(), most=3)
    assert cited > 0.3 and abs(random) < 0.1


def test_equal_concepts_are_as_good_as_random_ones():
    similarity = np.zeros(3 * CONCEPTS, np.float32)
    similarity[:CONCEPTS] = 1
    cited, random = concept_deletion(scores(similarity), bank(), EventRule(), most=3)
    assert cited == pytest.approx(random, abs=0.1)


def test_without_an_event_nothing_is_deleted():
    quiet = scores(np.eye(3 * CONCEPTS, dtype=np.float32)[0])
    quiet.scores[:] = 0
    assert concept_deletion(quiet, bank(), EventRule()) is None
