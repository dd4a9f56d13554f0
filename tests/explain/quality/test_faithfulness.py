"""Deletion of what is cited: concepts and feature columns of categories that are sums over them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training_samples import config, samples, train

from kgvad.detector.api import Recipe
from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.explain.analysis.events import EventRule
from kgvad.explain.quality.faithfulness import concept_figures, examine
from kgvad.explain.quality.tables import faithfulness_table
from kgvad.explain.scorers.from_video import concept_terms
from kgvad.vectors import unit
from kgvad.video.feature_store import VideoEntry

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
        concepts=[
            SimpleNamespace(text=f"text {n}", qid=None, relation="related", path_text=None) for n in range(3 * CONCEPTS)
        ],
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


def figures(similarity):
    made = scores(similarity)
    return concept_figures(made, concept_terms(made, bank()), bank(), EventRule())


def test_the_cited_concepts_carry_the_category():
    similarity = np.zeros(3 * CONCEPTS, np.float32)
    similarity[[1, 4, 7]] = 1
    found = figures(similarity)
    assert found.drop > 0.3 and abs(found.drop_random) < 0.1
    assert found.kept > found.kept_random + 0.3


def test_equal_concepts_are_as_good_as_random_ones():
    similarity = np.zeros(3 * CONCEPTS, np.float32)
    similarity[:CONCEPTS] = 1
    found = figures(similarity)
    assert found.drop == pytest.approx(found.drop_random, abs=0.1)


def test_without_an_event_nothing_is_deleted():
    quiet = scores(np.eye(3 * CONCEPTS, dtype=np.float32)[0])
    quiet.scores[:] = 0
    assert concept_figures(quiet, concept_terms(quiet, bank()), bank(), EventRule()) is None


def test_cited_columns_carry_the_category_and_random_ones_do_not(tmp_path):
    """A run of the additive detector: what it cites decides, through the whole detector."""
    run = additive_run(tmp_path, kinds=3)
    features = np.random.default_rng(3).normal(size=(20, 12)).astype(np.float32)
    features[8:14, 2] += 4
    entry = VideoEntry(frame_count=320, fps=25.0, rows=20)
    found = examine(run, features, entry, "v", EventRule(onset=0.3, offset=0.2))
    assert found.column_drop > found.column_drop_random + 0.1
    assert found.columns_kept > found.columns_kept_random + 0.1
    table = faithfulness_table([found])
    assert "category, columns removed | 1" in table and "category with the columns alone | 1" in table


def test_a_single_category_is_decided_by_the_anomaly_score_and_its_columns_are_cited(tmp_path):
    run = additive_run(tmp_path, kinds=2)
    features = np.random.default_rng(3).normal(size=(20, 12)).astype(np.float32)
    features[8:14, 1] += 1.5
    x = torch.from_numpy(features)
    during = torch.zeros(20)
    during[8:14] = 1 / 6
    terms = run.detector.contributions(x, during)
    output = run.detector(x[None], torch.tensor([20]))
    assert float((terms[1].sum() + run.detector.bias).detach()) == pytest.approx(
        float(output.logits[0, 8:14].mean().detach()), abs=1e-4
    )
    found = examine(run, features, VideoEntry(frame_count=320, fps=25.0, rows=20), "v", EventRule(0.3, 0.2))
    assert found.column_drop > found.column_drop_random + 0.1  # of the score


OPTIONS = {"prior": 0, "ridge_local": 1.0, "ridge_video": 1.0, "ridge_category": 1.0}


def additive_run(folder, kinds):
    """A trained run of the additive detector; column k marks category k."""
    names = ("Normal", "Arson", "Fighting")[:kinds]
    columns = tuple(f"action {number}" for number in range(12))
    settings = config(
        detector="additive",
        options=OPTIONS,
        categories=names,
        dim=12,
        columns=columns,
        recipe=Recipe(epochs=60, learning_rate=0.02),
    )
    return train(samples(dim=12, kinds=kinds, each=16), settings, folder / "run")
