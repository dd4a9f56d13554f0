"""The additive detector: its logits are sums over named columns, and the knowledge graph is where its weights start."""

import numpy as np
import pytest
import torch

from kgvad.detector.api import Batch, Problem
from kgvad.detector.models.additive import Additive, smooth_over_time, standardise_columns, text_prior
from kgvad.detector.registry import build
from kgvad.errors import UsageError

COLUMNS = ("shooting goal", "extinguishing fire", "driving car", "pushing car", "eating", "hugging")
CATEGORIES = ("Arson", "Normal", "RoadAccidents")


def problem(**changes):
    anchors = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0.1], [0, 1.0, 0], [0.1, 0, 1.0]]), dim=-1)
    vectors = torch.tensor([[0.2, 0.9, 0], [0.9, 0.1, 0], [0, 0.3, 0.9], [0.1, 0.1, 0.8], [0, 1.0, 0], [0.1, 0.9, 0.1]])
    fields = {
        "dim": len(COLUMNS),
        "categories": CATEGORIES,
        "normal": 1,
        "anchors": anchors,
        "columns": COLUMNS,
        "column_vectors": vectors,
    }
    return Problem(**(fields | changes))


def detector(**options):
    torch.manual_seed(0)
    found = build("additive", problem(), options)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    found.prepare([torch.randn(40, len(COLUMNS))])
    return found.eval()


def videos(lengths=(9, 5), width=len(COLUMNS)):
    features = torch.randn(len(lengths), max(lengths), width)
    for index, length in enumerate(lengths):
        features[index, length:] = 0
    return features, torch.tensor(lengths)


def test_contributions_add_up_to_the_alignment():
    found = detector()
    features, lengths = videos((9,))
    output = found(features, lengths)
    weights = torch.rand(9).softmax(0)
    terms = found.contributions(features[0], weights)
    for index, bias in zip((0, 2), found.category_bias, strict=True):
        mean = weights @ output.alignment[0, :, index]
        assert float((terms[index].sum() + bias).detach()) == pytest.approx(float(mean.detach()), abs=1e-5)
    assert not terms[1].any()


def test_normal_has_one_minus_the_anomaly_score():
    found = detector()
    output = found(*videos((9,)))
    share = output.alignment.softmax(-1)[..., 1]
    torch.testing.assert_close(share, 1 - torch.sigmoid(output.logits))


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(causal):
    found = detector(causal=causal)
    features, lengths = videos()
    both = found(features, lengths)
    alone = found(features[1:, :5], lengths[1:])
    torch.testing.assert_close(both.logits[1, :5], alone.logits[0])
    torch.testing.assert_close(both.video[1], alone.video[0])


def test_the_causal_form_does_not_see_the_future():
    found = detector(causal=True)
    features, lengths = videos((9,))
    later = features.clone()
    later[0, 6:, 0] += 3
    torch.testing.assert_close(found(features, lengths).logits[0, :6], found(later, lengths).logits[0, :6])
    whole = detector()
    assert not torch.allclose(whole(features, lengths).logits[0, :6], whole(later, lengths).logits[0, :6])


def test_a_constant_added_to_all_columns_changes_nothing():
    found = detector()
    features, lengths = videos((9,))
    torch.testing.assert_close(found(features, lengths).logits, found(2 * features + 5, lengths).logits)


def test_the_prior_relates_names_to_anchors_by_hand():
    prior = text_prior(problem().column_vectors, problem().anchors[[0, 2]])
    assert prior[:, 0].argmax() == COLUMNS.index("extinguishing fire")
    assert prior[:, 1].argmax() == COLUMNS.index("driving car")
    torch.testing.assert_close(prior.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(prior.square().mean(0), torch.ones(2))
    untrained = build("additive", problem(), {"prior": 0.5})
    torch.testing.assert_close(untrained.category_local_weight, 0.5 * prior)


def test_smoothing_is_a_normalised_gaussian():
    x = torch.zeros(1, 5, 1)
    x[0, 2] = 1.0
    valid = torch.tensor([1.0, 1, 1, 1, 0])[None, :, None]
    near, far = np.exp(-0.5), np.exp(-2.0)
    expected = [far / (1 + near + far + np.exp(-4.5)), near / (1 + 2 * near + far), 1 / (1 + 2 * near + far)]
    found = smooth_over_time(x, valid, 1.0)[0, :, 0]
    assert found[:3].numpy() == pytest.approx(expected, abs=1e-3)
    assert found[4] == 0


def test_standardised_columns_by_hand():
    found = standardise_columns(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0], [0.0, 0.0]]))


def test_ridges_count_less_with_more_videos_and_labels_set_the_shares():
    found = build("additive", problem(), {})
    with torch.no_grad():
        found.local_weight.fill_(1.0)
    features, lengths = videos()
    batch = Batch(features, lengths, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), 1)
    few = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    found.observe_labels(few)
    assert found.losses(found(features, lengths), batch)["ridge"].item() == pytest.approx(150 * 6 / 2, rel=1e-4)
    found.observe_labels(few.repeat(10, 1))
    assert found.losses(found(features, lengths), batch)["ridge"].item() == pytest.approx(150 * 6 / 20, rel=1e-4)
    assert found.log_share.exp().tolist() == pytest.approx([1.0, 0.05])


def test_starting_from_another_run_takes_what_it_knows():
    shipped = detector()
    own = build("additive", problem(categories=("RoadAccidents", "Normal", "Flood")), {})
    prior = own.category_local_weight.detach().clone()
    own.start_from(shipped)
    torch.testing.assert_close(own.category_local_weight[:, 0], shipped.category_local_weight[:, 1])
    torch.testing.assert_close(own.category_local_weight[:, 1], prior[:, 1])
    torch.testing.assert_close(own.local_target, shipped.local_weight)
    other = build("additive", problem(columns=COLUMNS[::-1]), {})
    with pytest.raises(UsageError, match="other feature columns"):
        other.start_from(shipped)


def test_features_without_names_are_refused():
    with pytest.raises(UsageError, match="--encoder i3d-actions"):
        build("additive", problem(columns=()), {})


def test_it_learns_which_column_says_what():
    torch.manual_seed(1)
    found = build("additive", problem(), {"ridge_local": 0.1, "ridge_video": 0.1, "ridge_category": 0.1})
    assert isinstance(found, Additive)
    features, lengths = 0.3 * torch.randn(24, 12, 6), torch.full((24,), 12)
    targets = torch.zeros(24, 3)
    for index in range(24):
        kind = index % 3
        targets[index, kind] = 1
        if kind != 1:
            features[index, 4:7, 1 if kind == 0 else 2] += 4
    found.observe_labels(targets)
    found.prepare(list(features))
    batch = Batch(features, lengths, targets, 1)
    optimiser = torch.optim.AdamW(found.parameters(), lr=0.02, weight_decay=0)
    for _ in range(150):
        optimiser.zero_grad()
        sum(found.losses(found(features, lengths), batch).values()).backward()
        optimiser.step()
    found.eval()
    output = found(features, lengths)
    abnormal = targets[:, 1] == 0
    assert (output.video[abnormal][:, [0, 2]].argmax(1) == targets[abnormal][:, [0, 2]].argmax(1)).all()
    assert output.logits[0, 5] > output.logits[0, 0] + 1
    during = torch.zeros(features.shape[1])
    during[4:7] = 1 / 3
    assert found.contributions(features[0], during)[0].argmax() == 1
    assert found.contributions(features[2], during)[2].argmax() == 2
