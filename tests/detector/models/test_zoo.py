"""The published detectors: their sizes, their blindness to padding, and that each trains."""

import pytest
import torch
from torch.nn import functional as F

from kgvad.detector.api import Batch, Problem
from kgvad.detector.models.multiscale import perturbed_topk
from kgvad.detector.models.zoo.vadclip import name_of_published
from kgvad.detector.registry import build, detector_class, detector_names
from kgvad.detector.training import gradient_accumulation as micro
from kgvad.detector.training.distributed import ProcessGroup
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.errors import RunError, UsageError

OWN = [
    *("anchor-aligned", "anchor-text", "anchor-fused", "linear", "mlp"),
    *("sultani", "rtfm", "clip_tsa", "vadclip", "dsanet", "semvad"),
]
SMALL = {
    "vadclip": {"width": 16, "positions": 32, "layers": 1},
    "dsanet": {"width": 16, "positions": 32, "layers": 1, "blocks": 1, "prototypes": 3},
    "semvad": {"width": 16, "positions": 32, "layers": 1},
    "mlp": {"dropout": 0.0},
    "sultani": {"dropout": 0.0},
    "rtfm": {"dropout": 0.0},
    "clip_tsa": {"samples": 10, "dropout": 0.0},
    "anchor-aligned": {"width": 16},
    "anchor-text": {"width": 16},
    "anchor-fused": {"visual": {"width": 16}, "captions": {"width": 16}},
}


def problem(dim=8, categories=3, d=6, caption_dim=5):
    torch.manual_seed(0)
    names = ("Normal", *(f"c{n}" for n in range(1, categories)))
    member = torch.arange(2 * categories) // 2
    anchors, concepts = (
        F.normalize(torch.randn(categories, d), dim=-1),
        F.normalize(torch.randn(len(member), d), dim=-1),
    )
    prompts = None if caption_dim is None else torch.randn(categories, caption_dim)
    return Problem(dim, names, 0, anchors, concepts, member, caption_dim, class_prompts=prompts)


def size(detector):
    return sum(p.numel() for p in detector.parameters() if p.requires_grad)


def clip(name, categories, **options):
    return build(name, problem(512, categories, 512), {"compatible": True} | options)


def test_parameter_counts_are_the_published_ones():
    ucf = clip("vadclip", 14)
    assert size(ucf) == 12_642_306
    assert size(clip("vadclip", 7, layers=1, window=64)) == 9_489_922
    assert size(build("rtfm", problem(2048))) == 24_718_849
    dsanet = clip("dsanet", 14)
    assert size(dsanet.normality) == 30_479_424
    assert size(dsanet.adapter) + size(dsanet.adapter_out) == 1_048_576
    # the published total has no prompt table
    assert size(dsanet) - dsanet.prompt_table.numel() == 44_130_882


def test_a_released_state_dict_fits():
    names = {
        "temporal.resblocks.1.attn.in_proj_weight": "temporal.local.1.qkv.weight",
        "temporal.resblocks.0.attn.out_proj.bias": "temporal.local.0.out.bias",
        "temporal.resblocks.0.mlp.c_fc.weight": "temporal.local.0.mlp.0.weight",
        "temporal.resblocks.0.ln_2.bias": "temporal.local.0.norm2.bias",
        "mlp1.c_proj.weight": "text_mlp.2.weight",
        "gc3.residual.weight": "temporal.near1.residual.weight",
        "linear.bias": "temporal.out.bias",
        "classifier.weight": "classifier.weight",
        "frame_position_embeddings.weight": "temporal.positions",
    }
    assert {name: name_of_published(name) for name in names} == names
    torch.manual_seed(3)
    ours = clip("vadclip", 14)
    back = {target: name for name, target in every_released_name().items()}
    state = {back[name]: torch.randn_like(value) * 0.02 for name, value in ours.state_dict().items()}
    state["clipmodel.visual.conv1.weight"] = torch.zeros(1)
    ours.load_released(state)
    assert torch.equal(ours.temporal.near2.weight, state["gc4.weight"])
    with pytest.raises(RunError, match=r"lacks classifier\.bias"):
        ours.load_released({name: value for name, value in state.items() if name != "classifier.bias"})
    with pytest.raises(RunError, match="fits nothing"):
        ours.load_released(state | {"extra": torch.zeros(1)})


def every_released_name():
    block = ["attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"]
    block += [f"{part}.{kind}" for part in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj") for kind in ("weight", "bias")]
    names = [f"temporal.resblocks.{n}.{name}" for n in (0, 1) for name in block]
    names += [f"gc{n}.weight" for n in (1, 2, 3, 4)]
    names += [f"gc{n}.residual.{kind}" for n in (1, 3) for kind in ("weight", "bias")]
    names += [f"{p}.{k}" for p in ("linear", "classifier") for k in ("weight", "bias")]
    names += [f"{m}.{c}.{k}" for m in ("mlp1", "mlp2") for c in ("c_fc", "c_proj") for k in ("weight", "bias")]
    names += ["text_prompt_embeddings.weight", "frame_position_embeddings.weight", "disAdj.sigma"]
    return {name: name_of_published(name) for name in names}


def test_vadclip_forward_by_its_definition():
    """The folded windows, the graphs and both branches against the published equations written out plainly."""
    model = build("vadclip", problem(16, 3, 16), {"width": 16, "layers": 1, "window": 4, "legacy": True}).eval()
    x, n = torch.randn(1, 12, 16), torch.tensor([12])
    part = model.temporal
    y = x + part.positions[:12]
    layer = part.local[0]
    z = layer.norm1(y)
    q, k, v = (z @ layer.qkv.weight.T + layer.qkv.bias).chunk(3, -1)
    block = torch.arange(12) // 4
    score = (q @ k.transpose(1, 2) / 4).masked_fill(block[:, None] != block[None], -torch.inf)
    y = y + layer.out(score.softmax(-1) @ v)
    y = y + layer.mlp(layer.norm2(y))
    cosine = F.cosine_similarity(y[:, :, None], y[:, None], dim=-1)
    similar = torch.where(cosine > 0.7, cosine, 0.0).softmax(-1)
    place = torch.arange(12.0)
    near = torch.exp(-(place[:, None] - place).abs() / torch.e)[None]

    def act(t):
        return t * torch.sigmoid(1.702 * t)

    def convolve(layer, t, graph):
        rest = t if layer.residual is None else layer.residual(t.transpose(1, 2)).transpose(1, 2)
        return act(graph @ (t @ layer.weight) + rest)

    a = convolve(part.similar2, convolve(part.similar1, y, similar), similar)
    b = convolve(part.near2, convolve(part.near1, y, near), near)
    big = part.out(torch.cat([a, b], -1))
    logits = model.classifier(big + model.snippet_mlp(big))[..., 0]
    prompt = F.normalize((logits[..., None] * big).sum(1), dim=-1)
    u = model.anchors + model.category_vectors + prompt
    lifted = u + model.text_mlp(u)
    expected = F.cosine_similarity(big[0][:, None], lifted[None], dim=-1) / 0.07
    found = model(x, n)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.alignment[0], expected, rtol=1e-3, atol=1e-3)


def batch_of(p, lengths=(9, 4, 9, 1)):
    torch.manual_seed(1)
    n = torch.tensor(lengths)
    x = torch.randn(len(n), 9, p.dim) * (torch.arange(9)[None, :, None] < n[:, None, None])
    targets = torch.eye(3)[[1, 0, 2, 0]]
    return Batch(x, n, targets, 0, torch.randn(len(n), 9, p.caption_dim))


@pytest.mark.parametrize("name", OWN)
def test_padding_never_leaks(name):
    p = problem()
    model = build(name, p, SMALL.get(name)).eval()
    batch = batch_of(p)
    other, text = batch.features.clone(), batch.captions.clone()
    other[1, 4:], text[1, 4:] = 77.0, -50.0
    one, two = model(batch.features, batch.lengths, batch.captions), model(other, batch.lengths, text)
    torch.testing.assert_close(one.logits[1, :4], two.logits[1, :4], rtol=1e-4, atol=1e-4)
    if one.alignment is not None:
        torch.testing.assert_close(one.alignment[1, :4], two.alignment[1, :4], rtol=1e-4, atol=1e-4)
    alone = model(batch.features[1:2, :4], batch.lengths[1:2], batch.captions[1:2, :4])
    torch.testing.assert_close(one.logits[1, :4], alone.logits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", OWN)
def test_every_detector_learns_a_batch(name):
    p = problem()
    torch.manual_seed(2)
    model = build(name, p, SMALL.get(name)).train()
    batch = batch_of(p)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        optimiser.zero_grad()
        values.append(sum(backward(model, batch).values()))
        optimiser.step()
    assert sum(values[-5:]) < sum(values[:5])
    assert all(v == v for v in values)


def test_micro_batches_where_an_output_is_constant(monkeypatch):
    """In compatible mode the text features are the anchors themselves: nothing carries a gradient to them."""
    monkeypatch.setattr(detector_class("vadclip"), "losses_average_over_videos", False)
    p = problem(16, 3, 16)
    model = build("vadclip", p, {"width": 16, "layers": 1, "window": 4, "compatible": True})
    batch = batch_of(p)
    backward(model, batch)
    whole = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    backward(model, batch, 3)
    assert whole.keys() == {name for name, value in model.named_parameters() if value.grad is not None}
    for name, value in model.named_parameters():
        if name in whole:
            torch.testing.assert_close(value.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_anchor_aligned_multiplies_the_probability_of_the_video_with_that_of_the_snippet():
    p = problem()
    plain = {"width": 16, "change_weight": 0.0, "novelty_weight": 0.0, "standardise_logits": False}
    whole, both = (build("anchor-aligned", p, plain | {"snippet_logit_weight": weight}).eval() for weight in (0.0, 0.8))
    for model in (whole, both):
        with torch.no_grad():
            model.snippet_head.weight.copy_(torch.linspace(-1, 1, 8)[None])
    batch = batch_of(p)
    one, two = whole(batch.features, batch.lengths), both(batch.features, batch.lengths)
    first = one.snippet_logits[0].sort(descending=True).values[:1]  # 9 snippets: k is 1
    assert one.logits[0].tolist() == pytest.approx([3 * F.logsigmoid((one.video_logits[0] + first) / 2).item()] * 9)
    torch.testing.assert_close(two.logits - one.logits, 0.8 * one.snippet_logits)
    with torch.no_grad():
        both.video_head.bias.fill_(90.0)  # every video is abnormal: the snippet logits decide
    torch.testing.assert_close(both(batch.features, batch.lengths).logits, 0.8 * two.snippet_logits)


def test_anomaly_heads_learn_faster_towards_the_same_optimum():
    """Four times the rate: a quarter of the weights scores and is penalised alike, and the first step goes further."""
    p, options = problem(), {"width": 16, "change_weight": 0.0, "novelty_weight": 0.0, "dropout": 0.0}
    batch, outputs, moves = batch_of(p), [], []
    for rate in (1.0, 4.0):
        torch.manual_seed(2)
        model = build("anchor-aligned", p, options | {"head_rate": rate})
        with torch.no_grad():
            model.snippet_head.weight.copy_(torch.linspace(-1, 1, 8)[None] / rate)
            model.video_head.weight.copy_(torch.linspace(-1, 1, 24)[None] / rate)
        outputs.append(model(batch.features, batch.lengths))
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        backward(model, batch)
        optimiser.step()
        moves.append((model(batch.features, batch.lengths).video_logits - outputs[-1].video_logits).detach())
    for name in ("logits", "snippet_logits", "video_logits", "penalty"):
        torch.testing.assert_close(getattr(outputs[0], name), getattr(outputs[1], name))
    torch.testing.assert_close(moves[1], 4 * moves[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in OWN if detector_class(name).losses_average_over_videos])
def test_losses_of_parts_add_up_to_those_of_the_batch(name, monkeypatch):
    p = problem(16, 3, 16)
    batch = batch_of(p)
    sizes_seen = []

    def step(losses_average_over_videos, micro_batch=0, snippets=2048):
        torch.manual_seed(1)
        monkeypatch.setattr(micro, "MICRO_BATCH_SNIPPETS", snippets)
        monkeypatch.setattr(detector_class(name), "losses_average_over_videos", losses_average_over_videos)
        model = build(name, p, SMALL[name])
        model.register_forward_pre_hook(lambda _, inputs: sizes_seen.append(len(inputs[1])))
        sizes_seen.clear()
        losses = backward(model, batch, micro_batch)
        return losses, {key: value.grad for key, value in model.named_parameters() if value.grad is not None}

    losses, gradients = step(False)
    assert sizes_seen == [4]
    for asked, sizes in (({"micro_batch": 3}, [3, 1]), ({"snippets": 2 * 9}, [2, 2])):
        own, grads = step(True, **asked)
        assert sizes_seen == sizes
        assert own == pytest.approx(losses, rel=1e-4)
        assert grads.keys() == gradients.keys()
        for key, value in gradients.items():
            torch.testing.assert_close(grads[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["vadclip", "dsanet"])
def test_the_shares_of_two_processes_add_up_to_the_batch(name, monkeypatch):
    p = problem(16, 3, 16)
    batch = batch_of(p)
    found = []
    for sizes in (1, 2):
        torch.manual_seed(1)
        model = build(name, p, SMALL[name])
        group = ProcessGroup()
        group.world_size = sizes
        monkeypatch.setattr(group, "sum", lambda value: value)  # this test adds up in place of the processes
        monkeypatch.setattr(group, "sum_gradients", lambda parameters: None)
        losses = []
        for group.rank in range(sizes):
            losses.append(backward(model, batch, 0, "fp32", group))
        total = {key: sum(each[key] for each in losses) for key in losses[0]}
        found.append((total, {key: value.grad for key, value in model.named_parameters() if value.grad is not None}))
    (whole, expected), (total, gradients) = found
    assert total == pytest.approx(whole, rel=1e-4)
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-3, atol=1e-5)


def test_names():
    own = [*OWN[:3], "additive", *OWN[3:]]
    assert detector_names()[: len(own)] == own
    assert [detector_class(name).name for name in own] == own
    with pytest.raises(UsageError, match=r"'vadclap'; choose one of anchor-aligned"):
        detector_class("vadclap")
    with pytest.raises(UsageError, match="option width"):
        build("vadclip", problem(), {"width": "wide"})
    with pytest.raises(UsageError, match="needs an anchor bank"):
        build("vadclip", Problem(8, ("Normal", "A"), 0))
    with pytest.raises(UsageError, match="captions"):
        build("semvad", problem(caption_dim=None))
    with pytest.raises(UsageError, match="captions"):
        build("anchor-fused", problem(caption_dim=None))


def test_soft_selection_is_top_k_without_noise_and_its_gradient_points_uphill():
    x = torch.tensor([[0.1, 0.9, 0.5, 0.3]], requires_grad=True)
    torch.manual_seed(0)
    choice = perturbed_topk(x, 2, 200, 1e-4)
    torch.testing.assert_close(choice, torch.tensor([[[0.0, 1, 0, 0], [0, 0, 1, 0]]]))
    choice = perturbed_topk(x, 2, 4000, 0.3)
    assert choice.sum(-1).tolist() == [pytest.approx([1, 1], abs=1e-4)]
    choice.sum(1)[
        0, 3
    ].backward()  # the probability of selecting snippet 3 grows with its own value and falls with the others'
    assert x.grad[0, 3] > 0
    assert (x.grad[0, :3] < 0.05).all()


def test_soft_choice_gradient_equals_the_estimator_written_out():
    torch.manual_seed(0)
    x = torch.randn(1, 5)
    weight = torch.randn(2, 5)
    torch.manual_seed(7)
    noise = torch.randn(1, 50, 5)
    each = []
    for sample in noise[0]:
        places = (x[0] + 0.2 * sample).topk(2).indices.sort().values
        each.append((weight * F.one_hot(places, 5)).sum() * sample / 0.2)
    torch.manual_seed(7)
    y = x.clone().requires_grad_()
    (perturbed_topk(y, 2, 50, 0.2)[0] * weight).sum().backward()
    torch.testing.assert_close(y.grad[0], torch.stack(each).mean(0))
