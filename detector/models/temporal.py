"""Temporal building blocks of the detectors. Padding never leaks into a valid snippet."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kgvad.detector.api import valid_mask


class QuickGELU(nn.Module):
    """z * sigmoid(1.702 z), the activation of CLIP (and so of VadCLIP and DSANet)."""

    def forward(self, z: Tensor) -> Tensor:
        return F.silu(1.702 * z).mul_(1 / 1.702)  # one kernel, which saves one tensor for the backward pass


class FeedForward(nn.Sequential):
    """Two-layer perceptron with a hidden width of four times the input and QuickGELU.

    Only one hidden tensor is saved for the backward pass, which recomputes the activation but no product.
    """

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        wide = self[0](x)
        if not torch.is_grad_enabled():
            narrow: Tensor = self[2](self[1](wide))
            return narrow
        kept: Tensor = checkpoint(lambda z: self[2](self[1](z)), wide, use_reentrant=False, preserve_rng_state=False)
        return kept


class WindowAttention(nn.Module):
    """Pre-norm self-attention inside consecutive windows of ``window`` snippets, then a feed-forward network.

    The windows are folded into the batch, so the cost is T x window instead of T x T. Padded keys are
    masked; a window without a valid snippet gives finite values that are ignored.

    Parameters
    ----------
    width
        Channels.
    heads
        Attention heads.
    window
        Snippets in a window. The last window is shorter where ``window`` does not divide T.
    dropout
        Of the attention weights and of both residual branches.
    legacy
        Let padding take part in its window, as VadCLIP's code does.
    """

    def __init__(self, width: int, heads: int, window: int, dropout: float = 0.0, legacy: bool = False) -> None:
        super().__init__()
        self.heads, self.window, self.dropout, self.legacy = heads, window, dropout, legacy
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        drop = self.dropout if self.training else 0.0
        x = x + F.dropout(self._attend(self.norm1(x), lengths, drop), drop, self.training)
        return x + F.dropout(self.mlp(self.norm2(x)), drop, self.training)

    def _attend(self, x: Tensor, lengths: Tensor, drop: float) -> Tensor:
        batch, size, width = x.shape
        window = min(self.window, size)
        fill = -size % window
        keys = valid_mask(torch.full_like(lengths, size) if self.legacy else lengths, size + fill)
        folded = F.pad(x, (0, 0, 0, fill)).reshape(-1, window, width)  # [B * T / w, w, width]
        q, k, v = self.qkv(folded).reshape(-1, window, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mask = None
        if not bool(keys.all()):  # without padding the kernel needs no mask
            keys = keys.reshape(-1, 1, 1, window)
            mask = keys | ~keys.any(-1, keepdim=True)  # a fully padded window attends to itself: no NaN
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop)
        y = y.transpose(1, 2).reshape(batch, size + fill, width)[:, :size]
        attended: Tensor = self.out(y)
        return attended


def distance_graph(size: int, scale: float = math.e, normalise: bool = False) -> Tensor:
    """A[i, j] = exp(-|i - j| / scale), [size, size] (VadCLIP, section 3.3; its code uses scale e, not normalised)."""
    place = torch.arange(size, dtype=torch.float32)
    graph = torch.exp(-(place[:, None] - place[None, :]).abs() / scale)
    return graph / graph.sum(1, keepdim=True) if normalise else graph


def similarity_graph(x: Tensor, lengths: Tensor, threshold: float = 0.7) -> Tensor:
    """Row-wise softmax of the cosine similarities, those under ``threshold`` set to 0, over valid snippets; [B, T, T].

    Entries of padding are 0. VadCLIP, section 3.3: a thresholded similarity of 0 still weighs
    exp(0), so the graph is dense.
    """
    unit = x / (x.norm(dim=-1, keepdim=True) + 1e-20)
    cosine = unit @ unit.transpose(1, 2)
    cosine = torch.where(cosine > threshold, cosine, torch.zeros_like(cosine))
    valid = valid_mask(lengths, x.shape[1])
    weights = cosine.masked_fill(~valid[:, None, :], -torch.inf).softmax(-1)
    return weights * valid[:, :, None]


class GraphConvolution(nn.Module):
    """A (X W) + R(X): R is a convolution over 5 steps where the widths differ, else the identity (VadCLIP)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        nn.init.xavier_uniform_(self.weight)
        self.residual = nn.Conv1d(width_in, width_out, 5, padding=2) if width_in != width_out else None

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        rest = x if self.residual is None else self.residual(x.transpose(1, 2)).transpose(1, 2)
        return graph @ (x @ self.weight) + rest


class LocalGlobalAdapter(nn.Module):
    """Windowed attention, then two graph branches over similarity and temporal distance (VadCLIP's LGT-Adapter).

    Parameters
    ----------
    width
        Channels in and out.
    layers, heads, window
        Of the windowed attention.
    positions
        Length of the learned position table; longer inputs are a caller's error. 0: no table and no limit.
    legacy
        VadCLIP's treatment of padding: it acts inside windows, in convolutions and in the distance graph.
    """

    distance: Tensor

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        window: int,
        positions: int,
        dropout: float = 0.0,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.legacy = legacy
        self.positions = nn.Parameter(torch.randn(positions, width) * 0.01) if positions else None
        self.local = nn.ModuleList(WindowAttention(width, heads, window, dropout, legacy) for _ in range(layers))
        half = width // 2
        self.similar1, self.similar2 = GraphConvolution(width, half), GraphConvolution(half, half)
        self.near1, self.near2 = GraphConvolution(width, half), GraphConvolution(half, half)
        self.act = QuickGELU()
        self.out = nn.Linear(width, width)
        self.register_buffer("distance", distance_graph(positions), persistent=False)  # constant: built once

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        size = x.shape[1]
        keep = valid_mask(lengths, size)[..., None]
        if self.positions is not None:
            x = x + self.positions[:size]
        for layer in self.local:
            x = layer(x, lengths)
        if not self.legacy:
            x = x * keep
        similar = similarity_graph(x, lengths)
        near = self.distance[:size, :size] if self.positions is not None else distance_graph(size).to(x)
        a = self.act(self.similar1(x, similar))
        b = self.act(self.near1(x, near))
        if not self.legacy:
            a, b = a * keep, b * keep
        a, b = self.act(self.similar2(a, similar)), self.act(self.near2(b, near))
        y: Tensor = self.out(torch.cat([a, b], dim=-1))
        return y if self.legacy else y * keep


def standardise(x: Tensor, lengths: Tensor, shrink: float = 8.0) -> Tensor:
    """Standardised values of each video times n / (n + shrink); [B, T], 0 at padding.

    The factor keeps the few snippets of a short video from standing out by chance.
    """
    valid = valid_mask(lengths, x.shape[1])
    number = lengths[:, None].clamp(min=1)
    centred = (x - (x * valid).sum(1, keepdim=True) / number) * valid
    deviation = centred.pow(2).sum(1, keepdim=True).div(number).add(1e-12).sqrt()
    return centred / (deviation + 1e-6) * (number / (number + shrink))


def distances(x: Tensor) -> Tensor:
    """Euclidean distances between the snippets of each video, [B, T, T], by one matrix product; no gradient."""
    with torch.no_grad():
        product = x.float() @ x.float().transpose(1, 2)
        squares = product.diagonal(dim1=1, dim2=2)
        gap = (squares[:, :, None] + squares[:, None, :] - 2 * product).clamp(min=0).sqrt()
        return gap


def change(gap: Tensor, lengths: Tensor, smooth: int = 2) -> Tensor:
    """Change of the features around each snippet; [B, T], 0 at padding.

    d_t = |x_t - x_(t-1)|; a snippet takes the mean of the steps before and after it, then the mean over ``smooth``
    snippets on each side. ``gap`` is the result of :func:`distances`.
    """
    valid = valid_mask(lengths, gap.shape[1])
    pair = valid[:, 1:].to(gap.dtype)
    step = gap.diagonal(offset=1, dim1=1, dim2=2) * pair  # [B, T - 1], 0 at padding
    counts = F.pad(pair, (1, 0)) + F.pad(pair, (0, 1))
    level = (F.pad(step, (1, 0)) + F.pad(step, (0, 1))) / counts.clamp(min=1)
    return masked_moving_average(level * valid, lengths, smooth)


def novelty(gap: Tensor, lengths: Tensor, nearest: int = 5, smooth: int = 2) -> Tensor:
    """Mean distance of each snippet to the ``nearest`` most similar ones of its video, smoothed; [B, T]."""
    size = gap.shape[1]
    valid = valid_mask(lengths, size)
    other = valid[:, None, :] & ~torch.eye(size, dtype=torch.bool, device=gap.device)
    close = gap.masked_fill(~other, torch.inf).topk(min(nearest, size), dim=-1, largest=False).values
    found = torch.isfinite(close)
    mean = torch.where(found, close, torch.zeros_like(close)).sum(-1) / found.sum(-1).clamp(min=1)
    return masked_moving_average(mean * valid, lengths, smooth)


def masked_moving_average(x: Tensor, lengths: Tensor, radius: int) -> Tensor:
    """Mean of each valid snippet and its valid neighbours up to ``radius`` away; [B, T], 0 at padding."""
    if radius == 0:
        return x
    valid = valid_mask(lengths, x.shape[1]).to(x.dtype)
    kernel = torch.ones(1, 1, 2 * radius + 1, device=x.device, dtype=x.dtype)
    total = F.conv1d((x * valid)[:, None], kernel, padding=radius)[:, 0]
    number = F.conv1d(valid[:, None], kernel, padding=radius)[:, 0]
    return total / number.clamp(min=1) * valid
