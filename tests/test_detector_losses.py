"""Losses against values worked out by hand, and their gradients against finite differences."""

import math

import pytest
import torch

from kgvad.detector import losses

D = torch.float64


def logit(p):
    return torch.logit(torch.tensor(p, dtype=D))


def test_default_k():
    assert losses.default_k(torch.tensor([0, 1, 15, 16, 31, 32, 256])).tolist() == [1, 1, 1, 2, 2, 3, 17]


def test_topk_mean_ignores_padding_and_takes_columns_apart():
    values = torch.tensor([[[1.0, 8], [4, 2], [3, 6], [99, 99]]])
    assert losses.topk_mean(values, torch.tensor([3]), torch.tensor([2])).tolist() == [[3.5, 7.0]]
    assert losses.topk_mean(values[..., 0], torch.tensor([3]), torch.tensor([5])).tolist() == [pytest.approx(8 / 3)]


def test_noise_changes_the_choice_not_the_values():
    values, noise = torch.tensor([[1.0, 2, 3]]), torch.tensor([[9.0, 0, 0]])
    assert losses.topk_mean(values, torch.tensor([3]), torch.tensor([1]), noise).tolist() == [1.0]


def test_mil_bce_by_hand():
    # k = 1: the abnormal video's best is .8, the normal one's .5
    loss = losses.mil_bce(logit([[0.1, 0.8], [0.5, 0.9]]), torch.tensor([2, 1]), torch.tensor([1.0, 0], dtype=D))
    assert float(loss) == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)


def test_mil_ranking_by_hand():
    logits = logit([[0.2, 0.7], [0.4, 0.1], [0.9, 0.3]])
    loss = losses.mil_ranking(logits, torch.tensor([2, 2, 2]), torch.tensor([1.0, 0, 0]))
    assert float(loss) == pytest.approx(((1 - 0.7 + 0.4) + (1 - 0.7 + 0.9)) / 2)
    assert float(losses.mil_ranking(logits, torch.tensor([2, 2, 2]), torch.tensor([1.0, 1, 1]))) == 0


def test_smoothness_and_sparsity_stop_at_the_end_of_the_video():
    scores, lengths = torch.tensor([[0.0, 1, 0.5, 9], [1, 1, 9, 9]]), torch.tensor([3, 2])
    assert float(losses.smoothness(scores, lengths)) == pytest.approx((1 + 0.25 + 0) / 2)
    assert float(losses.sparsity(scores, lengths)) == pytest.approx((1.5 + 2) / 2)


def test_mil_align_by_hand_with_two_labels():
    # k = 1 per category: the pooled logits are (0, log 3, 0); softmax 1/5, 3/5, 1/5; the target is half and half
    alignment = torch.tensor([[[0.0, 0, 0], [-1, math.log(3), -2]]], dtype=D)
    loss = losses.mil_align(alignment, torch.tensor([2]), torch.tensor([[0.0, 1, 1]], dtype=D))
    assert float(loss) == pytest.approx(-(math.log(3 / 5) + math.log(1 / 5)) / 2)


def test_category_weights():
    logits = torch.zeros(2, 2, dtype=D)
    targets, weights = torch.eye(2, dtype=D), torch.tensor([3.0, 1.0], dtype=D)
    assert float(losses.soft_cross_entropy(logits, targets, weights)) == pytest.approx(math.log(2))
    logits[0, 0] = math.log(3)  # the first row costs log(4/3), and counts three times
    expected = (3 * math.log(4 / 3) + math.log(2)) / 4
    assert float(losses.soft_cross_entropy(logits, targets, weights)) == pytest.approx(expected)


def test_text_separation_by_hand():
    anchors = torch.tensor([[1.0, 0], [0, 2], [-3, 0], [3, 4]])
    assert float(losses.text_separation(anchors, 0)) == pytest.approx((0 + 1 + 0.6) / 3)


def test_agreement_by_hand():
    # p = .5; 1 - softmax[normal] = 2/3 and 1/3; the third row is padding
    alignment = torch.tensor([[[0.0, math.log(2)], [math.log(2), 0], [9, 0]]], dtype=D)
    loss = losses.agreement(torch.zeros(1, 3, dtype=D), alignment, torch.tensor([2]), 0)
    assert float(loss) == pytest.approx((1 / 36 + 1 / 36) / 2)


LENGTHS = torch.tensor([5, 3, 4])
ABNORMAL = torch.tensor([1.0, 0, 1], dtype=D)
TARGETS = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]], dtype=D)


@pytest.mark.parametrize(
    ("name", "function", "shapes"),
    [
        ("mil_bce", lambda s: losses.mil_bce(s, LENGTHS, ABNORMAL), [(3, 5)]),
        ("mil_ranking", lambda s: losses.mil_ranking(s, LENGTHS, ABNORMAL), [(3, 5)]),
        ("smoothness", lambda s: losses.smoothness(s, LENGTHS), [(3, 5)]),
        ("sparsity", lambda s: losses.sparsity(s, LENGTHS), [(3, 5)]),
        ("soft_cross_entropy", lambda x: losses.soft_cross_entropy(x, TARGETS), [(3, 3)]),
        ("mil_align", lambda x: losses.mil_align(x, LENGTHS, TARGETS), [(3, 5, 3)]),
        ("text_separation", lambda x: losses.text_separation(x, 1), [(4, 6)]),
        ("agreement", lambda s, m: losses.agreement(s, m, LENGTHS, 0), [(3, 5), (3, 5, 3)]),
    ],
)
def test_gradients(name, function, shapes):
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=D, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(function, inputs), name
