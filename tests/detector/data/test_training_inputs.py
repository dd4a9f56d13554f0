"""Features that are brought to mean zero and unit deviation before a detector sees them."""

from dataclasses import replace

import pytest
import torch
from detector_samples import kgvad, make_archive, train

from kgvad.detector.api import Problem
from kgvad.detector.registry import build
from kgvad.detector.run import Run, read_config

PROBLEM = Problem(6, ("Normal", "A"), 0, torch.eye(2, 4), caption_dim=5)
OPTIONS = {"width": 8, "positions": 16, "layers": 1}


def test_a_detector_sees_standardised_rows_and_padding_stays_zero():
    torch.manual_seed(0)
    videos = [torch.rand(n, 6) * 0.01 + 5 for n in (9, 4)]
    words = [torch.rand(n, 5) - 3 for n in (9, 4)]
    torch.manual_seed(1)
    plain = build("semvad", PROBLEM, OPTIONS).eval()
    torch.manual_seed(1)
    moved = build("semvad", replace(PROBLEM, standardise=True), OPTIONS).eval()
    rows, text = moved.fit_input("features", videos), moved.fit_input("captions", words)
    for kind in (rows, text):
        joined = torch.cat(kind)
        torch.testing.assert_close(joined.mean(0), torch.zeros(joined.shape[1]), atol=1e-3, rtol=0)
        assert joined.square().mean().item() == pytest.approx(1, rel=1e-3)

    def padded(x):
        return torch.nn.utils.rnn.pad_sequence(x, batch_first=True)

    lengths = torch.tensor([9, 4])
    expected = plain(padded(rows), lengths, padded(text))
    found = moved(padded(videos), lengths, padded(words))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.alignment, expected.alignment)


def test_training_keeps_the_statistics_and_the_batch_size(tmp_path):
    (tmp_path / "data").mkdir()
    kgvad("features", "import", make_archive(tmp_path / "data"), "--dataset", "ucf", "--output", tmp_path / "features")
    train(tmp_path / "features", tmp_path / "run", "--standardise", "--batch", 3)
    recipe = read_config(tmp_path / "run").recipe
    assert (recipe.standardise, recipe.normal_batch, recipe.abnormal_batch) == (True, 3, 3)
    detector = Run.load(tmp_path / "run").detector
    assert detector.features_scale != 1
    assert detector.features_centre.abs().sum() > 0
    train(tmp_path / "features", tmp_path / "other")
    assert not read_config(tmp_path / "other").recipe.standardise
