"""Streaming gives the scores of the whole video, after a known delay and without discontinuities."""

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import nn

from kgvad.detector.api import Detector, Output, Problem
from kgvad.detector.registry import build
from kgvad.detector.scoring.infer import infer
from kgvad.detector.scoring.streaming import OVERLAP, Stream
from kgvad.errors import FeatureError


class Options(BaseModel):
    """The detector has no options."""


class Chunked(Detector):
    """Its score of a snippet depends on the chunk that contains the snippet."""

    name = "chunked"
    Config = Options
    max_snippets = 200

    def __init__(self):
        super().__init__(Problem(3, ("Normal", "A"), 0), Options())
        self.place = nn.Parameter(torch.zeros(()))
        self.seen = []

    def losses(self, output, batch):
        raise NotImplementedError

    def forward(self, features, lengths, captions=None):
        self.seen.append(features.shape[1])
        level = features.mean(dim=(1, 2), keepdim=True)[..., 0]
        return Output(features[..., 0] * 0 + level + self.place, torch.stack([features[..., 0]] * 2, -1))


def pushed(detector, x, sizes, chunk=None):
    stream, parts, given, start = Stream(detector, chunk), [], 0, 0
    for size in sizes:
        parts.append(stream.push(x[start : start + size]))
        start += size
        given += len(parts[-1].get("scores", ()))
        if chunk is not None:
            assert given == max(min(start, len(x)) - chunk, 0)  # the documented delay
            assert len(stream._kept) <= chunk  # and no more is held
    parts = [part for part in (*parts, stream.finish()) if part]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize("rows", [1, 5, 199, 200, 201, 336, 337, 900])
@pytest.mark.parametrize("sizes", [[1] * 900, [7, 300, 1, 2] * 20])
def test_a_stream_has_the_scores_of_the_whole_video(rows, sizes):
    x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    whole = infer(Chunked(), x)
    found = pushed(Chunked(), x, sizes, 200)
    assert found.keys() == whole.keys() == {"scores", "alignment"}
    for name in whole:
        np.testing.assert_array_equal(found[name], whole[name])
    np.testing.assert_allclose(whole["alignment"][:, 0], x[:, 0], rtol=1e-5)  # every snippet in its place


def test_our_detector_streams_as_it_scores():
    torch.manual_seed(0)
    model = build("anchor-aligned", Problem(6, ("Normal", "A"), 0), {"anchors": False, "width": 8}).eval()
    x = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    np.testing.assert_array_equal(pushed(model, x, [30] * 17, 128)["scores"], infer(model, x, chunk=128)["scores"])


def test_no_score_jumps_where_chunks_meet():
    x = np.zeros((500, 3), np.float32)
    x[200:] = 8.0  # the first chunk sees none of this, the next ones mostly this
    scores = infer(Chunked(), x)["scores"]
    assert scores[:200].max() - scores[:200].min() > 0.4  # the chunks disagree
    assert np.abs(np.diff(scores)).max() < 1.5 / OVERLAP  # and the scores walk from one to the other


def test_a_shorter_chunk_than_the_detector_takes_is_kept_to():
    detector = Chunked()
    infer(detector, np.zeros((300, 3), np.float32), chunk=50)
    assert max(detector.seen) == 50
    detector.seen.clear()
    infer(detector, np.zeros((300, 3), np.float32), chunk=5000)
    assert max(detector.seen) == 200  # no more than its position table holds


def test_bad_features_are_refused_and_the_stream_continues():
    stream = Stream(Chunked(), 50)
    stream.push(np.zeros((3, 4), np.float32))
    with pytest.raises(FeatureError, match="from snippet 3 on: features have 5 dimensions, the others 4"):
        stream.push(np.zeros((2, 5), np.float32))
    with pytest.raises(FeatureError, match="from snippet 3 on: features have NaN"):
        stream.push(np.full((2, 4), np.nan, np.float32))
    assert len(stream.finish()["scores"]) == 3
    assert Stream(Chunked()).finish() == {}
    with pytest.raises(FeatureError, match="too short"):
        Stream(Chunked(), 1)
