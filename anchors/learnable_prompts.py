"""Learnable prompts, residual adapters and text adapters over a frozen text encoder.

Three ways to move anchors by training, each a module whose :meth:`forward` gives vectors with gradients:

:class:`PromptLearner`    context vectors around the category's words, through the frozen text tower
:class:`TextAdapter`      small layers between the blocks of the frozen text tower
:class:`ResidualAdapter`  a step on the finished vectors, for encoders that nothing can be sent back through

:class:`LearnedAnchors` is what a detector holds: one of them, beside the fixed anchors or alone, and what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import HubEncoder
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
    rows
        The context is a table of so many rows, and a position of the sequence takes the row of its own number, so what
        stands behind a category depends on the length of its words (VadCLIP's published module: 77). Without it
        every category has the same ``prefix + postfix`` vectors.
    unit
        Whether the vectors are brought to length 1; VadCLIP leaves them as they are.
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
        rows: int | None = None,
        unit: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._encoder = encoder  # frozen and not a module: its weights are not saved with the prompts
        self._form: Literal["unit", "plain"] = "unit" if unit else "plain"
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
        if rows is not None and rows < length:
            raise UsageError(f"a prompt of {length} tokens needs a table of as many rows, not {rows}", "enlarge it")
        filler = encoder.words("a")[0] if encoder.words("a") else start  # its embedding is replaced
        ids = torch.full((len(texts), length), 0, dtype=torch.long)
        mask = torch.zeros_like(ids)
        slot = torch.full_like(ids, -1)  # which context vector stands at a position
        for row, own in enumerate(words):
            line = [start, *[filler] * prefix, *own, *[filler] * postfix, end]
            ids[row, : len(line)], mask[row, : len(line)] = torch.tensor(line), 1
            after = 1 + prefix + len(own)
            learned = torch.tensor([*range(1, 1 + prefix), *range(after, after + postfix)], dtype=torch.long)
            slot[row, learned] = torch.arange(prefix + postfix) if rows is None else learned
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("slot", slot, persistent=False)
        width = encoder.table.weight.shape[1]
        shape = (*([len(texts)] if per_category else []), prefix + postfix if rows is None else rows, width)
        context = SPREAD * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        if init is not None:
            first, at = encoder.words(init)[:prefix], 0 if rows is None else 1
            context[..., at : at + len(first), :] = encoder.table.weight[first].detach().float().cpu()
        self.context = nn.Parameter(context)  # [rows, width], or [C, rows, width] where each category has its own

    def embeddings(self) -> Tensor:
        """Token embeddings with the context in its places, float32 [C, L, width]."""
        device = self._encoder.device
        ids, slot = self.ids.to(device), self.slot.to(device)
        words: Tensor = self._encoder.table(ids).detach()
        if self.context.shape[-2] == 0:
            return words
        context = self.context.to(device).expand(len(ids), -1, -1)
        at = slot.clamp(min=0)[..., None].expand(-1, -1, context.shape[-1])
        return torch.where(slot[..., None] >= 0, context.gather(1, at), words)

    def forward(self) -> Tensor:
        """Vectors of the categories, float32 [C, d]."""
        device = self._encoder.device
        ids, mask = self.ids.to(device), self.mask.to(device)
        return self._encoder.encode_embeddings(ids, mask, self.embeddings(), self._form)


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
        How many layers, from the first, have an adapter. DSANet: 3 on UCF-Crime, 1 on XD-Violence.
    weight
        w. DSANet: 0.1 on UCF-Crime, 0.6 on XD-Violence.
    out
        A learned layer of this width stands in place of the tower's projection, ``unit(LeakyReLU(W_p x))``, as DSANet
        has it; ``None`` keeps the projection.
    seed
        Of the random start (Xavier, uniform).
    """

    def __init__(
        self,
        encoder: HubEncoder,
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
        width = encoder.table.weight.shape[1]
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
        plain = self._encoder.table(ids).detach()
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
    """Anchors that training moves: ``A' = unit((1 - g) A + g L)`` with ``g = sigmoid(gate)``, or ``L`` alone.

    In training L is computed once a call; :func:`computed_once` makes it once an optimiser step where a step takes
    several. Without gradients it is computed once and kept until a parameter changes; DSANet keeps it for ever and
    evaluates with stale vectors. A state dict holds the finished vectors of its parameters (``vectors``), so what was
    trained through a text tower is used without it.

    Parameters
    ----------
    anchors
        float32 [C, d], unit rows.
    learned
        Module whose ``forward()`` gives float32 [C, d]; ``None`` where its text tower is not at hand: then the
        vectors are those of the state dict that is loaded, and what was learned is left out.
    mixed
        Whether L stands beside the anchors or alone.
    gate
        First value of the gate before the sigmoid.
    """

    anchors: Tensor
    vectors: Tensor

    def __init__(self, anchors: Tensor, learned: nn.Module | None, mixed: bool = True, gate: float = -2.0) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors.clone(), persistent=False)
        self.register_buffer("vectors", anchors.clone())
        self.learned = learned
        self.gate = nn.Parameter(torch.tensor(gate)) if mixed and learned is not None else None
        self._given: list[Tensor] | None = None  # what the parameters were when they gave the vectors
        self._shared: Tensor | None = None  # stands for the vectors while they are computed once

    def forward(self) -> Tensor:
        """Vectors of the categories, float32 [C, d].

        Raises
        ------
        UsageError
            Gradients are asked for in training, and the text tower is not at hand.
        """
        if self._shared is not None:
            return self._shared
        if torch.is_grad_enabled() and self.learned is not None:
            return self._mixed()
        if torch.is_grad_enabled() and self.training:
            raise UsageError("anchors that were learned through a text encoder stay as they are", "train a new run")
        self._refresh()
        return self.vectors

    def extended(self, anchors: Tensor) -> LearnedAnchors:
        """These vectors as they are now, and behind them the last of ``anchors`` [C + new, d]; nothing learns."""
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
        now = list(self.parameters())  # compared by value: a fused optimiser's step leaves their version numbers alone
        if self._given is None or not all(map(_same, self._given, now)):
            with torch.inference_mode(False), torch.no_grad():  # nothing can be loaded into an inference tensor
                self.vectors = self._mixed()
                self._given = [parameter.detach().clone() for parameter in now]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._refresh()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state, prefix, *rest)
        self._given = None
        if self.learned is None:
            unexpected: list[str] = rest[3]
            learned = (f"{prefix}learned.", f"{prefix}gate")
            unexpected[:] = [name for name in unexpected if not name.startswith(learned)]


def _same(one: Tensor, other: Tensor) -> bool:
    return (one.device, one.dtype) == (other.device, other.dtype) and torch.equal(one, other)


@contextmanager
def computed_once(module: nn.Module) -> Iterator[list[Tensor]]:
    """In the block all learned anchors of a module are computed once, whatever is run forward and backward.

    The vectors that are given gather the gradients, which go back through the text tower at the end.
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


def in_words(bank: AnchorBank) -> tuple[str, ...]:
    """The categories of a bank as their label prompts have them; of several labels the one that is the name."""
    found = []
    for name in bank.categories:
        labels = [concept.prompt for concept in bank.of(name) if concept.relation == "label"] or [name]
        found.append(next((label for label in labels if label.casefold() == name.casefold()), labels[0]))
    return tuple(found)
