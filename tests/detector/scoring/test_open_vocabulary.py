"""A trained run names categories that it was not trained on."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from anchors_samples import tiny_bank
from torch.nn import functional as F

from kgvad.detector.api import Recipe
from kgvad.detector.registry import build
from kgvad.detector.run import Run, RunConfig, make_problem
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.scoring.open_vocabulary import open_run
from kgvad.errors import UsageError
from kgvad.video.feature_store import VideoEntry


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return tiny_bank(tmp_path_factory)


def trained(bank, detector="anchor-aligned", options=None, encoder="c3d", dim=10):
    """A run with random parameters, as if trained."""
    config = RunConfig(
        detector=detector, options=options or {}, recipe=Recipe(), seed=0, dataset="tiny", dim=dim, encoder=encoder,
        categories=tuple(bank.categories), normal=bank.normal, features_fingerprint="f",
        bank_fingerprint=bank.fingerprint, videos=100, abnormal_videos=50,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build(detector, make_problem(config, bank), options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return Run(Path("run"), config, model, bank, "abc")


def test_new_categories_come_last_and_change_nothing_else(parts):
    bank, encoder, store = parts
    run = trained(bank)
    opened = open_run(run, ["a dog attacks a person", "Q45393"], store, encoder=encoder)
    assert opened.config.categories[:3] == run.config.categories
    assert opened.config.categories[3] == "a dog attacks a person" and len(opened.config.categories) == 5
    x = np.random.default_rng(0).normal(size=(9, 10)).astype(np.float32)
    entry = VideoEntry(frame_count=150, fps=25.0, rows=9)
    before, after = (score_features(r, x, entry, video="v") for r in (run, opened))
    np.testing.assert_array_equal(before.scores, after.scores)
    np.testing.assert_allclose(before.alignment, after.alignment[:, :3], rtol=1e-5, atol=1e-5)
    assert after.categories == list(opened.config.categories) and after.normal == before.normal
    assert after.concept_alignment.shape[1] == len(opened.bank.concepts) > before.concept_alignment.shape[1]
    assert after.origin.bank_fingerprint == opened.bank.fingerprint != bank.fingerprint
    assert run.detector.category_vectors.shape[0] == 3  # the run itself is as it was


def test_a_new_category_is_its_anchor_alone(parts):
    bank, encoder, store = parts
    run = trained(bank, options={"guidance": False})
    model = open_run(run, ["a dog attacks a person"], store, encoder=encoder).detector
    x = torch.randn(1, 7, 10)
    found = model(x, torch.tensor([7])).alignment[0, :, 3]
    v = model.snippet_projection(10.0 * F.normalize(x - model.snippet_centre, dim=-1))[0]
    torch.testing.assert_close(found, v @ model.anchor_projection(model.anchors[3]) / math.sqrt(128))


def test_in_a_shared_space_the_anomaly_scores_stay(parts):
    bank, encoder, store = parts
    dim = bank.anchors.shape[1]
    run = trained(bank, encoder=f"{bank.encoder.name}-text", dim=dim)
    assert run.detector.category_cosine_weight is not None
    opened = open_run(run, ["a dog attacks a person"], store, encoder=encoder)
    x, n = torch.randn(1, 7, dim), torch.tensor([7])
    torch.testing.assert_close(opened.detector(x, n).logits, run.detector(x, n).logits)


def test_what_cannot_be_opened_says_so(parts):
    bank, encoder, store = parts
    fixed = trained(bank, "vadclip", {"width": 8})
    with pytest.raises(UsageError, match="vadclip names only the categories it was trained on"):
        open_run(fixed, ["a dog"], store, encoder=encoder)
    free = trained(bank, options={"anchors": False})
    with pytest.raises(UsageError, match="anchor-aligned names only"):
        open_run(free, ["a dog"], store, encoder=encoder)
    with pytest.raises(UsageError, match="was trained without anchors"):
        open_run(Run(Path("run"), free.config, free.detector, None, "x"), ["a dog"], store, encoder=encoder)
    with pytest.raises(UsageError, match="already"):
        open_run(trained(bank), ["Arson"], store, encoder=encoder)
