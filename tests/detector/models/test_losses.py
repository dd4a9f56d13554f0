"""Losses against values worked out by hand, and their gradients against finite differences."""

import math

import pytest
import torch

from kgvad.detector.models import losses

D = torch.float64


def logit(p):
    return torch.logit(torch.tensor(p, dtype=D))


def test_default_k():
    assert losses.default_k(torch.tensor([0, 1, 15, 16, 31, 32, 256])).tolist() == [1, 1, 1, 2, 2, 3, 17]


def test_topk_mean_ignores_padding_and_takes_columns_apart():
    values = torch.tensor([[[1.0, 8], [4, 2], [3, 6], [99, 99]]])
    assert losses.topk_mean(values, torch.tensor([3]), torch.tensor([2])).tolist() == [[3.5, 7.0]]
    assert losses.topk_mean(values[..., 0], torch.tensor([3]), torch.tensor([5])).tolist() == [pytest.approx(8 / 3)]


def test_other_values_change_the_choice_not_the_mean():
    values, choice = torch.tensor([[1.0, 2, 3]]), torch.tensor([[9.0, 0, 0]])
    assert losses.topk_mean(values, torch.tensor([3]), torch.tensor([1]), choice).tolist() == [1.0]


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


def test_lowest_scoring_snippets_are_valid():
    rows = torch.arange(4.0)[None, :, None].repeat(2, 1, 1)
    logits = torch.tensor([[3.0, 1, 2, -9], [0, 5, -7, -8]])
    found, keep = losses.lowest_scoring_snippets(rows, logits, torch.tensor([3, 2]), 0.7)
    assert found[0, :2, 0].tolist() == [1, 2]
    assert found[1, 0, 0] == 0
    assert keep.tolist() == [[True, True], [True, False]]


def test_compactness_by_hand():
    # cosines with the nearest prototype: 1 and 0.6; the third row does not count
    rows, prototypes = torch.tensor([[[2.0, 0], [3, 4], [-1, -1]]]), torch.tensor([[[1.0, 0], [-1, 0]]])
    keep = torch.tensor([[True, True, False]])
    assert losses.compactness(rows, keep, prototypes).tolist() == [pytest.approx((0 + 0.4) / 2)]


def test_consistency_by_hand():
    # p = .5; errors (1 - cos) / 2 are 0 and 1; the third row is padding
    rows, rebuilt = torch.tensor([[[1.0, 0], [1, 0], [1, 0]]]), torch.tensor([[[2.0, 0], [-3, 0], [0, 1]]])
    assert float(losses.consistency(torch.zeros(1, 3), rows, rebuilt, torch.tensor([2]))) == pytest.approx(0.25)


def test_event_and_background_by_hand():
    # p = 1/2 and 1/2 weigh equally; padding does not
    rows = torch.tensor([[[2.0], [4], [99]]])
    event, background = losses.event_background(rows, torch.zeros(1, 3), torch.tensor([2]))
    assert (float(event), float(background)) == (pytest.approx(3), pytest.approx(3))
    a, b = math.expm1(8), math.expm1(2)
    event, background = losses.event_background(rows[:, :2], logit([[0.8, 0.2]]).float(), torch.tensor([2]))
    assert float(event) == pytest.approx((2 * a + 4 * b) / (a + b), rel=1e-5)
    assert float(background) == pytest.approx((2 * b + 4 * a) / (a + b), rel=1e-5)


def test_smoothed_cross_entropy_by_hand():
    # target .9 + .05 and .05, softmax 3/4 and 1/4
    found = losses.smoothed_cross_entropy(torch.tensor([[math.log(3), 0]]), torch.tensor([[1.0, 0]]), 0.1)
    assert float(found) == pytest.approx(-(0.95 * math.log(3 / 4) + 0.05 * math.log(1 / 4)))


def test_semantic_alignment_by_hand():
    # k = 1. The video is of category 1, whose probabilities are 1/4, 1/2 and (padding) .9. Snippet 1 has the largest
    # logit of category 1, but in snippet 0 the others are larger still: the choice is by probability. Its caption
    # (3, 4) has cosine 3/5 with the class prompt (2, 0).
    alignment = torch.tensor([[[math.log(3), 0.0], [1.0, 1.0], [0.0, math.log(9)]]])
    captions = torch.tensor([[[0.0, 1.0], [3.0, 4.0], [0.0, 1.0]]])
    prompts = torch.tensor([[0.0, 7.0], [2.0, 0.0]])
    found = losses.semantic_alignment(captions, prompts, alignment, torch.tensor([2]), torch.tensor([1]))
    assert found.tolist() == [pytest.approx(1 - 3 / 5)]
    alignment = torch.tensor([[[5.0, 4.0], [0.0, 0.0], [0.0, 9.0]]])  # snippet 0 has the larger logit
    found = losses.semantic_alignment(captions, prompts, alignment, torch.tensor([2]), torch.tensor([1]))
    assert found.tolist() == [pytest.approx(1 - 3 / 5)]


def test_separation_sum_by_hand():
    # cosines of Normal (1, 0) with the others: 3/5, -1 (counts as 0) and 1
    text = torch.tensor([[3.0, 4.0], [2.0, 0.0], [-1.0, 0.0], [5.0, 0.0]])
    assert float(losses.separation_sum(text, 1)) == pytest.approx(3 / 5 + 1)


def test_distance_from_normal_by_hand():
    # normal snippets: (1, 0), (0, 2) and a padded one; cosines of (3, 4) with them are 3/5 and 4/5, of (-1, 0) -1 and 0
    snippets = torch.tensor([[[1.0, 0], [0, 2], [-9, 0]], [[3.0, 4], [-1, 0], [1, 0]]])
    lengths, abnormal = torch.tensor([2, 3]), torch.tensor([0.0, 1])
    distance = losses.normal_distance(snippets, lengths, abnormal)
    assert distance[1].tolist() == [pytest.approx(1 - 0.7), pytest.approx(1.5), pytest.approx(0.5)]
    assert losses.normal_distance(snippets, lengths, torch.ones(2)) is None


def test_greedy_choice_is_by_distance_in_abnormal_videos_only():
    values, distance = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[7.0, 6], [5, 9]])
    abnormal = torch.tensor([0.0, 1])
    assert losses.greedy_choice(values, distance, abnormal).tolist() == [[1, 2], [5, 9]]
    columns = losses.greedy_choice(torch.stack([values, -values], -1), distance, abnormal)
    assert columns[..., 1].tolist() == [[-1, -2], [5, 9]]
    assert losses.greedy_choice(values, None, abnormal) is None
    # the abnormal video's score is that of its farthest snippet, although another scores higher
    logits = torch.logit(torch.tensor([[0.5, 0.2], [0.25, 0.9]]))
    choice = losses.greedy_choice(logits, torch.tensor([[0.0, 9], [9, 0]]), abnormal)
    found = losses.mil_bce(logits, torch.tensor([2, 2]), abnormal, choice=choice)
    assert float(found) == pytest.approx(-(math.log(0.5) + math.log(0.25)) / 2)


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
        ("compactness", lambda r, q: losses.compactness(r, torch.ones(3, 5).bool(), q).sum(), [(3, 5, 4), (3, 2, 4)]),
        ("consistency", lambda s, r, q: losses.consistency(s, r, q, LENGTHS), [(3, 5), (3, 5, 4), (3, 5, 4)]),
        ("event", lambda r, s: torch.cat(losses.event_background(r, s, LENGTHS)), [(3, 5, 4), (3, 5)]),
        ("smoothed_cross_entropy", lambda x: losses.smoothed_cross_entropy(x, TARGETS, 0.1), [(3, 3)]),
        (
            "semantic",
            lambda t, q: losses.semantic_alignment(t, q, torch.eye(3)[None].repeat(3, 2, 1), LENGTHS, LENGTHS - 3),
            [(3, 6, 4), (3, 4)],
        ),
        ("separation_sum", lambda x: losses.separation_sum(x, 1), [(4, 6)]),
        ("agreement", lambda s, m: losses.agreement(s, m, LENGTHS, 0), [(3, 5), (3, 5, 3)]),
    ],
)
def test_gradients(name, function, shapes):
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=D, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(function, inputs), name
