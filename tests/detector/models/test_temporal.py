"""Temporal parts: equal to their plain definitions, and blind to padding."""

import math

import pytest
import torch

from kgvad.detector.api import valid_mask
from kgvad.detector.models import temporal


def test_distance_graph_values():
    graph = temporal.distance_graph(4)
    assert float(graph[0, 0]) == 1
    assert float(graph[2, 1]) == pytest.approx(0.6922, abs=1e-4)  # exp(-1 / e)
    assert torch.allclose(temporal.distance_graph(4, normalise=True).sum(1), torch.ones(4))


def test_similarity_graph_by_hand():
    # cosines: rows 0 and 1 are equal (1), row 2 is orthogonal (0, under the threshold); row 3 is padding
    x = torch.tensor([[[1.0, 0], [2, 0], [0, 1], [5, 5]]])
    graph = temporal.similarity_graph(x, torch.tensor([3]))[0]
    total = 2 * math.e + 1
    assert graph[0].tolist() == pytest.approx([math.e / total, math.e / total, 1 / total, 0], abs=1e-6)
    assert graph[2].tolist() == pytest.approx([1 / (2 + math.e), 1 / (2 + math.e), math.e / (2 + math.e), 0], abs=1e-6)
    assert graph[3].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [1, 7, 8, 20])
def test_windows_equal_a_block_mask(size):
    torch.manual_seed(0)
    layer = temporal.WindowAttention(16, 2, 8).eval()
    x = torch.randn(2, size, 16)
    lengths = torch.tensor([size, max(1, size - 3)])
    plain = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    plain.in_proj_weight.data, plain.in_proj_bias.data = layer.qkv.weight.data, layer.qkv.bias.data
    plain.out_proj.load_state_dict(layer.out.state_dict())
    place = torch.arange(size) // 8
    blocked = place[:, None] != place[None, :]
    y = layer.norm1(x)
    attended, _ = plain(y, y, y, attn_mask=blocked, key_padding_mask=~valid_mask(lengths, size))
    z = x + attended
    expected = z + layer.mlp(layer.norm2(z))
    keep = valid_mask(lengths, size)
    assert torch.allclose(layer(x, lengths)[keep], expected[keep], atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_padding_leaks_only_where_a_paper_leaks(legacy):
    torch.manual_seed(0)
    part = temporal.LocalGlobalAdapter(16, 1, 1, 8, 32, legacy=legacy).eval()
    x, lengths = torch.randn(1, 20, 16), torch.tensor([13])
    other = x.clone()
    other[:, 13:] = 50.0
    same = torch.allclose(part(x, lengths)[:, :13], part(other, lengths)[:, :13], atol=1e-5)
    assert same is not legacy


def test_change_by_hand():
    # steps 0, 4, 0 -> rows 0, 2, 2, 0 without smoothing
    x = torch.tensor([[[0.0], [0], [4], [4], [77]]])
    assert temporal.change(temporal.distances(x), torch.tensor([4]), smooth=0).tolist()[0] == pytest.approx(
        [0, 2, 2, 0, 0], abs=1e-4
    )


def test_novelty_by_hand():
    # distances to the nearest other row: 1, 1, 5; padding never counts
    x = torch.tensor([[[0.0], [1], [6], [6.1]]])
    assert temporal.novelty(temporal.distances(x), torch.tensor([3]), nearest=1, smooth=0).tolist()[0] == pytest.approx(
        [1, 1, 5, 0], abs=1e-4
    )


def test_standardise_by_hand():
    # mean 2, deviation 1; two rows shrink by 2 / (2 + 8)
    z = temporal.standardise(torch.tensor([[1.0, 3, 50]]), torch.tensor([2]))
    assert z.tolist()[0] == pytest.approx([-0.2, 0.2, 0], abs=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_change_of_short_and_still_videos_is_finite(rows):
    x, lengths = torch.ones(2, rows, 3), torch.tensor([rows, 1])
    gap = temporal.distances(x)
    assert temporal.standardise(temporal.change(gap, lengths), lengths).abs().max() < 1e-3
    assert temporal.novelty(gap, lengths).abs().max() < 1e-2


def test_smoothing_stops_at_the_end():
    x = torch.tensor([[3.0, 0, 6, 100]])
    assert temporal.masked_moving_average(x, torch.tensor([3]), 1).tolist()[0] == pytest.approx([1.5, 3, 3, 0])


def test_the_economical_network_equals_the_plain_one_in_values_and_gradients():
    torch.manual_seed(0)
    layer, x = temporal.FeedForward(6), torch.randn(5, 6, requires_grad=True)
    found = layer(x)
    found.square().sum().backward()
    gradients = [x.grad.clone(), *(p.grad.clone() for p in layer.parameters())]
    x.grad = None
    layer.zero_grad()
    wide = layer[0](x)
    expected = layer[2](wide * torch.sigmoid(1.702 * wide))
    expected.square().sum().backward()
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients, [x.grad, *(p.grad for p in layer.parameters())], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
