"""Exemplars: moments of training videos in a run."""

from dataclasses import replace

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train
from safetensors.numpy import save_file

from kgvad.detector.data.inputs import load_truth
from kgvad.detector.run import Run
from kgvad.detector.training.exemplars import EXEMPLARS, Exemplars, peak, pool, write_exemplars
from kgvad.errors import RunError
from kgvad.video.feature_store import FeatureStore


def test_training_keeps_the_peak_of_each_abnormal_video(tmp_path):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    train(tmp_path / "features", tmp_path / "run")
    found = Exemplars.load(tmp_path / "run")
    assert sorted(set(found.categories)) == ["Arson", "Fighting"]
    assert len(found.videos) == 8 and not any("Normal" in video for video in found.videos)
    assert (found.seconds[:, 1] > found.seconds[:, 0]).all() and found.seconds.max() <= 135 / 30
    store = FeatureStore.open(tmp_path / "features", "imported")
    video = found.videos[0]
    start, end = np.round(found.seconds[0] * store.info(video).fps).astype(int)
    spans = store.info(video).spans()
    rows = np.asarray(store.load(video))[(spans[:, 0] >= start) & (spans[:, 1] <= end)]
    best = found.nearest(rows)[0]
    assert (best.video, best.category) == (video, found.categories[0])
    assert best.similarity == pytest.approx(1, abs=1e-3)

    truth, run = load_truth("ucf", tmp_path / "features", None), Run.load(tmp_path / "run")
    write_exemplars(run, store, truth, most=1)
    assert len(Exemplars.load(tmp_path / "run").videos) == 8, "made by this very run: left alone"
    write_exemplars(replace(run, fingerprint="trained anew"), store, truth, most=1)
    assert sorted(Exemplars.load(tmp_path / "run").categories) == ["Arson", "Fighting"]


def test_the_stretch_around_the_peak():
    assert peak(np.array([0.1, 0.6, 0.9, 0.7, 0.2, 0.8])) == (1, 4)
    assert peak(np.array([0.9, 0.1])) == (0, 1)
    assert peak(np.array([0.5, 0.5])) == (0, 2)


def test_the_nearest_come_first_and_what_does_not_resemble_is_left_out():
    vectors = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]], np.float16)
    stored = Exemplars(["a", "b", "c", "d"], ["X", "X", "Y", "Z"], np.zeros((4, 2), np.float32), vectors)
    found = stored.nearest(np.array([[2.0, 0, 0], [1, 0, 0]]))
    assert [match.video for match in found] == ["a", "b"]
    # by hand: the mean of all is (.475, .275, .25); a row pools to (1, 0, 0), which is a itself
    assert found[0].similarity == pytest.approx(1)
    one, other = np.array([0.425, -0.175, -0.25]), np.array([0.525, -0.275, -0.25])
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert found[1].similarity == pytest.approx(cosine, abs=1e-3)
    assert pool(np.array([[3.0, 0], [0, 4]])) == pytest.approx([0.5, 0.5])


def test_a_run_without_exemplars_and_a_damaged_file(tmp_path):
    assert Exemplars.load(tmp_path) is None
    (tmp_path / EXEMPLARS).write_bytes(b"\x00" * 9)
    with pytest.raises(RunError, match=r"exemplars\.safetensors cannot be read"):
        Exemplars.load(tmp_path)
    arrays = {"seconds": np.zeros((2, 2), np.float32), "vectors": np.zeros((1, 3), np.float16)}
    save_file(arrays, tmp_path / EXEMPLARS, {"about": '{"videos": ["a"], "categories": ["X"]}'})
    with pytest.raises(RunError, match="is inconsistent"):
        Exemplars.load(tmp_path)
