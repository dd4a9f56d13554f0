"""Calibration of category probabilities, worked out by hand, and as a user sees it."""

import json

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.detector.evaluation.category_metrics import category_calibration
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo

CATEGORIES = ("Normal", "Arson", "Fighting")


def video(label, probability):
    """An abnormal video whose first category, Arson, has this probability among the two; Normal's logit is high."""
    logits = np.log([[50.0, probability, 1 - probability]])
    return EvaluatedVideo("v", (label,) if label else (), np.ones(1), np.array([0, 16]), (), logits)


def test_the_error_is_the_mean_gap_between_probability_and_accuracy():
    videos = [video("Arson", 0.85), video("Fighting", 0.81), video("Arson", 0.62), video("", 0.99)]
    upper, lower = abs((0.85 + 0.81) / 2 - 0.5), abs(0.62 - 1)
    assert category_calibration(videos, CATEGORIES, 0) == pytest.approx((2 * upper + lower) / 3)


def test_a_temperature_corrects_too_much_confidence():
    """Nine in ten are named at 90 % after the logits were doubled."""
    doubled = 0.81 / (0.81 + 0.01)
    videos = [video("Arson", doubled)] * 9 + [video("Fighting", doubled)]
    assert category_calibration(videos, CATEGORIES, 0) == pytest.approx(doubled - 0.9)
    assert category_calibration(videos, CATEGORIES, 0, temperature=2.0) == pytest.approx(0, abs=1e-9)


def test_one_abnormal_category_has_no_error():
    single = EvaluatedVideo("v", ("Anomaly",), np.ones(1), np.array([0, 16]), (), np.zeros((1, 2)))
    assert np.isnan(category_calibration([single], ("Normal", "Anomaly"), 0))


def test_evaluate_shows_the_error_before_and_after_the_temperature_of_the_run(tmp_path):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    train(tmp_path / "features", tmp_path / "run")
    options = ("--features", tmp_path / "features", "--resamples", 0, "--json", tmp_path / "e.json")
    thresholds = tmp_path / "run" / "thresholds.json"
    thresholds.unlink(missing_ok=True)
    shown = kgvad("evaluate", tmp_path / "run", *options)
    assert "ECE: calibration error of the category." in shown and "ECE, T" not in shown
    (method,) = json.loads((tmp_path / "e.json").read_text())["methods"]
    before = method["runs"][0]["calibration"]
    assert before["temperature"] is None and before["error_with_temperature"] is None
    about = {"onset": 0.5, "false_alarm_rate": 0, "miss_rate": 0, "normal_videos": 9, "abnormal_videos": 9}
    thresholds.write_text(json.dumps(about | {"temperature": 40.0}))
    shown = kgvad("evaluate", tmp_path / "run", *options)
    (method,) = json.loads((tmp_path / "e.json").read_text())["methods"]
    after = method["runs"][0]["calibration"]
    assert after["error"] == before["error"] and after["error_with_temperature"] != before["error"]
    assert method["summary"]["calibration_with_temperature"]["mean"] == after["error_with_temperature"]
    assert f"{100 * after['error_with_temperature']:.1f}" in shown and "; ECE, T: with the" in shown
