"""``kgvad features export``: what it writes comes back through ``features import``."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from detector_samples import kgvad

from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.data.feature_export import segment_means
from kgvad.errors import FeatureError, KgvadError, UsageError
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


def make_store(root: Path, crops: int = 1, labels: bool = True) -> FeatureStore:
    random = np.random.default_rng(0)
    store = FeatureStore.create(root, Manifest(encoder="i3d", dim=6, crops=crops))
    for name, rows, layout in (("Fight/b", 7, {}), ("Normal/a, c", 3, {"layout": "even"}), ("Fight/d", 40, {})):
        shape = (rows, 6) if crops == 1 else (crops, rows, 6)
        entry = VideoEntry(frame_count=rows * 16 + 5, fps=24.5, rows=rows, **layout)
        store.add(name, random.normal(size=shape).astype(np.float32), entry)
    if labels:
        videos = {name: VideoTruth(split="train", labels=("Fight",) * ("Fight" in name)) for name in store.ids()}
        videos["Fight/d"] = VideoTruth(split="test", labels=("Fight",))
        Truth(dataset="mine", categories=("Normal", "Fight"), videos=videos).save(root)
    return store


@pytest.mark.parametrize("crops", [1, 5])
@pytest.mark.parametrize("form", ["npy", "hdf5"])
def test_arrays_times_and_labels_come_back(form, crops, tmp_path):
    store = make_store(tmp_path / "in", crops)
    written = kgvad("features", "export", store.root, "--format", form, "--output", tmp_path / "x").strip()
    back = tmp_path / "back"
    spans = ["--spans", tmp_path / "x" / "spans.csv"]
    kgvad("features", "import", written, "--dataset", "mine", "--encoder", "i3d", "--output", back, *spans)
    again, truth = FeatureStore.open(back), Truth.load(back)
    assert again.ids() == ["a, c", "b", "d"]  # folders that tell no two videos apart are dropped
    for old, new in (("Fight/b", "b"), ("Normal/a, c", "a, c"), ("Fight/d", "d")):
        np.testing.assert_array_equal(again.load(new), store.load(old))
        np.testing.assert_array_equal(again.info(new).spans(), store.info(old).spans())
        assert again.info(new).fps == 24.5 and not again.info(new).assumed
        assert truth.videos[new].labels == (("Fight",) if "Fight" in old else ())
    assert (truth.videos["b"].split, truth.videos["d"].split) == ("train", "test")


def test_segments_come_back_as_the_means_of_32_parts(tmp_path):
    store = make_store(tmp_path / "in", labels=False)
    written = kgvad("features", "export", store.root, "--format", "segments", "--output", tmp_path / "x").strip()
    counts = ["--frames", tmp_path / "x" / "features.csv", "--layout", "even"]
    kgvad("features", "import", written, "--encoder", "c", "--output", tmp_path / "back", *counts)
    again = FeatureStore.open(tmp_path / "back")
    for old, new in (("Fight/b", "b"), ("Fight/d", "d")):
        expected = segment_means(store.load(old), store.info(old), old)
        np.testing.assert_array_equal(again.load(new), expected.astype(np.float16))
    # 645 frames, 40 rows of 16: the first of 32 parts has 20 frames, 16 of row 0 and 4 of row 1
    rows = store.load("Fight/d").astype(np.float64)
    np.testing.assert_allclose(segment_means(rows, store.info("Fight/d"), "d")[0], (16 * rows[0] + 4 * rows[1]) / 20)
    with pytest.raises(FeatureError, match="has 20 frames, too few for 32 segments"):
        segment_means(rows[:1], VideoEntry(frame_count=20, fps=25, rows=1), "s")


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(tmp_path):
    store = make_store(tmp_path / "in")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="there exists; choose a new folder"):
        kgvad("features", "export", store.root, "--output", tmp_path / "there")
    with pytest.raises(UsageError, match=r"unknown --format 'mat'; use one of npy, hdf5, segments"):
        kgvad("features", "export", store.root, "--format", "mat", "--output", tmp_path / "x")
    store.path("Normal/a, c").write_bytes(b"broken")
    with pytest.raises(KgvadError, match="a, c"):
        kgvad("features", "export", store.root, "--output", tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "there"]


def test_hdf5_of_other_programs(tmp_path):
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "secret.npy", rows)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = rows
    with h5py.File(tmp_path / "feats.h5", "w") as file:
        file["v_one/c3d_features"] = rows
        file["v_two/c3d_features"] = rows + 1
        file["v_one/label"] = 3
        file["v_link/c3d_features"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
        file["v_loop"] = file["/"]
    kgvad("features", "import", tmp_path / "feats.h5", "--output", tmp_path / "out")
    store = FeatureStore.open(tmp_path / "out")
    assert store.ids() == ["v_one", "v_two"]
    np.testing.assert_array_equal(store.load("v_two"), rows + 1)
    for name in ("a", "b"):  # a file a video
        (tmp_path / "many").mkdir(exist_ok=True)
        with h5py.File(tmp_path / "many" / f"{name}.hdf5", "w") as file:
            file["features"] = rows
    kgvad("features", "import", tmp_path / "many", "--output", tmp_path / "out2")
    assert FeatureStore.open(tmp_path / "out2").ids() == ["a", "b"]


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    store = make_store(tmp_path / "in")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(KgvadError, match=r"HDF5 files need h5py; install it with: pip install 'kgvad\[hdf5\]'"):
        kgvad("features", "export", store.root, "--format", "hdf5", "--output", tmp_path / "x")
    assert not (tmp_path / "x").exists()
