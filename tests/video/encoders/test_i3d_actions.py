"""Scores of named actions as features: real clips, the store, the command."""

import numpy as np
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.errors import FeatureError, UsageError
from kgvad.video.action_labels import action_labels
from kgvad.video.action_recognition import action_probabilities
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.extract import extract_video
from kgvad.video.extract_folder import extract_folder
from kgvad.video.feature_store import FeatureStore
from kgvad.video.write import write_video


@pytest.fixture
def encoder(weights):
    weights("i3d-k400")
    return load_visual_encoder("i3d-actions")


def clip(tmp_path, count=30):
    base = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return write_video(tmp_path / "clip.mp4", [np.roll(base, i, axis=1) for i in range(count)], 30)


def test_a_known_action_is_recognised_as_features_and_as_a_hint(encoder, shared):
    path = shared / "videos/actions/cricket.avi"
    made = extract_video(path, encoder)
    assert made.features.shape == (2, 400)
    assert made.entry.spans().tolist() == [[0, 40], [40, 80]]
    chances = softmax(made.features, axis=1)
    assert encoder.columns[chances.mean(0).argmax()] == "playing cricket"
    assert chances.mean(0).max() > 0.98
    # the window at the start of the video is that of the first row
    alone = action_probabilities(path, [(0, 45)], windows=1, info=made.info)[0]
    np.testing.assert_allclose(alone, chances[0], atol=1e-4)


def test_store_keeps_names_rule_and_spans(encoder, tmp_path):
    done = extract_folder(clip(tmp_path), tmp_path / "out", encoder)
    store = FeatureStore.open(done.store.root)
    assert store.manifest.columns == list(action_labels())
    rule = store.manifest.rule
    assert (rule.step_s, rule.rate_hz, rule.frames, rule.assumed_fps) == (1.6, 10, 18, None)
    assert store.info("clip").spans().tolist() == [[0, 30]]
    assert store.load("clip").shape == (1, 400)
    assert extract_folder(clip(tmp_path).parent / "clip.mp4", tmp_path / "out", encoder).reused == []  # rewritten
    assert extract_folder(tmp_path / "clip.mp4", tmp_path / "out", encoder).reused == ["clip"]


def test_the_command_takes_a_step_and_another_step_is_another_store(weights, tmp_path):
    weights("i3d-k400")
    arguments = ["extract", str(clip(tmp_path, 60)), "-e", "i3d-actions", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--step", "1.0"])
    assert result.exit_code == 0, result.output
    store = FeatureStore.open(tmp_path / "out")
    assert store.info("clip").edges == [0, 30, 60]
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, FeatureError)
    assert "made otherwise (rule" in str(again.exception)


def test_fingerprints_tell_steps_apart(weights):
    weights("i3d-k400")
    made = [load_visual_encoder("i3d-actions", **options) for options in ({}, {"step_s": 1.07}, {"stride": 1})]
    assert len({one.fingerprint for one in made}) == 3


def test_wrong_input(encoder):
    with pytest.raises(FeatureError, match="a window has 16 frames instead of 18"):
        encoder.encode(np.zeros((1, 16, 32, 32, 3), np.uint8))
    with pytest.raises(UsageError, match="one crop"):
        load_visual_encoder("i3d-actions", crop="ten")
