"""Learnable prompts and adapters: what is trained, positions of the context, and no stale vectors."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from anchors_samples import checkpoint

from kgvad.anchors.learnable_prompts import (
    ContextLayout,
    LearnedAnchors,
    PromptLearner,
    ResidualAdapter,
    TextAdapter,
    computed_once,
)
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.errors import UsageError

TEXTS = ["robbery", "normal activity", "a burning car"]


@pytest.fixture(params=["clip", "blip", "bert"])
def encoder(request, tmp_path):
    return load_text_encoder(str(checkpoint(request.param, tmp_path)))


def test_without_context_a_prompt_equals_the_sentence(encoder):
    learner = PromptLearner(encoder, TEXTS, ContextLayout(0, 0))
    assert np.abs(learner().detach().numpy() - encoder.encode(TEXTS)).max() < 1e-5


def test_context_that_embeds_words_equals_those_words(encoder):
    learner = PromptLearner(encoder, TEXTS, ContextLayout(3, 0))
    learner.context.data = encoder.token_embeddings.weight[encoder.word_ids("person with a")].detach().clone()
    expected = encoder.encode([f"person with a {text}" for text in TEXTS])
    assert np.abs(learner().detach().numpy() - expected).max() < 1e-5


def test_positions_are_start_prefix_words_postfix_end(encoder):
    learner = PromptLearner(encoder, TEXTS, ContextLayout(2, 3))
    start, end = encoder.boundary_ids()
    assert learner.slot[0].tolist()[:8] == [-1, 0, 1, -1, 2, 3, 4, -1]  # one word
    assert learner.slot[1].tolist()[:9] == [-1, 0, 1, -1, -1, 2, 3, 4, -1]  # two words
    for row, words in enumerate([1, 2, 3]):
        assert learner.ids[row, 0] == start and learner.ids[row, words + 6] == end
        assert int(learner.mask[row].sum()) == words + 7


def test_a_context_table_is_indexed_by_position(encoder):
    """VadCLIP's published module: prefix entries 1 to 10, postfix entries shifted by the length of the words."""
    learner = PromptLearner(encoder, TEXTS, ContextLayout(2, 3, table_size=12), unit=False, seed=3)
    assert learner.context.shape == (12, 32)
    start, end = encoder.boundary_ids()
    for text, found in zip(TEXTS, learner(), strict=True):
        own = encoder.word_ids(text)
        m = len(own)
        line = torch.tensor([[start, 0, 0, *own, 0, 0, 0, end]])
        embedded = encoder.token_embeddings(line).clone()
        embedded[0, 1:3] = learner.context[1:3]
        embedded[0, 3 + m : 6 + m] = learner.context[3 + m : 6 + m]
        expected = encoder.encode_embeddings(line, torch.ones_like(line), embedded, "plain")[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert abs(float(found.norm().detach()) - 1) > 0.01  # not normalised
    with pytest.raises(UsageError, match="a prompt of 10 tokens needs a table of at least 10 entries, not 9"):
        PromptLearner(encoder, TEXTS, ContextLayout(2, 3, table_size=9))


def test_only_the_context_is_trained(encoder):
    before = {name: p.clone() for name, p in encoder._model.named_parameters()}
    learner = PromptLearner(encoder, TEXTS, ContextLayout(2, 2))
    assert [name for name, _ in learner.named_parameters()] == ["context"] and learner.context.shape == (4, 32)
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


def test_a_prompt_that_is_too_long_is_named(encoder):
    with pytest.raises(UsageError, match=r"'fire fire.*exceeds the 32 tokens"):
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


def test_a_layer_can_replace_the_towers_projection(encoder):
    adapter = TextAdapter(encoder, TEXTS, layers=1, weight=0.0, out=7, seed=1)
    ids, mask = encoder.tokens(TEXTS)
    model = encoder._model
    if encoder.kind == "clip":
        state = model.text_model(input_ids=ids, attention_mask=mask).pooler_output
    elif encoder.kind == "blip":
        state = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    else:  # without a projection
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        state = torch.stack([row[: int(n)].mean(0) for row, n in zip(hidden, mask.sum(1), strict=True)])
    a = state @ adapter.out.weight.T
    a = torch.where(a > 0, a, 0.01 * a)
    torch.testing.assert_close(adapter(), a / a.norm(dim=-1, keepdim=True), rtol=1e-4, atol=1e-5)


class Counting(torch.nn.Module):
    """A residual adapter that counts how often it is computed."""

    def __init__(self, vectors=None):
        super().__init__()
        self.inner = ResidualAdapter(torch.eye(3) if vectors is None else vectors)
        self.calls = 0

    def forward(self):
        self.calls += 1
        return self.inner()


def test_evaluation_caches_vectors_until_a_parameter_changes():
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


@pytest.mark.parametrize("how", [{"foreach": True}, {"fused": True}, {}])
def test_vectors_are_recomputed_after_every_optimiser_step(how):
    counting = Counting()
    learned = LearnedAnchors(torch.eye(3), counting)
    optimiser = torch.optim.AdamW(learned.parameters(), lr=0.1, **how)
    seen = []
    for _ in range(3):
        with torch.inference_mode():
            seen.append(learned.eval()())
            assert learned() is seen[-1]
        torch.testing.assert_close(seen[-1], learned.train()().detach())
        torch.testing.assert_close(learned.state_dict()["vectors"], seen[-1])
        optimiser.zero_grad()
        learned()[:, 0].sum().backward()
        optimiser.step()
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    assert counting.calls == 3 + 3 + 3  # evaluated, checked and trained; a state dict takes what evaluation has


def test_a_state_dict_has_what_its_parameters_give_and_needs_no_tower():
    counting = Counting()
    learned = LearnedAnchors(torch.eye(3), counting)
    with torch.no_grad():
        counting.inner.up.weight += 0.5
    state = learned.state_dict()
    assert sorted(state) == ["gate", "learned.inner.down.weight", "learned.inner.up.weight", "vectors"]
    bare = LearnedAnchors(torch.eye(3), None)
    bare.load_state_dict(state)
    with torch.inference_mode():
        assert torch.equal(bare(), learned.eval()()) and not torch.equal(bare(), torch.eye(3))
        other = LearnedAnchors(torch.eye(3), Counting())
        other.load_state_dict(state)
        assert torch.equal(other(), bare())
    with pytest.raises(UsageError, match="cannot be trained further without it"):
        bare.train()()
    with pytest.raises(RuntimeError, match="strange"):
        bare.load_state_dict(state | {"strange": torch.zeros(1)})
    wider = bare.extended(torch.nn.functional.normalize(torch.ones(5, 3), dim=-1)).eval()
    assert torch.equal(wider()[:3], bare.eval()()) and torch.allclose(wider()[3:], torch.full((2, 3), 3**-0.5))


def test_computed_once_gives_the_gradients_of_many_times():
    def gradients(once):
        torch.manual_seed(0)
        counting = Counting(torch.nn.functional.normalize(torch.randn(3, 4), dim=-1))
        learned = LearnedAnchors(counting.inner.vectors, counting)
        torch.nn.init.normal_(counting.inner.up.weight)
        with computed_once(learned) if once else nullcontext():
            for weight in (1.0, -2.0, 0.5):
                (learned()[:, 1] * weight).sum().backward()
        return counting.calls, [p.grad for p in learned.parameters()]

    (once, left), (often, right) = gradients(True), gradients(False)
    assert (once, often) == (1, 3)
    torch.testing.assert_close(left, right)
