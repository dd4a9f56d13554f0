"""Starting from a trained run: its weights take the place of the prior, and what that gains is measured and stored."""

import json
import logging

import numpy as np
import pytest
from detector_samples import kgvad
from sklearn.metrics import roc_auc_score

from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.run import Run, read_config
from kgvad.detector.scoring.infer import infer
from kgvad.detector.training.start import measure_gain
from kgvad.detector.training.thresholds import HeldOutVideo
from kgvad.errors import FeatureError, UsageError
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

COLUMNS = [f"action {number}" for number in range(12)]


def make_store(root, name, videos, *, columns=COLUMNS, seed=0, signal=3.0):
    """A store of named columns; column 1 marks Fighting and column 2 Arson."""
    random = np.random.default_rng(seed)
    store = FeatureStore.create(root, Manifest(encoder="toy", dim=len(columns), columns=list(columns)))
    truth = {}
    for number in range(videos):
        kind = number % 4  # half are normal
        features = random.normal(size=(12, len(columns))).astype(np.float32)
        if kind in (1, 3):
            features[4:8, 1 + (kind == 3)] += signal
        video = f"{name}{number:02}"
        store.add(video, features, VideoEntry(frame_count=192, fps=25.0, rows=12))
        label = {1: ("Fighting",), 3: ("Arson",)}.get(kind, ())
        truth[video] = VideoTruth(split="train", labels=label)
    Truth(dataset=name, normal="Normal", categories=("Normal", "Arson", "Fighting"), videos=truth).save(root)
    return root


def train(features, run, *more, dataset="toy"):
    options = ("--set", "prior=0", "--threshold-folds", 4) if "--threshold-folds" not in more else ("--set", "prior=0")
    return kgvad("train", "--dataset", dataset, "--features", features, "--run", run, *options, *more)


@pytest.fixture
def start(tmp_path):
    features = make_store(tmp_path / "first", "first", 80)
    train(features, tmp_path / "start", "--detector", "additive", "--threshold-folds", 0, dataset="first")
    return tmp_path / "start"


def test_a_few_clips_start_at_the_run_and_the_gain_is_stored(start, tmp_path, caplog):
    few = make_store(tmp_path / "few", "few", 16, seed=1)
    with caplog.at_level(logging.INFO):
        train(few, tmp_path / "own", "--from", start, dataset="few")
    config, begin = read_config(tmp_path / "own"), Run.load(start)
    assert config.detector == "additive" and config.start_fingerprint == begin.fingerprint
    assert Run.load(tmp_path / "own").causal().thresholds is not None  # a run of its own scores streams too
    assert config.recipe.epochs == 24  # 8 normal videos make one step where the start took two
    found = json.loads((tmp_path / "own" / "start.json").read_text())
    store, truth = FeatureStore.open(few / "toy"), Truth.load(few)
    highest = {video: infer(begin.detector, store.load(video))["scores"].max() for video in store.ids()}
    abnormal = [bool(truth.videos[video].labels) for video in highest]
    assert found["video_auc"]["start"] == pytest.approx(roc_auc_score(abnormal, list(highest.values())), abs=1e-4)
    assert found["video_auc"]["videos"] == 16 and found["category"]["videos"] == 8
    gain = found["video_auc"]["over_start"]
    assert gain["low"] <= gain["difference"] <= gain["high"]
    assert "video AUC on 16 held-out videos" in caplog.text and "no gain over start" in caplog.text
    assert (tmp_path / "own" / "thresholds.json").is_file()
    # the weights stay near those of the start, and away from a training without it
    train(few, tmp_path / "alone", "--detector", "additive", "--threshold-folds", 0, dataset="few")
    own, alone = (Run.load(tmp_path / name).detector.local_weight for name in ("own", "alone"))
    assert (own - begin.detector.local_weight).norm() < (alone - begin.detector.local_weight).norm()


def test_a_number_of_epochs_that_was_given_is_kept(start, tmp_path):
    """Also where it is the number of the start, which otherwise becomes as many steps."""
    few = make_store(tmp_path / "few", "few", 16, seed=1)
    epochs = read_config(start).recipe.epochs
    fast = ("--threshold-folds", 0, "--from", start)
    train(few, tmp_path / "own", *fast, "--epochs", epochs, dataset="few")
    assert read_config(tmp_path / "own").recipe.epochs == epochs


def held_out(highest, right):
    """Four videos, two of them abnormal; ``right`` says whether the first category of the abnormal ones is right."""
    found = {}
    for number, (score, hit) in enumerate(zip(highest, right, strict=True)):
        target = np.array([number < 2, number >= 2, 0], np.float32)
        logits = np.array([9.0, hit, not hit])  # the logit of Normal does not count
        found[str(number)] = HeldOutVideo(target, score, logits)
    return found


def test_gain_by_hand(start):
    runs = [
        held_out(s, r) for s, r in (((3, 1, 2, 2), (0, 0, 1, 0)), ((1, 1, 1, 1), (0,) * 4), ((0, 1, 2, 3), (1,) * 4))
    ]
    found = measure_gain(Run.load(start), 0, *runs)
    assert (found.video_auc.start, found.video_auc.prior, found.video_auc.trained) == (0.5, 0.5, 1.0)
    assert (found.category.start, found.category.prior, found.category.trained) == (0.5, 0.0, 1.0)
    assert found.category.over_prior.low == found.category.over_prior.difference == 1.0
    assert found.video_auc.over_prior.words().startswith("gain (+0.500")
    assert found.category.over_start.words().startswith("no clear difference")  # one of two videos


def test_a_start_that_does_not_fit_is_one_line(start, tmp_path):
    other = make_store(tmp_path / "other", "other", 8, columns=COLUMNS[::-1])
    with pytest.raises(FeatureError, match="kgvad extract VIDEOS --encoder toy"):
        train(other, tmp_path / "own", "--from", start, dataset="other")
    with pytest.raises(UsageError, match="cannot start from a run of additive"):
        train(other, tmp_path / "own", "--from", start, "--detector", "sultani", dataset="other")
    with pytest.raises(UsageError, match="leave out --config or --from"):
        (tmp_path / "c.toml").write_text("seed = 1")
        train(other, tmp_path / "own", "--from", start, "--config", tmp_path / "c.toml", dataset="other")
    with pytest.raises(UsageError, match="leave out --preset or --from"):
        train(other, tmp_path / "own", "--from", start, "--preset", "vadclip-ucf", dataset="other")
