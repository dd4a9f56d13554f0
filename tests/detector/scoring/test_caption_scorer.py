"""Captions to scores: files of any shape, one row a snippet, and fire is seen by the real encoder."""

import gzip
import json

import numpy as np
import pytest
from anchors_samples import TABLE, checkpoint

from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.data.captions import per_snippet, read_captions
from kgvad.detector.scoring.caption_scorer import (
    CaptionRule,
    category_similarity,
    score_captions,
    smoothed_margin,
)
from kgvad.errors import AnchorError, ScoresError, UsageError
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import load_table, parse_table


def test_both_forms_are_read_and_ordered_by_frame(tmp_path):
    one = {"100": "b", "16": "a", "2000": "c"}
    (tmp_path / "one.json").write_text(json.dumps(one))
    (tmp_path / "many.json.gz").write_bytes(gzip.compress(json.dumps({"x": {"0": "z"}, "clip": one}).encode()))
    expected = [(16, "a"), (100, "b"), (2000, "c")]
    assert read_captions(tmp_path / "one.json", "anything.mp4") == expected
    assert read_captions(tmp_path / "many.json.gz", "folder/clip.mp4") == expected
    with pytest.raises(ScoresError, match="no captions of 'other'"):
        read_captions(tmp_path / "many.json.gz", "other")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\x1f\x8b\x08cut",
        b'{"0": 5}',
        b'{"v": {}}',
        b'{"v": {"0": null}}',
        b'{"-1": "a"}',
        b'{"nan": "a"}',
        b'{"v": {"99999999999999": "a"}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_file_of_captions_is_one_line(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ScoresError, match=r"bad\.json") as error:
        read_captions(path, "v")
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_captions(tmp_path / "none.json")


def test_a_snippet_has_the_latest_caption_that_began():
    assert per_snippet([(20, "a"), (32, "b"), (100, "c")], 8) == ["a", "a", "b", "b", "b", "b", "c", "c"]


def test_margin_by_hand():
    # one abnormal category: the soft maximum is the category itself; no smoothing, no video level
    rule = CaptionRule(temperature=0.1, window=1, video_share=0.0)
    alignment = np.array([[0.5, 0.2], [0.1, 0.4]], np.float32)
    assert np.allclose(smoothed_margin(alignment, 1, rule), [0.3, -0.3])
    # two equal ones: log mean exp of equals is the value itself
    assert np.allclose(smoothed_margin(np.array([[0.5, 0.5, 0.2]], np.float32), 2, rule), [0.3])
    # the video's level is the mean of the highest eighth, here the one highest of eight
    rule = CaptionRule(temperature=0.1, window=1, video_share=0.5)
    column = np.arange(8, dtype=np.float32)[:, None] / 10
    margin = smoothed_margin(np.concatenate([column, 0 * column], 1), 1, rule)
    assert np.allclose(margin, 0.5 * column[:, 0] + 0.35)


def test_the_bank_must_be_the_encoders(tmp_path):
    encoder = load_text_encoder(str(checkpoint("bert", tmp_path / "bert")))
    other = load_text_encoder(str(checkpoint("clip", tmp_path / "clip")))
    bank = build_bank(parse_table(TABLE, "tiny"), GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite"), encoder)
    with pytest.raises(AnchorError, match="same encoder"):
        score_captions([(0, "a")], bank, other, 64)
    with pytest.raises(ScoresError, match="no captions"):
        score_captions([], bank, encoder, 64)
    for frames, rows in ((5, 1), (16, 1), (31, 1), (32, 2), (1000, 62)):
        scored = score_captions([(0, "\x00"), (40, "fire")], bank, encoder, frames)
        assert scored.scores.shape == (rows,) and scored.alignment.shape == (rows, 3)
        assert scored.concept_alignment.shape == (rows, len(bank.concepts)) and len(scored.captions) == rows
        by_category = [
            scored.contributions[:, bank.concept_category == c].sum(axis=1) for c in range(len(bank.categories))
        ]
        similarity = category_similarity(scored.concept_alignment, bank, CaptionRule().temperature)
        np.testing.assert_allclose(np.transpose(by_category), similarity, atol=1e-5)
        assert scored.scores.dtype == np.float32 and ((scored.scores >= 0) & (scored.scores <= 1)).all()


def test_real_encoder_finds_the_fire(weights, tmp_path):
    weights("minilm-l6")
    encoder = load_text_encoder("minilm")
    bank = build_bank(load_table("ucf"), GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite"), encoder)
    quiet, fire = "People walk along a street.", "A man pours petrol on a car and sets it on fire."
    captions = [(i * 16, fire if 40 <= i < 80 else quiet) for i in range(120)]
    scored = score_captions(captions, bank, encoder, 120 * 16)
    assert scored.scores[45:75].min() > scored.scores[np.r_[:25, 95:120]].max()
    assert bank.categories[int(scored.alignment[60].argmax())] == "Arson"
    calm = score_captions([(0, quiet)], bank, encoder, 120 * 16)
    assert calm.scores.max() < 0.5 < scored.scores[60]
