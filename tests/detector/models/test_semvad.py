"""SemVAD's equations, each with a value worked out by hand."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kgvad.detector.api import Batch, Problem
from kgvad.detector.models.zoo.semvad_fusion import Attention, Fusion, Mixer
from kgvad.detector.registry import build
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.errors import UsageError


def plain(attention):
    """Without the feed-forward network, and with identities for the norms."""
    for parameter in attention.feed_forward.parameters():
        nn.init.zeros_(parameter)
    attention.norm1 = attention.norm2 = nn.Identity()
    return attention


def test_attention_over_time_by_hand():
    attention = plain(Attention(4, 3, "paper", "keys"))
    # D = 4, scale 1/2. The query (2 ln 3, 0, 0, 0) has scores ln 3 and 0 with the keys (1, 0, 0, 0) and (0, 1, 0, 0):
    # weights 3/4 and 1/4; the third clip is padding. The weighted keys are added to the query.
    f = torch.tensor([[[2 * math.log(3), 0, 0, 0], [0.0] * 4, [5.0] * 4]])
    t = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [99.0] * 4]])
    found = attention(f, t, torch.zeros(1, 3, 3), torch.tensor([[True, True, False]]))
    assert found[0, 0].tolist() == pytest.approx([2 * math.log(3) + 0.75, 0.25, 0, 0], abs=1e-6)
    assert found[0, 1].tolist() == pytest.approx([0.5, 0.5, 0, 0])


def test_attention_over_channels_by_hand():
    attention = plain(Attention(2, 3, "released", "keys"))
    # D = 2, scale 1: f^T t = [[ln 3, 0], [0, 0]] over two clips; rows of weights 3/4, 1/4 and 1/2, 1/2
    f, t = torch.tensor([[[math.log(3), 0.0], [0, 0]]]), torch.tensor([[[1.0, 0.0], [4, 8]]])
    found = attention(f, t, torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
    # added to t, not to f: clip 0 is t = (1, 0) + (3/4, 1/2), clip 1 (4, 8) + (3/4 4 + 1/4 8, 6)
    assert found[0].flatten().tolist() == pytest.approx([1.75, 0.5, 9, 14])


def test_projected_values_replace_the_keys():
    attention = plain(Attention(2, 3, "paper", "projected"))
    with torch.no_grad():
        attention.values.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 2]]))
        attention.values.bias.zero_()
    zero = torch.zeros(1, 1, 2)
    found = attention(zero, zero + 7, torch.tensor([[[3.0, 4, 5]]]), torch.ones(1, 1, dtype=torch.bool))
    assert found.flatten().tolist() == pytest.approx([3, 10])  # one clip, weight 1: V = (3, 2 * 5)


def test_feed_forward_has_a_residual_and_a_norm():
    attention = Attention(2, 1, "paper", "keys", hidden=1)
    first, _, second = attention.feed_forward
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0]]))
        first.bias.zero_()
        second.weight.copy_(torch.tensor([[3.0], [0]]))
        second.bias.zero_()
    zero = torch.zeros(1, 1, 2)
    found = attention(zero + torch.tensor([4.0, 2]), zero, zero[..., :1], torch.ones(1, 1, dtype=torch.bool))
    # LN(4, 2) = (1, -1); ReLU(1) 3 = 3 is added to the first: (4, -1), whose norm is (1, -1)
    assert found.flatten().tolist() == pytest.approx([1, -1], abs=1e-4)
    assert Attention(2, 1, "released", "keys").norm2 is not Attention(2, 1, "paper", "keys").norm2
    shared = Attention(2, 1, "released", "keys")
    assert shared.norm1 is shared.norm2


def test_mixer_by_hand():
    mixer = Mixer(1)
    with torch.no_grad():
        # stack 0 (captions) weighs 1, 2, 3 over time, stack 1 (features) 10, 20, 30
        mixer.convolution.weight.copy_(torch.tensor([[[[1.0, 2, 3], [10, 20, 30]]]]))
        mixer.convolution.bias.fill_(0.5)
        mixer.linear.weight.fill_(2.0)
        mixer.linear.bias.fill_(-1.0)
    attended, f = torch.tensor([[[1.0], [2], [9]]]), torch.tensor([[[0.1], [0.2], [9]]])
    found = mixer(attended, f, torch.tensor([[True, True, False]]))[0, :, 0]
    # clip 0: 2 1 + 3 2 + 20 .1 + 30 .2 + .5; clip 1: 1 1 + 2 2 + 10 .1 + 20 .2 + .5 (the third clip is padding)
    expected = [2 * F.gelu(torch.tensor(x)).item() - 1 for x in (16.5, 10.5)]
    assert found[:2].tolist() == pytest.approx(expected)


def test_the_stages_are_those_of_the_ablation():
    torch.manual_seed(0)
    x, c, n = torch.randn(1, 3, 6), torch.randn(1, 3, 5), torch.tensor([3])
    for stage in ("concatenation", "attention", "mixer"):
        fusion = Fusion(6, 5, 4, stage)
        fused, projected = fusion(x, c, n)
        assert fused.shape == (1, 3, 8)
        torch.testing.assert_close(fused[..., :4], fusion.visual(x))
        torch.testing.assert_close(projected, fusion.captions(c))
        if stage == "concatenation":
            torch.testing.assert_close(fused[..., 4:], projected)
        if stage == "attention":
            attended = fusion.attention(fusion.visual(x), projected, c, torch.ones(1, 3, dtype=torch.bool))
            torch.testing.assert_close(fused[..., 4:], attended)


def problem(**changes):
    names = ("Normal", "A", "B")
    fields = {"anchors": torch.eye(3), "caption_dim": 2, "class_prompts": torch.tensor([[1.0, 0], [0, 1], [1, 1]])}
    return Problem(4, names, 0, **(fields | changes))


def make(changes=None, **options):
    torch.manual_seed(0)
    model = build(
        "semvad", problem(**(changes or {})), {"width": 8, "layers": 1, "positions": 8, "window": 2} | options
    )
    return model.train()


def batch():
    torch.manual_seed(1)
    n = torch.tensor([5, 3, 4])
    targets = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]])
    return Batch(torch.randn(3, 5, 4), n, targets, 0, torch.randn(3, 5, 2))


def test_semantic_loss_is_over_abnormal_videos_and_their_first_category():
    model, videos = make(), batch()
    output = model(videos.features, videos.lengths, videos.captions)
    prompts = model.fusion.captions(model.class_prompts)
    expected = []
    for video, label in ((0, 1), (2, 2)):  # k is 1
        best = output.alignment[video, : videos.lengths[video]].softmax(-1)[:, label].argmax()
        caption = model.fusion.captions(videos.captions)[video, best]
        expected.append(1 - F.cosine_similarity(caption, prompts[label], dim=0))
    terms = model.losses(output, videos)
    torch.testing.assert_close(terms["semantic"], sum(expected) / 2)
    with_normal = make(semantic_videos="all")
    output = with_normal(videos.features, videos.lengths, videos.captions)
    best = output.alignment[1, :3].softmax(-1)[:, 0].argmax()
    caption = with_normal.fusion.captions(videos.captions)[1, best]
    third = 1 - F.cosine_similarity(caption, prompts[0], dim=0)
    torch.testing.assert_close(with_normal.losses(output, videos)["semantic"], (sum(expected) + third) / 3)


def test_the_loss_is_the_sum_of_the_four_terms_of_the_paper():
    videos = batch()
    for separation in ("sum", "mean"):
        model = make(separation=separation, separation_weight=0.5)
        output = model(videos.features, videos.lengths, videos.captions)
        terms = model.losses(output, videos)
        assert list(terms) == ["bce", "align", "separation", "semantic"]
        text = model.text_features()
        cosines = F.cosine_similarity(text[:1], text[1:])
        expected = cosines.clamp(min=0).sum() if separation == "sum" else cosines.abs().mean()
        torch.testing.assert_close(terms["separation"], 0.5 * expected)
    assert "semantic" not in make(semantic_weight=0.0).losses(output, videos)


def test_semantic_loss_in_parts_is_that_of_the_batch():
    """Also where a part has no abnormal video."""
    found = []
    for micro_batch in (0, 1):
        model = make()
        losses = backward(model, batch(), micro_batch)
        found.append((losses, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}))
    (whole, gradients), (parts, others) = found
    assert parts == pytest.approx(whole, rel=1e-4)
    for name, value in gradients.items():
        torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-5)


def test_class_prompts_are_standardised_as_the_captions_are():
    model = make({"standardise": True})
    model.fit_input("captions", [torch.tensor([[1.0, 3], [3, 5]])])
    # centre (2, 4), standard deviation 1
    assert model.standardised_prompts().tolist() == [[-1, -4], [-2, -3], [-1, -3]]


@pytest.mark.parametrize("features", ["adapter", "input"])
def test_sigma_greedy_changes_bce_and_align_only(features):
    model, videos = make(greedy_features=features), batch()
    output = model(videos.features, videos.lengths, videos.captions)
    usual = model.losses(output, videos)
    greedy = model.losses(output, dataclasses.replace(videos, select_by_distance=True))
    snippets = output.snippets if features == "adapter" else videos.features
    unit = F.normalize(snippets, dim=-1)
    normal = unit[1, :3]
    p = output.logits.sigmoid()
    far = {video: (1 - unit[video, :n] @ normal.T).mean(1).argmax() for video, n in ((0, 5), (2, 4))}
    bce = -(p[0, far[0]].log() + (1 - p[1, :3].max()).log() + p[2, far[2]].log()) / 3
    torch.testing.assert_close(greedy["bce"], bce)
    assert not torch.equal(greedy["align"], usual["align"])
    for name in ("separation", "semantic"):
        torch.testing.assert_close(greedy[name], usual[name])


def test_parameter_counts():
    """Of CLIP's 512 dimensions: VadCLIP's two branches at width 1024, and the fusion."""
    torch.manual_seed(0)
    names = tuple(map(str, range(14)))
    clip = Problem(512, names, 0, torch.randn(14, 512), caption_dim=512)

    def size(module):
        return sum(parameter.numel() for parameter in module.parameters())

    model = build("semvad", clip, {"learn": "none"})
    linear = 512 * 512 + 512
    attention = 512 * 256 + 256 + 256 * 512 + 512 + 4 * 512
    mixer = 512 * 512 * 6 + 512 + linear
    assert size(model.fusion) == 2 * linear + attention + mixer == 2_626_304
    assert size(model) - size(model.fusion) == size(model.temporal) + size(model.text_mlp) * 2 + 1025 + 512 * 1024
    for options, more in (
        ({"values": "projected"}, linear),
        ({"form": "released"}, -2 * 512),
        ({"hidden": 512}, 262_400),
    ):
        assert size(build("semvad", clip, {"learn": "none"} | options).fusion) - size(model.fusion) == more


def test_compatible_mode_is_refused():
    with pytest.raises(UsageError, match="semvad has no compatible mode"):
        make(compatible=True)
