"""Captions to scores: files of any shape, one row a snippet, and fire is seen by the real encoder."""

import gzip
import json

import numpy as np
import pytest
from anchors_samples import TABLE, checkpoint

from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.data.captions import read_captions
from kgvad.detector.scoring.caption_scorer import (
    CaptionRule,
    anchor_coefficients,
    concept_shares,
    contributions_over_time,
    score_captions,
    signal_share,
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


def test_shares_by_hand():
    cosine = np.array([[0.3, 0.3, 0.3], [0.5, 0.3, 0.3]], np.float32)
    found = concept_shares(cosine, np.array([False, False, True]), 0.1)
    # equal cosines: half for Normal's one concept, half for both abnormal ones
    np.testing.assert_allclose(found[0], [0.25, 0.25, 0.5], atol=1e-6)
    weights = np.array([np.exp(2) / 2, 1 / 2, 1])
    np.testing.assert_allclose(found[1], weights / weights.sum(), atol=1e-6)


def test_evidence_is_relative_to_the_level_of_the_captions():
    rng = np.random.default_rng(0)
    evidence, abnormal = rng.random((40, 6)), np.arange(6) < 4
    one = contributions_over_time(evidence, abnormal, CaptionRule())
    np.testing.assert_allclose(contributions_over_time(3 * evidence, abnormal, CaptionRule()), one, rtol=1e-5)
    assert not one[:, 4:].any() and (one[:, :4] > 0).all()


def test_noisy_evidence_is_drawn_to_the_level_of_the_video():
    rng = np.random.default_rng(0)
    event = np.repeat([0.0, 1.0, 0.0], 50)
    assert signal_share(event + 0.05 * rng.random(150), 15) > 0.98
    assert signal_share(rng.random(150), 15) < 0.7
    assert signal_share(np.ones(20), 3) == 1.0 and signal_share(np.ones(1), 1) == 1.0


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
        assert scored.concept_alignment.shape == scored.contributions.shape == (rows, len(bank.concepts))
        assert (scored.contributions >= 0).all()
        # the score rises with the sum of the contributions, and an alignment is the sum over its concepts
        total = scored.contributions.sum(1, dtype=float)
        rule = CaptionRule()
        np.testing.assert_allclose(
            np.log(scored.scores / (1 - scored.scores.astype(float))),
            np.log(total / rule.midpoint) / rule.spread,
            atol=1e-2,
        )
        terms = anchor_coefficients(bank) * scored.concept_alignment
        sums = [terms[:, bank.concept_category == c].sum(axis=1) for c in range(len(bank.categories))]
        np.testing.assert_allclose(np.transpose(sums), scored.alignment, atol=1e-4)
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
