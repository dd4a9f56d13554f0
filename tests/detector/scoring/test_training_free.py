"""The training-free scorer: what its scores mean, and what it says about itself."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from toy_bank import DIM, toy_bank

from kgvad.detector.scoring.training_free import TYPICAL, TrainingFreeRule, log_ratio, score_training_free
from kgvad.errors import FeatureError
from kgvad.video.feature_store import Manifest, VideoEntry


def walk(rows, steps, seed=0):
    """Features on a random walk; ``steps`` is the size of the step to each snippet."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=DIM)
    base /= np.linalg.norm(base)
    noise = rng.normal(size=(rows, DIM)) / np.sqrt(DIM)
    return base + noise * np.broadcast_to(steps, rows)[:, None]


def manifest(**changes):
    return Manifest(**({"encoder": "efficientnet-lite0", "dim": DIM} | changes))


def entry(rows, **changes):
    return VideoEntry(**({"frame_count": 16 * rows + 5, "fps": 25.0, "rows": rows} | changes))


def score(features, **options):
    options.setdefault("encoder", manifest())
    return score_training_free(features, entry(features.shape[-2]), **options)


def test_an_event_stands_out_and_the_rest_stays_low():
    steps = np.full(120, 0.08)
    steps[60:80] = 0.9
    found = score(walk(120, steps))
    assert found.scores[62:78].min() > 0.5
    assert found.scores[:40].max() < 0.35
    assert found.scores[100:].max() < 0.35
    assert found.spans[0].tolist() == [0, 16]
    assert found.spans[-1].tolist() == [119 * 16, 120 * 16 + 5]  # the tail has the score of the last snippet


@pytest.mark.parametrize("step", [0.0, 0.01, 0.05, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_a_video_without_activity_gets_no_event(step, seed):
    assert score(walk(150, step, seed)).scores.max() < 0.35


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "blip"])
def test_a_video_that_is_evenly_busy_gets_no_event(encoder):
    """Even change is judged by the typical level where it is known, and never as an event where it is not."""
    busy = score(walk(150, 0.2), encoder=manifest(encoder=encoder)).scores
    assert busy.max() < 0.5
    assert np.ptp(busy) < 0.4


def test_the_ratio_is_the_change_over_the_baseline():
    """By hand: snippets alternate between two directions 60 degrees apart, so every change is 1 - cos 60 = 0.5."""
    pair = np.zeros((2, DIM))
    pair[0, 0] = 1
    pair[1, :2] = 0.5, np.sqrt(0.75)
    views = np.tile(pair, (20, 1))[None]
    rule = TrainingFreeRule(novelty_share=0.0)
    signal = np.log(0.5 + 1e-3)
    expected = signal - 0.25 * signal - 0.75 * np.log(0.03)
    np.testing.assert_allclose(log_ratio(views, 0.03, rule), expected, rtol=1e-9)
    np.testing.assert_allclose(log_ratio(views, None, rule), 0, atol=1e-9)  # no typical level: its own median


def test_the_score_is_one_half_at_three_and_a_half_times_the_baseline(monkeypatch):
    monkeypatch.setattr("kgvad.detector.scoring.training_free.log_ratio", lambda *_: np.log([0.7, 1.75, 3.5, 7.0]))
    found = score(walk(4, 0.1)).scores
    np.testing.assert_allclose(
        found, [1 / 26, 0.2, 0.5, 0.8], rtol=1e-6
    )  # with r / 3.5 = 1/5, 1/2, 1, 2: x^2 / (x^2 + 1)


def test_novelty_finds_a_still_scene_that_differs():
    features = walk(200, 0.03)
    features[150:180] = walk(30, 0.04, seed=9)  # another place, nearly as still as the first
    views = (features / np.linalg.norm(features, axis=1, keepdims=True))[None]
    typical = TYPICAL["efficientnet-lite0"]
    change = log_ratio(views, typical, TrainingFreeRule(novelty_share=0.0, windows=(1,)))
    both = log_ratio(views, typical, TrainingFreeRule(novelty_share=0.5, windows=(1,)))
    assert change[155:175].mean() - change[:140].mean() < 1  # far from the two cuts nothing moves
    assert both[155:175].mean() - both[:140].mean() > 2


def test_a_jump_at_the_very_start_is_counted_once():
    features = walk(120, 0.05)
    features[0] = walk(1, 0.9, seed=4)[0]  # a title picture
    middle = walk(120, 0.05)
    middle[60] = features[0]
    assert score(features).scores.max() <= score(middle).scores.max() + 0.05


def test_short_videos():
    one = score(walk(1, 0.1))
    assert one.scores[0] < 0.1
    assert any("one snippet" in note for note in one.origin.notes)
    assert len(score(walk(2, 0.1)).scores) == 2
    assert len(score(walk(5, 0.1)).scores) == 5


def test_ten_crops_are_used_together():
    features = np.stack([walk(40, 0.1, seed) for seed in range(10)])
    found = score(features)
    assert found.scores.shape == (40,)
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_allclose(score(features[order]).scores, found.scores, rtol=1e-5)


def test_size_of_the_features_does_not_matter():
    features = walk(60, 0.2)
    np.testing.assert_allclose(score(features * 37).scores, score(features).scores, rtol=1e-5)


def test_bad_features_are_named():
    features = walk(20, 0.1)
    features[7, 3] = np.nan
    with pytest.raises(FeatureError, match="row 7 holds NaN"):
        score(features)
    with pytest.raises(FeatureError, match=r"shape \[64\]"):
        score_training_free(features[0], entry(20), encoder=manifest())
    with pytest.raises(FeatureError, match="features of 20 snippets for a video of 21"):
        score_training_free(walk(20, 0.1), entry(21), encoder=manifest())
    with pytest.raises(FeatureError, match="features are 64 wide, those of efficientnet-lite0 1280; name the encoder"):
        score_training_free(walk(20, 0.1), entry(20), encoder=manifest(dim=1280))
    with pytest.raises(FeatureError, match=r"^the features are of type str, not numbers"):
        score_training_free("walk", entry(20), encoder=manifest())


def test_pixels_alone_name_no_category():
    found = score(walk(20, 0.1))
    assert found.alignment is None
    assert found.origin.names_categories == "no"
    assert found.origin.scorer == "training-free"
    assert not found.origin.trained
    assert found.origin.encoder_fingerprint == manifest().fingerprint


@dataclass
class Texts:
    """Text side of the toy joint space: three categories along three axes."""

    name: str = "toy"
    dim: int = DIM
    fingerprint: str = "f"
    joint: str | None = "toy"
    words: dict = field(default_factory=lambda: {"walk": 0, "fight": 1, "fire": 2})

    def encode(self, texts):
        return np.eye(DIM, dtype=np.float32)[[next(a for w, a in self.words.items() if w in t) for t in texts]]


def test_captions_raise_the_score_where_they_describe_an_abnormal_event():
    features = walk(60, 0.1)
    captions = {0: "people walk by", 16 * 30: "two men fight", 16 * 45: "people walk by"}
    with_captions = score(features, bank=toy_bank(), captions=captions, text_encoder=Texts())
    without = score(features)
    gain = with_captions.scores - without.scores
    assert gain[37] > gain[5]
    assert with_captions.alignment.shape == (60, 3)
    assert with_captions.alignment[37].argmax() == 1
    assert with_captions.alignment[5].argmax() == 0
    assert with_captions.origin.names_categories == "hint"
    assert not any("calmest" in note for note in with_captions.origin.notes), "the report says what the scores compare"
    assert with_captions.origin.bank_fingerprint == toy_bank().fingerprint


def test_captions_may_have_any_order_and_frames_as_json_has_them():
    captions = {0: "people walk by", 160: "two men fight", 480: "people walk by"}
    options = {"bank": toy_bank(), "text_encoder": Texts()}
    expected = score(walk(60, 0.1), captions=captions, **options).scores
    for same in (list(captions.items())[::-1], {str(frame): text for frame, text in captions.items()}):
        np.testing.assert_array_equal(score(walk(60, 0.1), captions=same, **options).scores, expected)
    for wrong in (["people walk by"], {"first": "people walk by"}, [(None, "x")], 3):
        with pytest.raises(FeatureError, match=r"captions are not texts by frame; give {frame: caption}"):
            score(walk(60, 0.1), captions=wrong, **options)


def test_captions_without_a_bank():
    with pytest.raises(FeatureError, match="without an anchor bank"):
        score(walk(20, 0.1), captions={0: "a man walks"})


def test_joint_encoder_aligns_frames_with_anchors():
    features = np.zeros((60, DIM))
    features[:, 0] = 1
    features[30:45, 1] = 2  # looks like a fight
    features += np.random.default_rng(0).normal(scale=0.01, size=features.shape)
    found = score(features, encoder=manifest(encoder="toy"), bank=toy_bank())
    assert found.alignment[37].argmax() == 1
    assert found.alignment[5].argmax() == 0
    assert found.scores[37] > found.scores[5]
    assert found.origin.names_categories == "hint"
    other = score(features, encoder=manifest(encoder="efficientnet-lite0"), bank=toy_bank())
    assert other.alignment is None  # another space: the bank says nothing about these features


def test_joint_encoder_of_another_width_is_refused():
    with pytest.raises(FeatureError, match="features are 32 wide and the anchors 64"):
        score_training_free(walk(20, 0.1)[:, :32], entry(20), encoder=manifest(encoder="toy", dim=32), bank=toy_bank())
