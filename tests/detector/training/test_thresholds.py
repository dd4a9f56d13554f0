"""The onset threshold is measured on held-out videos and used by reports."""

import json

import numpy as np
import pytest
from detector_samples import kgvad, make_archive
from training_samples import samples

from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.run import read_thresholds
from kgvad.detector.scoring.scores import Origin
from kgvad.detector.thresholds import RunThresholds
from kgvad.detector.training.thresholds import assign_folds, choose_category_margin, choose_threshold
from kgvad.errors import RunError
from kgvad.explain.analysis.events import Thresholds, default_rule


def test_the_lowest_threshold_that_few_enough_normal_videos_reach():
    normal = np.array([0.1, 0.2, 0.3, 0.4, 0.9] * 8)  # 8 of 40 at 0.9
    abnormal = np.array([0.35, 0.5, 0.95, 0.95])
    tight = choose_threshold(normal, abnormal, 0.05)
    assert 0.9 < tight.onset < 0.91 and tight.false_alarm_rate == 0 and tight.miss_rate == 0.5
    loose = choose_threshold(normal, abnormal, 0.2)
    assert 0.4 < loose.onset < 0.41 and loose.false_alarm_rate == pytest.approx(0.2) and loose.miss_rate == 0.25
    assert (loose.normal_videos, loose.abnormal_videos) == (40, 4)


def test_videos_are_spread_evenly_and_crops_stay_together():
    videos = samples(each=8)
    folds = assign_folds([*videos, *videos], 0, 4, 0)
    assert set(folds) == {sample.video for sample in videos}
    normal = [folds[f"0-{number}"] for number in range(8)]
    assert sorted(normal) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert assign_folds(videos, 0, 4, 0) == folds != assign_folds(videos, 0, 4, 1)
    assert assign_folds(videos[:9], 0, 4, 0) is None  # one abnormal video


def test_a_category_is_named_from_the_smallest_lead_at_which_half_of_the_names_are_right():
    start = RunThresholds(onset=0.5, false_alarm_rate=0, miss_rate=0, normal_videos=1, abnormal_videos=40)
    lead = np.repeat([0.2, 2.0], 20)  # in logits: probabilities .55 and .88 at temperature 1
    logits = np.stack([lead, np.zeros(40)], 1)
    targets = np.zeros((40, 2), bool)
    right = np.r_[np.arange(20) < 6, np.arange(20) < 18]  # 30 % of the first, 90 % of the second
    targets[np.arange(40), np.where(right, 0, 1)] = True
    found = choose_category_margin(start, logits, targets)
    assert (found.named_rate, found.named_correct) == (1.0, 0.6)
    targets[20:34] = [False, True]  # now only 20 + 30 % are right
    wrong = choose_category_margin(start, logits, targets)
    assert wrong.category_margin == 1 and wrong.named_rate == 0 and wrong.named_correct is None
    hard = np.r_[np.arange(20) < 1, np.arange(20) < 18]
    targets[:] = False
    targets[np.arange(40), np.where(hard, 0, 1)] = True
    some = choose_category_margin(start, logits, targets)
    p = 1 / (1 + np.exp(-2 / some.temperature)), 1 / (1 + np.exp(-0.2 / some.temperature))
    assert (some.named_rate, some.named_correct) == (0.5, 0.9)
    assert 2 * p[1] - 1 < some.category_margin <= 2 * p[0] - 1
    assert choose_category_margin(start, logits[:, :1], targets[:, :1]) == start  # one category only


def test_identical_videos_share_a_fold():
    videos = samples(each=8)
    first = videos[0].features
    same = [
        TrainingSample(one.video, one.target, first.copy()) if one.video in ("0-1", "0-2") else one for one in videos
    ]
    folds = assign_folds(same, 0, 4, 0)
    assert folds["0-0"] == folds["0-1"] == folds["0-2"]


def test_a_small_training_set_gets_a_threshold_and_reports_use_it(tmp_path):
    (tmp_path / "data").mkdir()
    kgvad("features", "import", make_archive(tmp_path / "data"), "--dataset", "ucf", "--output", tmp_path / "features")
    common = ["--dataset", "ucf", "--features", tmp_path / "features", "--set", "anchors=false", "--epochs", 2]
    kgvad("train", *common, "--run", tmp_path / "run")
    found = read_thresholds(tmp_path / "run")
    assert found is not None and (found.normal_videos, found.abnormal_videos) == (4, 8)
    kgvad("train", *common, "--run", tmp_path / "without", "--threshold-folds", 0)
    assert read_thresholds(tmp_path / "without") is None
    kgvad("score", tmp_path / "features", "--run", tmp_path / "run", "-o", tmp_path / "scores", "--format", "json")
    scores = json.loads(next((tmp_path / "scores").glob("*.json")).read_text())
    assert scores["origin"]["thresholds"]["onset"] == pytest.approx(found.onset)


def test_the_rule_for_events_starts_at_the_threshold_of_the_run():
    measured = RunThresholds(onset=0.8, false_alarm_rate=0, miss_rate=0, normal_videos=1, abnormal_videos=1)
    rule = default_rule(Origin(scorer="additive", trained=True, names_categories="yes", thresholds=measured))
    assert (rule.onset, rule.offset) == (0.8, pytest.approx(0.56))
    assert Thresholds(onset=0.6).rule(Origin(thresholds=measured)).onset == 0.6


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "thresholds.json").write_text('{"onset": 3}')
    with pytest.raises(RunError, match=r"thresholds.json: .*delete it, and give --onset"):
        read_thresholds(tmp_path)
    good = RunThresholds(onset=0.5, false_alarm_rate=0, miss_rate=0, normal_videos=1, abnormal_videos=1)
    (tmp_path / "thresholds.json").write_text(good.model_dump_json())
    assert read_thresholds(tmp_path) == good
