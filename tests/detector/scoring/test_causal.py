"""Causal scores: what arrives later does not change them."""

import numpy as np
import pytest

from kgvad.detector.run import CAUSAL_THRESHOLDS, Run
from kgvad.detector.scoring.causal import CausalScorer
from kgvad.detector.scoring.infer import infer
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.errors import FeatureError, RunError


@pytest.fixture(scope="module")
def run():
    return Run.load(UCF_ACTIONS).causal()


def features(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 400)).astype(np.float32)


def test_a_stream_gets_the_scores_of_the_video_so_far(run):
    x = features(40)
    scorer = CausalScorer(run.detector)
    streamed = [scorer.push(row) for row in x]
    whole = infer(run.detector, x)
    np.testing.assert_allclose([one["scores"][0] for one in streamed], whole["scores"], atol=1e-6)
    part = infer(run.detector, x[:20])
    np.testing.assert_allclose(part["scores"], whole["scores"][:20], atol=1e-6)
    assert streamed[-1]["alignment"].shape == (1, 14)


def test_what_is_long_past_is_forgotten(run):
    scorer, late = CausalScorer(run.detector, history=10), CausalScorer(run.detector, history=10)
    x = features(30)
    for row in x:
        found = scorer.push(row)
    for row in x[20:]:
        expected = late.push(row)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)


def test_the_causal_form_has_its_own_threshold_and_the_same_weights(run):
    plain = Run.load(UCF_ACTIONS)
    assert run.thresholds.onset != plain.thresholds.onset
    assert run.detector.local_weight is not plain.detector.local_weight
    form = plain.causal()
    assert form.detector.local_weight is plain.detector.local_weight
    assert not plain.detector.options.causal


def test_a_row_of_another_width_is_refused(run):
    scorer = CausalScorer(run.detector)
    scorer.push(features(1)[0])
    with pytest.raises(FeatureError, match="dimensions"):
        scorer.push(np.zeros(3, np.float32))


def test_a_run_without_causal_thresholds_says_how_to_get_them(tmp_path):
    import shutil

    shutil.copytree(UCF_ACTIONS, tmp_path / "run")
    (tmp_path / "run" / CAUSAL_THRESHOLDS).unlink()
    with pytest.raises(RunError, match="train again with --threshold-folds"):
        Run.load(tmp_path / "run").causal()
