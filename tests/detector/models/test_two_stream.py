"""Features and captions in two streams: what is added, what is learned apart, and what is the same as before."""

import pytest
import torch
from torch.nn import functional as F

from kgvad.detector.api import Batch, Problem
from kgvad.detector.registry import build
from kgvad.detector.training.gradient_accumulation import backward

SMALL = {"visual": {"width": 8}, "captions": {"width": 8}}


def problem(categories=3):
    torch.manual_seed(0)
    names = ("Normal", "A", "B", "C")[:categories]
    member = torch.arange(2 * categories) // 2
    anchors = F.normalize(torch.randn(4, 6), dim=-1)[:categories]
    concepts = F.normalize(torch.randn(8, 6), dim=-1)[: len(member)]
    return Problem(5, names, 0, anchors, concepts, member, caption_dim=6, captions_share_space=True)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    lengths = torch.tensor([9, 4, 7, 9, 2])
    return Batch(torch.randn(5, 9, 5), lengths, torch.eye(3)[[0, 1, 2, 0, 1]], 0, torch.randn(5, 9, 6))


@pytest.fixture
def detector(batch):
    torch.manual_seed(2)
    detector = build("anchor-fused", problem(), SMALL)
    detector.prepare(list(batch.features), list(batch.captions))
    return detector


def test_logits_are_added_at_one_deviation(detector, batch):
    detector.eval().logit_deviation.copy_(torch.tensor([4.0, 2.0]))
    both = detector(batch.features, batch.lengths, batch.captions)
    visual = detector.visual_stream(batch.features, batch.lengths)
    captioned = detector.caption_stream(batch.captions, batch.lengths)
    torch.testing.assert_close(both.logits, 0.75 * visual.logits + 1.5 * captioned.logits)
    torch.testing.assert_close(both.alignment, visual.alignment + captioned.alignment)
    assert detector.caption_stream.category_cosine_weight is not None  # captions and anchors share a space
    assert detector.visual_stream.category_cosine_weight is None


def test_the_running_deviation_is_that_of_the_streams(detector, batch):
    detector.train()
    for _ in range(100):
        backward(detector, batch)
    output = detector(batch.features, batch.lengths, batch.captions)
    valid = torch.arange(9)[None] < batch.lengths[:, None]
    expected = [one.logits[valid].std().item() for one in (output.visual_stream, output.caption_stream)]
    assert detector.logit_deviation.tolist() == pytest.approx(expected, rel=0.01)


def test_micro_batches_give_the_gradients_of_the_whole_batch(batch):
    torch.manual_seed(2)
    options = {name: {"width": 8, "logit_adjustment": False} for name in ("visual", "captions")}
    detector = build("anchor-fused", problem(), options)
    whole = backward(detector, batch)
    expected = {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}
    detector.zero_grad()
    assert backward(detector, batch, micro_batch=2) == pytest.approx(whole, rel=1e-5)
    found = {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_a_category_more_leaves_the_scores_alone(detector, batch):
    detector.eval().logit_deviation.copy_(torch.tensor([4.0, 2.0]))
    before = detector(batch.features, batch.lengths, batch.captions)
    more = detector.extended(problem(4)).eval()(batch.features, batch.lengths, batch.captions)
    torch.testing.assert_close(more.logits, before.logits)
    assert more.alignment.shape == (5, 9, 4)


def test_text_defaults_are_options_of_the_same_detector(batch):
    plain = {
        "anomaly_cosine_weight": 40.0,
        "smoothing_radius": 1,
        "head_rate": 1.0,
        "video_logit_weight": 0.0,
        "standardise_logits": False,
        "snippet_logit_weight": 1.0,
    }
    plain |= {"change_weight": 0.0, "novelty_weight": 0.0, "width": 8}
    found = []
    for name, options in (("anchor-aligned", plain), ("anchor-text", {"width": 8})):
        torch.manual_seed(3)
        found.append(build(name, problem(), options).eval()(batch.features, batch.lengths))
    torch.testing.assert_close(found[0].logits, found[1].logits, rtol=0, atol=0)
    torch.testing.assert_close(found[0].alignment, found[1].alignment, rtol=0, atol=0)
