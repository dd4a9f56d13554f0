"""Captions resampled to snippets and segments."""

import numpy as np
import pytest

from kgvad.detector.data.resample import resample_captions, resample_spans
from kgvad.errors import FeatureError
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


def test_values_are_averaged_by_shared_frames():
    values = np.array([[1.0], [3.0], [9.0]])
    source = np.array([[0, 16], [16, 32], [40, 48]])
    found = resample_spans(values, source, np.array([[0, 32], [8, 20], [34, 38], [30, 44]]))
    # (16 + 48) / 32; (8 + 12) / 12; nothing shared: the value whose middle is nearest (44); (2 * 3 + 4 * 9) / 6
    assert found[:, 0] == pytest.approx([2, 20 / 12, 9, 7])


def store(root, name, rows, frames, video="v"):
    made = FeatureStore.create(root, Manifest(encoder=name, dim=2))
    made.add(
        video,
        np.arange(2.0 * rows).reshape(rows, 2).astype(np.float32),
        VideoEntry(frame_count=frames, fps=30, rows=rows),
    )
    return made


def test_caption_embeddings_are_resampled_to_the_snippets_of_the_features(tmp_path):
    text, features = store(tmp_path / "t", "text", 4, 64), store(tmp_path / "f", "c3d", 4, 64)
    assert resample_captions(text, features, ["v", "w"])["v"] == pytest.approx(np.arange(8.0).reshape(4, 2))
    with pytest.raises(FeatureError, match="no video in common"):
        resample_captions(text, store(tmp_path / "h", "c3d", 4, 64, "w"), ["v", "w"])


def test_frame_counts_may_differ_by_less_than_a_snippet(tmp_path):
    text, near = store(tmp_path / "t", "text", 4, 64), store(tmp_path / "f", "c3d", 4, 66)
    assert resample_captions(text, near, ["v"])["v"][:3] == pytest.approx(np.arange(6.0).reshape(3, 2))
    far = store(tmp_path / "g", "c3d", 3, 48)
    with pytest.raises(FeatureError, match="v: the captions cover 64 frames, the features 48"):
        resample_captions(text, far, ["v"])
    far.add("w", np.ones((4, 2), np.float32), VideoEntry(frame_count=64, fps=30, rows=4))
    text.add("w", np.ones((4, 2), np.float32), VideoEntry(frame_count=64, fps=30, rows=4))
    assert list(resample_captions(text, far, ["v", "w"], skip_mismatched=True)) == ["w"]
