"""RTFM's multi-scale temporal network and CLIP-TSA's differentiable top-k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import valid_mask


class NonLocal(nn.Module):
    """Non-local block with embedded dot products over time, half the channels inside (RTFM; Wang et al. 2018).

    y = x + BN(W( (theta x)(phi x)^T / n  g x )) with n valid snippets.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.value, self.query, self.key = (nn.Conv1d(width, inner, 1) for _ in range(3))
        self.out = nn.Sequential(nn.Conv1d(inner, width, 1), nn.BatchNorm1d(width))
        nn.init.zeros_(self.out[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x) * keep, self.value(x) * keep  # [B, m/2, T]
        weights = q.transpose(1, 2) @ k / keep.sum(-1, keepdim=True).clamp(min=1)
        y: Tensor = x + self.out((weights @ v.transpose(1, 2)).transpose(1, 2))
        return y


class MultiScale(nn.Module):
    """Dilated convolutions (1, 2, 4) and a non-local block side by side, fused, with a residual (RTFM, section 3.2).

    Parameters
    ----------
    dim
        Channels in and out.
    branch
        Channels of each of the four branches.
    dropout
        After the residual.
    """

    def __init__(self, dim: int, branch: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Sequential(nn.Conv1d(dim, branch, 3, padding=d, dilation=d), nn.ReLU(), nn.BatchNorm1d(branch))
            for d in (1, 2, 4)
        )
        self.reduce = nn.Conv1d(dim, branch, 1, bias=False)
        self.non_local = NonLocal(branch)
        self.fuse = nn.Sequential(nn.Conv1d(4 * branch, dim, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm1d(dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        keep = valid_mask(lengths, x.shape[1])[:, None].to(x.dtype)  # [B, 1, T]
        x = x.transpose(1, 2) * keep
        parts = [layer(x) * keep for layer in self.dilated]
        parts.append(self.non_local(F.relu(self.reduce(x)), keep) * keep)
        y: Tensor = self.drop(self.fuse(torch.cat(parts, dim=1)) + x) * keep
        return y.transpose(1, 2)


def score_head(width: int, dropout: float) -> nn.Sequential:
    """RTFM's classifier of snippets, width-512-128-1."""
    drop = nn.Dropout(dropout)
    return nn.Sequential(
        nn.Linear(width, 512), nn.ReLU(), drop, nn.Linear(512, 128), nn.ReLU(), drop, nn.Linear(128, 1)
    )


class _PerturbedTopK(torch.autograd.Function):
    """Expected one-hot matrices of the k largest of x + sigma noise, in temporal order (Cordonnier et al. 2021).

    The backward pass saves the indices and the noise only, not one-hot tensors of every sample.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, k: int, sigma: float) -> Tensor:
        places = (x[:, None] + sigma * noise).topk(k, dim=-1).indices.sort(dim=-1).values  # [B, M, k]
        ctx.save_for_backward(places, noise)
        ctx.sigma = sigma
        chosen = torch.zeros(x.shape[0], k, x.shape[1], device=x.device, dtype=x.dtype)
        share = torch.full((), 1.0 / noise.shape[1], device=x.device, dtype=x.dtype)
        flat = places.transpose(1, 2)  # [B, k, M]
        return chosen.scatter_add_(2, flat, share.expand(flat.shape))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        places, noise = ctx.saved_tensors
        each = grads[0].gather(2, places.transpose(1, 2)).sum(1)  # [B, M]: gradient of each sample's selection
        return (each[..., None] * noise).mean(1) / ctx.sigma, None, None, None


def perturbed_topk(x: Tensor, k: int, samples: int = 100, sigma: float = 0.05) -> Tensor:
    """Soft selection of the k largest entries of x [B, T], differentiable; [B, k, T], each row sums to 1.

    E_n[ one_hot(sorted(top_k(x + sigma n))) ], n standard normal; the gradient is E[ f(x + sigma n) n ] / sigma
    (Berthet et al. 2020).
    """
    noise = torch.randn(x.shape[0], samples, x.shape[1], device=x.device, dtype=x.dtype)
    found: Tensor = _PerturbedTopK.apply(x, noise, k, sigma)  # type: ignore[no-untyped-call]
    return found
