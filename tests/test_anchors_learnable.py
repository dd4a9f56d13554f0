"""Learnable prompts and adapters: what learns, where vectors stand, and that no stale vector is used."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kgvad.anchors.learnable import LearnedAnchors, PromptLearner, ResidualAdapter, TextAdapter
from kgvad.anchors.text import load_text_encoder
from kgvad.errors import UsageError

sys.path.append(str(Path(__file__).parent))
from anchors_samples import checkpoint

TEXTS = ["robbery", "normal activity", "a burning car"]


@pytest.fixture(params=["clip", "blip", "bert"])
def encoder(request, tmp_path):
    return load_text_encoder(str(checkpoint(request.param, tmp_path)))


def test_without_context_a_prompt_is_the_plain_sentence(encoder):
    learner = PromptLearner(encoder, TEXTS, prefix=0, postfix=0)
    assert np.abs(learner().detach().numpy() - encoder.encode(TEXTS)).max() < 1e-5


def test_context_of_words_is_those_words(encoder):
    learner = PromptLearner(encoder, TEXTS, prefix=3, postfix=0, init="person with a")
    expected = encoder.encode([f"person with a {text}" for text in TEXTS])
    assert np.abs(learner().detach().numpy() - expected).max() < 1e-5


def test_positions_are_start_prefix_words_postfix_end(encoder):
    learner = PromptLearner(encoder, TEXTS, prefix=2, postfix=3)
    start, end = encoder.frame()
    assert learner.slot[0].tolist()[:8] == [-1, 0, 1, -1, 2, 3, 4, -1]  # one word
    assert learner.slot[1].tolist()[:9] == [-1, 0, 1, -1, -1, 2, 3, 4, -1]  # two words
    for row, words in enumerate([1, 2, 3]):
        assert learner.ids[row, 0] == start and learner.ids[row, words + 6] == end
        assert int(learner.mask[row].sum()) == words + 7


def test_only_the_context_learns_and_training_moves_the_anchor(encoder):
    before = {name: p.clone() for name, p in encoder._model.named_parameters()}
    learner = PromptLearner(encoder, TEXTS, prefix=2, postfix=2, per_category=True)
    assert [name for name, _ in learner.named_parameters()] == ["context"] and learner.context.shape[0] == 3
    target = torch.nn.functional.normalize(torch.randn(3, encoder.dim, generator=torch.Generator().manual_seed(1)))
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.05)
    first = float((learner() * target).sum().detach())
    for _ in range(20):
        optimiser.zero_grad()
        loss = -(learner() * target).sum()
        loss.backward()
        optimiser.step()
    assert -float(loss.detach()) > first + 0.02
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in encoder._model.named_parameters())


def test_a_prompt_that_does_not_fit_is_named(encoder):
    with pytest.raises(UsageError, match=r"'fire fire.*does not fit the 32 tokens"):
        PromptLearner(encoder, ["fire " * 20])


def test_residual_adapter_starts_as_the_identity_and_learns():
    vectors = torch.nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    adapter = ResidualAdapter(vectors, 5)
    assert torch.allclose(adapter(), vectors, atol=1e-6)
    adapter()[0, 0].backward()
    assert adapter.up.weight.grad.abs().sum() > 0


def test_text_adapter_is_the_published_formula(encoder):
    adapter = TextAdapter(encoder, TEXTS, layers=2, weight=0.6)
    x = torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0))
    w = adapter.adapters[1].weight
    for token in range(2):
        a = x[0, token] @ w.T
        a = torch.where(a > 0, a, 0.01 * a)
        a = a * x[0, token].norm() / a.norm()
        assert torch.allclose(adapter.mix(1, x)[0, token], 0.4 * x[0, token] + 0.6 * a, atol=1e-5)
    out = adapter()
    assert out.shape == (3, encoder.dim) and torch.allclose(out.norm(dim=-1), torch.ones(3), atol=1e-5)
    out[0, 0].backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in adapter.adapters)
    adapter.weight = 0.0  # no adapter: the plain vectors, and no hook is left behind
    assert np.abs(adapter().detach().numpy() - encoder.encode(TEXTS)).max() < 1e-5
    with pytest.raises(UsageError, match="3 layers, not 9"):
        TextAdapter(encoder, TEXTS, layers=9)


def test_evaluation_keeps_vectors_until_a_parameter_changes():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ResidualAdapter(torch.eye(3))
            self.calls = 0

        def forward(self):
            self.calls += 1
            return self.inner()

    counting = Counting()
    learned = LearnedAnchors(torch.eye(3), counting).eval()
    with torch.no_grad():
        first = learned()
        assert learned() is first and counting.calls == 1
        counting.inner.up.weight += 0.5
        assert not torch.equal(learned(), first) and counting.calls == 2
        learned.gate += 1.0
        learned()
        assert counting.calls == 3
    learned.train()()
    learned()
    assert counting.calls == 5
