"""Alarm metrics, calibration and metrics by category, worked out by hand."""

import numpy as np
import pytest
from detector_samples import evaluated_video

from kgvad.detector.evaluation.alarms import alarm_metrics, calibration_error, recall_at
from kgvad.detector.evaluation.category_metrics import category_auc, confusion

NAMES = ("Normal", "A", "B")


def test_alarms_by_hand():
    videos = [
        evaluated_video("n", [0, 10, 20], np.zeros((2, 3)), scores=[0.2, 0.6]),
        evaluated_video("a", [0, 10, 20, 30], np.zeros((3, 3)), [("A", 5, 25)], scores=[0.1, 0.9, 0.7]),
        evaluated_video("b", [0, 10, 20], np.zeros((2, 3)), [("B", 0, 10)], scores=[0.3, 0.3]),
    ]
    found = alarm_metrics(videos, 0.5)
    assert found.false_alarm_rate == 0.5  # 10 of 20 normal frames
    assert found.events_found == 0.5
    assert found.delay_frames == 5  # the event starts at 5, the alarm at 10
    # .9 finds 10 of 30 abnormal frames without a false alarm; .7 adds 5 abnormal and 5 of 40 normal frames
    assert recall_at(videos, 0.1) == pytest.approx(10 / 30)
    assert recall_at(videos, 0.125) == pytest.approx(15 / 30)


def test_calibration_by_hand():
    videos = [evaluated_video("a", [0, 10, 20], np.zeros((2, 3)), [("A", 0, 5)], scores=[0.95, 0.05])]
    # bins: .95 against 5 of 10; .05 against 0 of 10
    assert calibration_error(videos) == pytest.approx((0.45 + 0.05) / 2)


def test_category_auc_and_confusion():
    videos = [
        evaluated_video("n", [0, 10], [[0, 0, 0]], scores=[0.5]),
        evaluated_video("a", [0, 10], [[9, 1, 0]], [("A", 0, 10)], scores=[0.9]),
        evaluated_video("b", [0, 10], [[9, 1, 0]], [("B", 0, 10)], scores=[0.1]),
    ]
    assert category_auc(videos, NAMES[1:]) == {"A": 1.0, "B": 0.0}
    assert confusion(videos, NAMES, 0) == {"A": {"A": 1}, "B": {"A": 1}}
    assert confusion(videos, NAMES, 0, with_normal=True) == {
        "Normal": {"Normal": 1},
        "A": {"Normal": 1},
        "B": {"Normal": 1},
    }
    assert videos[1].video_score == 0.9
