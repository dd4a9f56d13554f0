"""Learnable prompts, residual adapters and text adapters over a frozen text encoder.

Three ways to train anchors, each a module whose :meth:`forward` returns vectors with gradients:

:class:`PromptLearner`    context vectors around the category's words, through the frozen text tower
:class:`TextAdapter`      small layers between the blocks of the frozen text tower
:class:`ResidualAdapter`  a residual on the finished vectors, for encoders that are not differentiable

A detector holds :class:`LearnedAnchors`: one of these modules, alone or mixed with the fixed anchors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.errors import UsageError

SPREAD = 0.01  # standard deviation of the initial context


@dataclass(frozen=True)
class ContextLayout:
    """Number and places of the learned context vectors of a prompt, which all categories share.

    Attributes
    ----------
    prefix, postfix
        Number of vectors before and after the words of a category (VadCLIP: 10 each).
    table_size
        ``None``: every category has the same ``prefix + postfix`` vectors. A number: the context is a table of that
        length, and each position of the sequence takes the entry of its index, so the postfix of a category depends on
        the length of its words (VadCLIP's published module: 77).
    """

    prefix: int = 10
    postfix: int = 10
    table_size: int | None = None

    def entries(self, words: int) -> list[int]:
        """Entry of the context at each learned position of a prompt with this many word tokens, in order."""
        if self.table_size is None:
            return list(range(self.prefix + self.postfix))
        return self.positions(words)

    def positions(self, words: int) -> list[int]:
        """Learned positions of a prompt with this many word tokens; position 0 is the start token."""
        after = 1 + self.prefix + words
        return [*range(1, 1 + self.prefix), *range(after, after + self.postfix)]


class PromptLearner(nn.Module):
    """Learned context vectors before and after the words of each category (CoOp; VadCLIP).

    A sequence is start, ``prefix`` vectors, the category's tokens, ``postfix`` vectors, end. The text tower and the
    token embeddings are frozen, so only the context receives gradients.

    Parameters
    ----------
    encoder
        Frozen text encoder.
    texts
        The categories in words.
    layout
        Number and places of the context vectors.
    unit
        Whether the output is scaled to unit length; VadCLIP does not.
    seed
        Of the initial context.

    Raises
    ------
    UsageError
        A prompt exceeds the encoder's context length or the table; the message names it.
    """

    ids: Tensor
    mask: Tensor
    slot: Tensor

    def __init__(
        self,
        encoder: TransformersEncoder,
        texts: Sequence[str],
        layout: ContextLayout | None = None,
        unit: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._encoder = encoder  # frozen and not a module: its weights are not saved with the prompts
        self._form: Literal["unit", "plain"] = "unit" if unit else "plain"
        self.layout = layout = layout or ContextLayout()
        ids, mask, slot = _sequences(encoder, texts, layout)
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("slot", slot, persistent=False)
        width = encoder.token_embeddings.weight.shape[1]
        length = layout.table_size or layout.prefix + layout.postfix
        context = SPREAD * torch.randn(length, width, generator=torch.Generator().manual_seed(seed))
        self.context = nn.Parameter(context)  # [entries, width]

    def embeddings(self) -> Tensor:
        """Token embeddings with the context inserted, float32 [C, L, width]."""
        device = self._encoder.device
        ids, slot = self.ids.to(device), self.slot.to(device)
        words: Tensor = self._encoder.token_embeddings(ids).detach()
        if not len(self.context):
            return words
        context = self.context.to(device).expand(len(ids), -1, -1)
        at = slot.clamp(min=0)[..., None].expand(-1, -1, context.shape[-1])
        return torch.where(slot[..., None] >= 0, context.gather(1, at), words)

    def forward(self) -> Tensor:
        """Vectors of the categories, float32 [C, d]."""
        device = self._encoder.device
        ids, mask = self.ids.to(device), self.mask.to(device)
        return self._encoder.encode_embeddings(ids, mask, self.embeddings(), self._form)


def _sequences(
    encoder: TransformersEncoder, texts: Sequence[str], layout: ContextLayout
) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids and mask of all prompts, and the context entry at each position (-1: a token), all int64 [C, L]."""
    start, end = encoder.boundary_ids()
    words = [encoder.word_ids(text) for text in texts]
    learned = layout.prefix + layout.postfix
    for text, own in zip(texts, words, strict=True):
        if len(own) + learned + 2 > encoder.context:
            raise UsageError(
                f"the prompt {text[:60]!r} has {len(own)} tokens; with {layout.prefix} + {layout.postfix} context "
                f"vectors it exceeds the {encoder.context} tokens of {encoder.name}",
                "shorten it or use fewer context vectors",
            )
    length = max(map(len, words)) + learned + 2
    if layout.table_size is not None and layout.table_size < length:
        raise UsageError(
            f"a prompt of {length} tokens needs a table of at least {length} entries, not {layout.table_size}",
            "enlarge the table",
        )
    filler = (encoder.word_ids("a") or [start])[0]  # the context replaces its embedding
    ids = torch.full((len(texts), length), 0, dtype=torch.long)
    mask, slot = torch.zeros_like(ids), torch.full_like(ids, -1)
    for row, own in enumerate(words):
        line = [start, *[filler] * layout.prefix, *own, *[filler] * layout.postfix, end]
        ids[row, : len(line)], mask[row, : len(line)] = torch.tensor(line), 1
        slot[row, torch.tensor(layout.positions(len(own)), dtype=torch.long)] = torch.tensor(
            layout.entries(len(own)), dtype=torch.long
        )
    return ids, mask, slot


class ResidualAdapter(nn.Module):
    """``A' = unit(A + ReLU(A W1) W2)`` on fixed vectors (CLIP-Adapter, Gao et al. 2021); starts as the identity.

    Parameters
    ----------
    vectors
        float32 [C, d], unit rows.
    width
        Of the hidden layer.
    """

    def __init__(self, vectors: Tensor, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors.clone(), persistent=False)
        self.down = nn.Linear(vectors.shape[1], width, bias=False)
        self.up = nn.Linear(width, vectors.shape[1], bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self) -> Tensor:
        """Unit vectors, float32 [C, d]."""
        vectors: Any = self.vectors
        return F.normalize(vectors + self.up(F.relu(self.down(vectors))), dim=-1)


class TextAdapter(nn.Module):
    """Adapters in the first layers of the frozen text tower (DSANet).

    After layer i: ``a = LeakyReLU(W_i x)``, ``a <- a |x| / |a|`` per token, ``x <- (1 - w) x + w a``.

    Parameters
    ----------
    encoder
        Frozen text encoder.
    texts
        The categories in words.
    layers
        Number of layers, from the first, with an adapter. DSANet: 3 on UCF-Crime, 1 on XD-Violence.
    weight
        w. DSANet: 0.1 on UCF-Crime, 0.6 on XD-Violence.
    out
        A learned layer of this width, ``unit(LeakyReLU(W_p x))``, replaces the tower's projection (DSANet); ``None``
        keeps the projection.
    seed
        Of the random initial weights (Xavier, uniform).
    """

    def __init__(
        self,
        encoder: TransformersEncoder,
        texts: Sequence[str],
        layers: int = 3,
        weight: float = 0.1,
        out: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < layers <= len(encoder.layers):
            raise UsageError(f"{encoder.name} has {len(encoder.layers)} layers, not {layers}", "use fewer adapters")
        self._encoder = encoder
        self.weight = weight
        width = encoder.token_embeddings.weight.shape[1]
        self.adapters = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.out = None if out is None else nn.Linear(width, out, bias=False)
        draw = torch.Generator().manual_seed(seed)
        for layer in (*self.adapters, *([] if self.out is None else [self.out])):
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight, generator=draw)
        self._tokens = encoder.tokens(texts)

    def mix(self, index: int, x: Tensor) -> Tensor:
        """State ``x`` [N, L, width] after layer ``index`` with its adapter mixed in."""
        a = F.leaky_relu(self.adapters[index](x))
        a = a * x.norm(dim=-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) + 1e-6)
        mixed: Tensor = (1 - self.weight) * x + self.weight * a
        return mixed

    def forward(self) -> Tensor:
        """Unit vectors of the categories, float32 [C, d]."""
        ids, mask = self._tokens
        plain = self._encoder.token_embeddings(ids).detach()
        with self._hooked():
            found = self._encoder.encode_embeddings(ids, mask, plain, "unit" if self.out is None else "state")
        return found if self.out is None else F.normalize(F.leaky_relu(self.out(found)), dim=-1)

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        def hook(index: int) -> Any:
            def replace(module: nn.Module, inputs: Any, output: Any) -> Any:
                if isinstance(output, tuple):
                    return (self.mix(index, output[0]), *output[1:])
                return self.mix(index, output)

            return replace

        layers = self._encoder.layers
        handles = [layers[i].register_forward_hook(hook(i)) for i in range(len(self.adapters))]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class LearnedAnchors(nn.Module):
    """Trained anchors: ``A' = unit((1 - g) A + g L)`` with ``g = sigmoid(gate)``, or ``L`` alone.

    With gradients L is computed in every call; within :func:`computed_once` it is computed once for several calls.
    Without gradients it is cached until a parameter changes (DSANet's published code never recomputes it and evaluates
    with stale vectors). The state dict holds the finished vectors (``vectors``), so that anchors trained through a text
    tower can be used without it.

    Parameters
    ----------
    anchors
        float32 [C, d], unit rows.
    learned
        Module whose ``forward()`` returns float32 [C, d]; ``None`` where its text tower is not available: then the
        vectors are those of the loaded state dict, and its parameters are ignored.
    mixed
        Whether L is mixed with the anchors or replaces them.
    gate
        Initial value of the gate, before the sigmoid.
    """

    anchors: Tensor
    vectors: Tensor

    def __init__(self, anchors: Tensor, learned: nn.Module | None, mixed: bool = True, gate: float = -2.0) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors.clone(), persistent=False)
        self.register_buffer("vectors", anchors.clone())
        self.learned = learned
        self.gate = nn.Parameter(torch.tensor(gate)) if mixed and learned is not None else None
        self._cached_for: list[Tensor] | None = None  # values of the parameters for which ``vectors`` was computed
        self._shared: Tensor | None = None  # leaf that replaces the vectors within computed_once

    def forward(self) -> Tensor:
        """Vectors of the categories, float32 [C, d].

        Raises
        ------
        UsageError
            The anchors are to be trained, and their text tower is not available.
        """
        if self._shared is not None:
            return self._shared
        if torch.is_grad_enabled() and self.learned is not None:
            return self._mixed()
        if torch.is_grad_enabled() and self.training:
            raise UsageError(
                "anchors that were trained through a text encoder cannot be trained further without it",
                "train a new run",
            )
        self._refresh()
        return self.vectors

    def extended(self, anchors: Tensor) -> LearnedAnchors:
        """The current vectors followed by the last ``new`` of ``anchors`` [C + new, d], as constants."""
        self._refresh()
        more = anchors[len(self.vectors) :].to(self.vectors.device)
        return LearnedAnchors(torch.cat([self.vectors, more]), None)

    def _mixed(self) -> Tensor:
        assert self.learned is not None
        found: Tensor = self.learned().to(self.vectors.device)
        if self.gate is None:
            return found
        share = torch.sigmoid(self.gate)
        return F.normalize((1 - share) * self.anchors + share * found, dim=-1)

    def _refresh(self) -> None:
        if self.learned is None:
            return
        now = list(self.parameters())
        # Compared by value: the step of a fused optimiser does not change version numbers.
        if self._cached_for is None or not all(map(_same, self._cached_for, now)):
            with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be loaded into
                self.vectors = self._mixed()
                self._cached_for = [parameter.detach().clone() for parameter in now]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._refresh()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state, prefix, *rest)
        self._cached_for = None
        if self.learned is None:
            unexpected: list[str] = rest[3]
            learned = (f"{prefix}learned.", f"{prefix}gate")
            unexpected[:] = [name for name in unexpected if not name.startswith(learned)]


def _same(one: Tensor, other: Tensor) -> bool:
    return (one.device, one.dtype) == (other.device, other.dtype) and torch.equal(one, other)


@contextmanager
def computed_once(module: nn.Module) -> Iterator[list[Tensor]]:
    """Compute all learned anchors of a module once for the whole block, however often it runs forward and backward.

    The yielded vectors accumulate the gradients, which pass through the text tower at the end of the block.
    """
    found = [part for part in module.modules() if isinstance(part, LearnedAnchors) and part.learned is not None]
    with torch.enable_grad():
        whole = [part._mixed() for part in found]
    shared = [vectors.detach().requires_grad_() for vectors in whole]
    try:
        for part, vectors in zip(found, shared, strict=True):
            part._shared = vectors
        yield shared
    finally:
        for part in found:
            part._shared = None
    for vectors, leaf in zip(whole, shared, strict=True):
        if leaf.grad is not None:
            torch.autograd.backward(vectors, leaf.grad)


def category_texts(bank: AnchorBank) -> tuple[str, ...]:
    """The categories of a bank in words: their label prompts; of several, the one that equals the name."""
    found = []
    for name in bank.categories:
        labels = [concept.prompt for concept in bank.of(name) if concept.relation == "label"] or [name]
        found.append(next((label for label in labels if label.casefold() == name.casefold()), labels[0]))
    return tuple(found)
