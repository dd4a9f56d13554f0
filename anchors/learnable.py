"""Learnable prompts, residual adapters and text adapters over a frozen text encoder.

Three ways to move anchors by training, each a module whose :meth:`forward` gives unit vectors with gradients:

:class:`PromptLearner`    context vectors around the category's words, through the frozen text tower
:class:`TextAdapter`      small layers between the blocks of the frozen text tower
:class:`ResidualAdapter`  a step on the finished vectors, for encoders that nothing can be sent back through
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.anchors.text import HubEncoder
from kgvad.errors import UsageError

PREFIX = POSTFIX = 10  # VadCLIP's
SPREAD = 0.01  # of the context's first values where no words are given


class PromptLearner(nn.Module):
    """Learned context vectors before and after the words of each category (CoOp; VadCLIP).

    A sequence is start, ``prefix`` vectors, the category's tokens, ``postfix`` vectors, end; the text tower and the
    token embeddings are frozen, so gradients reach the context only.

    Parameters
    ----------
    encoder
        Frozen text encoder.
    texts
        The categories in words.
    prefix, postfix
        Number of vectors before and after.
    per_category
        Each category has a context of its own; otherwise all share one.
    init
        Words whose embeddings the prefix starts from; what they do not fill starts as N(0, 0.01 ** 2).
    seed
        Of the random start.

    Raises
    ------
    UsageError
        A prompt does not fit the encoder's context; the message names it.
    """

    ids: Tensor
    mask: Tensor
    slot: Tensor

    def __init__(
        self,
        encoder: HubEncoder,
        texts: Sequence[str],
        prefix: int = PREFIX,
        postfix: int = POSTFIX,
        per_category: bool = False,
        init: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._encoder = encoder  # frozen and not a module: its weights are not saved with the prompts
        start, end = encoder.frame()
        words = [encoder.words(text) for text in texts]
        for text, own in zip(texts, words, strict=True):
            if len(own) + prefix + postfix + 2 > encoder.context:
                raise UsageError(
                    f"the prompt {text[:60]!r} has {len(own)} tokens; with {prefix} + {postfix} context vectors it "
                    f"does not fit the {encoder.context} tokens of {encoder.name}",
                    "shorten it or use fewer context vectors",
                )
        length = max(map(len, words)) + prefix + postfix + 2
        filler = encoder.words("a")[0] if encoder.words("a") else start  # its embedding is replaced
        ids = torch.full((len(texts), length), 0, dtype=torch.long)
        mask = torch.zeros_like(ids)
        slot = torch.full_like(ids, -1)  # which context vector stands at a position
        for row, own in enumerate(words):
            line = [start, *[filler] * prefix, *own, *[filler] * postfix, end]
            ids[row, : len(line)], mask[row, : len(line)] = torch.tensor(line), 1
            slot[row, 1 : 1 + prefix] = torch.arange(prefix)
            after = 1 + prefix + len(own)
            slot[row, after : after + postfix] = prefix + torch.arange(postfix)
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("slot", slot, persistent=False)
        width = encoder.table.weight.shape[1]
        context = SPREAD * torch.randn(
            len(texts) if per_category else 1, prefix + postfix, width, generator=torch.Generator().manual_seed(seed)
        )
        if init is not None:
            first = encoder.words(init)[:prefix]
            context[:, : len(first)] = encoder.table.weight[first].detach().float().cpu()
        self.context = nn.Parameter(context)  # [C or 1, prefix + postfix, width]

    def embeddings(self) -> Tensor:
        """Token embeddings with the context in its places, float32 [C, L, width]."""
        device = self._encoder.device
        ids, slot = self.ids.to(device), self.slot.to(device)
        words: Tensor = self._encoder.table(ids).detach()
        if self.context.shape[1] == 0:
            return words
        context = self.context.to(device).expand(len(ids), -1, -1)
        at = slot.clamp(min=0)[..., None].expand(-1, -1, context.shape[-1])
        return torch.where(slot[..., None] >= 0, context.gather(1, at), words)

    def forward(self) -> Tensor:
        """Unit vectors of the categories, float32 [C, d]."""
        device = self._encoder.device
        ids, mask = self.ids.to(device), self.mask.to(device)
        return self._encoder.encode_embeddings(ids, mask, self.embeddings())


class ResidualAdapter(nn.Module):
    """``A' = unit(A + ReLU(A W1) W2)`` on fixed vectors (CLIP-Adapter, Gao et al. 2021); starts as the identity.

    Parameters
    ----------
    vectors
        float32 [C, d], unit rows.
    width
        Of the layer between.
    """

    def __init__(self, vectors: Tensor, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors.clone())
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
        How many layers, from the first, have an adapter. DSANet: 3 on UCF-Crime, 1 on XD-Violence.
    weight
        w. DSANet: 0.1 on UCF-Crime, 0.6 on XD-Violence.
    seed
        Of the random start (Xavier, uniform).
    """

    def __init__(
        self, encoder: HubEncoder, texts: Sequence[str], layers: int = 3, weight: float = 0.1, seed: int = 0
    ) -> None:
        super().__init__()
        if not 0 < layers <= len(encoder.layers):
            raise UsageError(f"{encoder.name} has {len(encoder.layers)} layers, not {layers}", "use fewer adapters")
        self._encoder = encoder
        self.weight = weight
        width = encoder.table.weight.shape[1]
        self.adapters = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        draw = torch.Generator().manual_seed(seed)
        for layer in self.adapters:
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
        with self._hooked():
            return self._encoder.encode_embeddings(ids, mask, self._encoder.table(ids).detach())

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
    """Fixed anchors and learned vectors mixed by a gate: ``A' = unit((1 - g) A + g L)``, ``g = sigmoid(gate)``.

    In training the learned vectors are computed once a call, that is once an optimiser step. In evaluation they are
    computed once and kept until a parameter changes; DSANet keeps them for ever and evaluates with stale ones.

    Parameters
    ----------
    anchors
        float32 [C, d], unit rows.
    learned
        Module whose ``forward()`` gives float32 [C, d].
    gate
        First value of the gate before the sigmoid.
    """

    def __init__(self, anchors: Tensor, learned: nn.Module, gate: float = -2.0) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors.clone())
        self.learned = learned
        self.gate = nn.Parameter(torch.tensor(gate))
        self._kept: tuple[tuple[tuple[int, int], ...], Tensor] | None = None

    def forward(self) -> Tensor:
        """Unit vectors, float32 [C, d]."""
        if self.training or torch.is_grad_enabled():
            self._kept = None
            return self._mixed()
        state = tuple((id(parameter), parameter._version) for parameter in self.parameters())
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, self._mixed())
        return self._kept[1]

    def _mixed(self) -> Tensor:
        share = torch.sigmoid(self.gate)
        anchors: Any = self.anchors
        return F.normalize((1 - share) * anchors + share * self.learned(), dim=-1)
