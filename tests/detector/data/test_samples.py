"""Training videos: resampling, batches, labels, official lists."""

import gc
import weakref
from itertools import pairwise

import numpy as np
import pytest

from kgvad.detector.data.annotations import XD_CATEGORIES, Truth, VideoTruth, read_truth
from kgvad.detector.data.labels import xd_labels
from kgvad.detector.data.samples import Sampler, checked, collate, load_samples, shortened
from kgvad.errors import FeatureError, UsageError
from kgvad.kg.tables import load_table
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


class Memory:
    def __init__(self, arrays):
        self.arrays = arrays

    def ids(self):
        return list(self.arrays)

    def load(self, video):
        return self.arrays[video]


def truth(**labels):
    videos = {name: VideoTruth(split="train", labels=tuple(value)) for name, value in labels.items()}
    return Truth(dataset="toy", categories=("Normal", "A", "B"), videos=videos)


@pytest.mark.parametrize("rows", [1, 255, 256])
def test_short_videos_stay_as_they_are(rows):
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float16)
    np.testing.assert_array_equal(shortened(x, 256), x.astype(np.float32))


@pytest.mark.parametrize("rows", [257, 512, 700])
def test_long_videos_are_averaged_between_linspace_edges(rows):
    x = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    edges = np.floor(np.linspace(0, rows, 257)).astype(int)
    expected = [x[a:b].mean(0) if a < b else x[a] for a, b in pairwise(edges)]
    np.testing.assert_allclose(shortened(x, 256), expected, atol=1e-6)


def test_samples_have_labels_and_crops():
    store = Memory({"a": np.ones((2, 4, 3)), "n": np.ones((5, 3)), "other": np.ones((1, 3))})
    samples = load_samples(store, truth(a=["A", "B"], n=[], missing=["A"]), ["Normal", "A", "B"], 0)
    assert [s.video for s in samples] == ["a", "a", "n"]
    assert samples[0].target.tolist() == [0, 1, 1]
    assert samples[2].target.tolist() == [1, 0, 0]
    batch = collate(samples, 0, 256)
    assert batch.features.shape == (3, 5, 3)
    assert batch.lengths.tolist() == [4, 4, 5]
    assert batch.features[0, 4].abs().sum() == 0
    assert batch.abnormal.tolist() == [1, 1, 0]


def test_a_store_is_not_held_in_memory(tmp_path):
    """Stores of 10,000 hours have more videos than a process may map."""
    store = FeatureStore.create(tmp_path, Manifest(encoder="e", dim=3, crops=2))
    for video in "an":
        store.add(video, np.full((2, 4, 3), ord(video)), VideoEntry(frame_count=64, fps=25, rows=4))
    maps = []

    class Watched(FeatureStore):
        def load(self, video):
            array = super().load(video)
            maps.append(weakref.ref(array))
            return array

    samples = load_samples(Watched(store.root, store.manifest), truth(a=["A"], n=[]), ["Normal", "A"], 0)
    gc.collect()
    assert len(samples) == 4 and [one() for one in maps] == [None, None]
    assert isinstance(samples[3].features.base, np.memmap)
    np.testing.assert_array_equal(samples[3].features, np.full((4, 3), ord("n")))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, np.nan]]), "a: features have NaN or infinite values .snippet 0"),
        (np.array([[1.0, 1], [np.inf, 1]]), "snippet 1"),
        (np.empty((0, 2)), "a: features have no snippets"),
        (np.ones(3), "not .T, D."),
        (np.ones((2, 5)), "5 dimensions, the others 2"),
    ],
)
def test_bad_features_name_the_video(array, message):
    with pytest.raises(FeatureError, match=message):
        checked(array, "a", 2)


def test_labels_and_videos_must_fit():
    with pytest.raises(FeatureError, match="none of the 1 train videos of toy has features"):
        load_samples(Memory({}), truth(a=["A"]), ["Normal", "A"], 0)
    with pytest.raises(FeatureError, match="'B', which is not in the anchor bank"):
        load_samples(Memory({"b": np.ones((1, 2))}), truth(b=["B"]), ["Normal", "A"], 0)


def targets(normal, *counts):
    rows = [[1, *[0] * len(counts)]] * normal
    for index, count in enumerate(counts, 1):
        rows += [[float(place == index) for place in range(len(counts) + 1)]] * count
    return np.array(rows, dtype=np.float32)


def test_batches_are_half_normal_and_depend_on_seed_and_epoch_alone():
    sampler = Sampler(targets(3, 10, 7), 0, 2, 4, seed=1)
    assert sampler.steps == 5  # 17 abnormal videos in fours
    one, again = list(sampler.epoch(3)), list(Sampler(targets(3, 10, 7), 0, 2, 4, seed=1).epoch(3))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert any((a != b).any() for a, b in zip(one, sampler.epoch(4), strict=True))
    for batch in one:
        assert (batch[:2] < 3).all() and (batch[2:] >= 3).all()
    assert set(np.concatenate(one)[np.concatenate(one) >= 3]) == set(range(3, 20))  # every abnormal video comes


def test_balanced_batches_draw_categories_equally():
    draws = np.concatenate([b for e in range(40) for b in Sampler(targets(2, 90, 10), 0, 0, 10, 0, True).epoch(e)])
    assert 0.4 < np.mean(draws >= 92) < 0.6


def test_one_kind_alone_still_makes_batches():
    assert {len(b) for b in Sampler(targets(5), 0, 2, 2, 0).epoch(0)} == {2}
    with pytest.raises(FeatureError, match="no training video"):
        Sampler(targets(5), 0, 0, 2, 0)


def test_xd_codes():
    assert xd_labels("G-B2-B6") == ("Explosion", "Shooting", "CarAccident")
    assert xd_labels("A") == ()
    assert set(XD_CATEGORIES) == set(load_table("xd").names)  # else no anchor bank has the labels
    with pytest.raises(FeatureError, match="'B3'"):
        xd_labels("B3-0-0")


def frame_labels(video):
    mask = np.zeros(video.frame_count, np.int8)
    for start, end in video.intervals:
        mask[start:end] = 1
    return mask


@pytest.mark.parametrize(
    ("dataset", "labels", "counts"),
    [("ucf", "gt_ucf_frames_rebuilt.npy", (1610, 290)), ("xd", "gt_xd_frames_rebuilt.npy", (0, 800))],
)
def test_official_lists_give_the_published_frame_labels(shared, dataset, labels, counts):
    found = read_truth(dataset, shared / "data" / dataset)
    assert (len(found.split("train")), len(found.split("test"))) == counts
    expected = np.load(shared / "data" / dataset / labels)
    masks = {video: frame_labels(found.videos[video]) for video in found.split("test")}
    if dataset == "xd":  # the published labels lack 14 videos, whose annotation has the suffix .mp4 after the name
        text = (shared / "data" / "xd" / "annotations.txt").read_text("utf-8")
        lost = [line.split()[0].removesuffix(".mp4") for line in text.splitlines() if ".mp4 " in line]
        assert len(lost) == 14 and all(masks[video].any() for video in lost)
        masks |= {video: np.zeros_like(masks[video]) for video in lost}
    np.testing.assert_array_equal(np.concatenate(list(masks.values())), expected)


def test_shanghaitech_lists(shared):
    found = read_truth("shanghaitech", shared / "data" / "shanghaitech")
    assert (len(found.split("train")), len(found.split("test"))) == (238, 199)
    assert all(
        video.frame_count and video.intervals is not None for video in found.videos.values() if video.split == "test"
    )


def test_truth_is_kept_beside_the_features(tmp_path):
    before = truth(a=["A"], n=[])
    before.save(tmp_path)
    assert Truth.load(tmp_path) == before
    (tmp_path / "dataset.json").write_text('{"version": 1, "dataset": "toy"}')
    with pytest.raises(FeatureError, match=r"dataset\.json: categories"):
        Truth.load(tmp_path)
    with pytest.raises(FeatureError, match="--lists"):
        Truth.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("Abuse028.mp4\n", "line 1.*CATEGORY/VIDEO"),
        ("Dancing/a.mp4\n", "13 categories"),
        (None, "Anomaly_Train.txt is missing"),
    ],
)
def test_wrong_lists_name_file_and_line(tmp_path, train, message):
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text("a Abuse 1 2 -1 -1\n")
    if train:
        (tmp_path / "Anomaly_Train.txt").write_text(train)
    with pytest.raises(FeatureError, match=message):
        read_truth("ucf", tmp_path)


def test_wrong_annotations_and_unknown_datasets(tmp_path):
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text("a Abuse 1 2\nb Abuse one two\n")
    with pytest.raises(FeatureError, match="line 2"):
        read_truth("ucf", tmp_path)
    with pytest.raises(UsageError, match="read for: ucf, xd, shanghaitech"):
        read_truth("street", tmp_path)


def test_a_label_must_be_a_category():
    with pytest.raises(ValueError, match="not an abnormal category"):
        truth(a=["Normal"])
