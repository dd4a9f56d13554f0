"""Losses, one function each: plain tensors in, a scalar out. Snippets past ``lengths`` are ignored.

Notation: s [B, T] anomaly logits, p = sigmoid(s), n lengths, k = floor(n / 16) + 1, y targets.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kgvad.detector.api import valid_mask


def default_k(lengths: Tensor) -> Tensor:
    """floor(n / 16) + 1, at most n; int64 [B] (VadCLIP, section 3.5)."""
    return torch.minimum(lengths // 16 + 1, lengths.clamp(min=1))


def topk_mean(values: Tensor, lengths: Tensor, k: Tensor | None = None, choice: Tensor | None = None) -> Tensor:
    """Mean of the k largest valid values of each video, for every trailing column separately.

    Parameters
    ----------
    values
        [B, T] or [B, T, C].
    lengths
        int64 [B].
    k
        int64 [B]; ``None``: :func:`default_k`.
    choice
        Like ``values``: the k largest of these are selected instead.

    Returns
    -------
    [B] or [B, C].
    """
    k = default_k(lengths) if k is None else torch.minimum(k, lengths.clamp(min=1))
    flat = values[..., None] if values.dim() == 2 else values
    keep = valid_mask(lengths, values.shape[1])[..., None]
    by = flat if choice is None else choice.reshape(flat.shape)
    largest = int(k.max())
    order = by.detach().masked_fill(~keep, -torch.inf).topk(largest, dim=1).indices  # [B, k, C]
    chosen = flat.gather(1, order)
    count = (torch.arange(largest, device=k.device)[None, :] < k[:, None])[..., None]
    mean = torch.where(count, chosen, torch.zeros_like(chosen)).sum(1) / k[:, None]
    return mean[:, 0] if values.dim() == 2 else mean


def mil_bce(
    logits: Tensor, lengths: Tensor, abnormal: Tensor, k: Tensor | None = None, choice: Tensor | None = None
) -> Tensor:
    """BCE( mean of the k largest p, y ), averaged over the batch (VadCLIP, eq. 9; PEL4VAD)."""
    chosen = topk_mean(torch.sigmoid(logits), lengths, k, choice).clamp(1e-7, 1 - 1e-7)
    return -(abnormal * chosen.log() + (1 - abnormal) * (1 - chosen).log()).mean()


def mil_ranking(logits: Tensor, lengths: Tensor, abnormal: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin - max_t p_abnormal + max_t p_normal), the mean over all pairs (Sultani et al. 2018, eq. 6).

    Zero where the batch has only one kind of video.
    """
    top = topk_mean(torch.sigmoid(logits), lengths, torch.ones_like(lengths))
    high, low = top[abnormal > 0.5], top[abnormal < 0.5]
    if len(high) == 0 or len(low) == 0:
        return logits.sum() * 0.0
    return F.relu(margin - high[:, None] + low[None, :]).mean()


def smoothness(scores: Tensor, lengths: Tensor) -> Tensor:
    """sum_t (p_t - p_(t+1))^2, averaged over the batch (Sultani et al. 2018, eq. 7, first term)."""
    pairs = valid_mask(lengths, scores.shape[1])[:, 1:]
    return (((scores[:, 1:] - scores[:, :-1]) ** 2) * pairs).sum(1).mean()


def sparsity(scores: Tensor, lengths: Tensor) -> Tensor:
    """sum_t p_t, averaged over the batch (Sultani et al. 2018, eq. 7, second term)."""
    return (scores * valid_mask(lengths, scores.shape[1])).sum(1).mean()


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """- sum_c q_c log softmax(logits)_c with q = targets / sum(targets), averaged over the batch.

    Parameters
    ----------
    logits, targets
        [B, C].
    weights
        [C]: a video weighs sum_c q_c w_c; the average is weighted.
    """
    share = targets / targets.sum(-1, keepdim=True).clamp(min=1e-12)
    each = -(share * logits.log_softmax(-1)).sum(-1)
    if weights is None:
        return each.mean()
    weight = (share * weights).sum(-1)
    return (each * weight).sum() / weight.sum().clamp(min=1e-12)


def mil_align(
    alignment: Tensor, lengths: Tensor, targets: Tensor, weights: Tensor | None = None, choice: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the k largest alignments per category, averaged (VadCLIP's MIL-Align, eq. 10 and 11)."""
    return soft_cross_entropy(topk_mean(alignment, lengths, choice=choice), targets, weights)


def text_separation(anchors: Tensor, normal: int) -> Tensor:
    """Mean over abnormal categories of |cos(t_normal, t_c)| (VadCLIP, eq. 12; unweighted)."""
    cosine = F.cosine_similarity(anchors[..., normal, :].unsqueeze(-2), anchors, dim=-1)
    keep = torch.ones(anchors.shape[-2], dtype=torch.bool, device=anchors.device)
    keep[normal] = False
    return cosine[..., keep].abs().mean()


def agreement(logits: Tensor, alignment: Tensor, lengths: Tensor, normal: int) -> Tensor:
    """Mean over valid snippets of (p_t - (1 - softmax(M_t)[Normal]))^2: agreement of both branches (ours)."""
    valid = valid_mask(lengths, logits.shape[1])
    gap = (torch.sigmoid(logits) - (1.0 - alignment.softmax(-1)[..., normal])) ** 2
    return (gap * valid).sum() / valid.sum().clamp(min=1)


def lowest_scoring_snippets(snippets: Tensor, logits: Tensor, lengths: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The ``share`` of each video's valid snippets with the lowest logits, at least one.

    Returns
    -------
    [B, k, m], and bool [B, k] which of them are valid (DSANet, section 3.2: 80 percent of the snippets).
    """
    size = snippets.shape[1]
    count = (lengths * share).long().clamp(min=1)
    most = int(count.max())
    order = logits.masked_fill(~valid_mask(lengths, size), torch.inf).topk(most, dim=1, largest=False).indices
    return snippets.gather(1, order[..., None].expand(-1, -1, snippets.shape[-1])), valid_mask(count, most)


def compactness(snippets: Tensor, keep: Tensor, prototypes: Tensor) -> Tensor:
    """Mean over a video's kept snippets of min_j (1 - cos(f, P_j)), [B] (DSANet's gather loss)."""
    cosine = F.normalize(snippets, dim=-1) @ F.normalize(prototypes, dim=-1).transpose(1, 2)
    gap = (1 - cosine.amax(-1)) * keep
    return gap.sum(1) / keep.sum(1).clamp(min=1)


def consistency(logits: Tensor, snippets: Tensor, reconstruction: Tensor, lengths: Tensor) -> Tensor:
    """Mean over valid snippets of (p_t - (1 - cos(V_t, r_t)) / 2)^2: abnormal ones are reconstructed badly (DSANet)."""
    valid = valid_mask(lengths, logits.shape[1])
    error = (1 - F.cosine_similarity(snippets, reconstruction, dim=-1)) / 2
    return (((torch.sigmoid(logits) - error) ** 2) * valid).sum() / valid.sum().clamp(min=1)


def event_background(snippets: Tensor, logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Event and background of each video, [B, m] each: snippets weighted by w and w' of sum 1 (DSANet, PEL4VAD).

    w_t ~ exp(10 p_t) - 1 and w'_t ~ exp(10 (1 - p_t)) - 1 over valid snippets.
    """
    valid = valid_mask(lengths, logits.shape[1])
    score = torch.sigmoid(logits)
    pooled = []
    for value in (score, 1 - score):
        weight = torch.expm1(10 * value) * valid
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
        pooled.append((weight[..., None] * snippets).sum(1))
    return pooled[0], pooled[1]


def smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with (1 - e) q + e / C, q = targets / sum(targets) (DSANet's decoupled alignment, e = 0.1)."""
    share = targets / targets.sum(-1, keepdim=True).clamp(min=1e-12)
    share = (1 - smoothing) * share + smoothing / targets.shape[-1]
    return -(share * logits.log_softmax(-1)).sum(-1).mean()


def separation_sum(anchors: Tensor, normal: int) -> Tensor:
    """sum over abnormal categories of max(0, cos(t_normal, t_c)) (SemVAD, eq. 4; unweighted)."""
    cosine = F.cosine_similarity(anchors[normal : normal + 1], anchors, dim=-1).clamp(min=0)
    return cosine.sum() - cosine[normal]


def semantic_alignment(captions: Tensor, prompts: Tensor, alignment: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Mean cosine distance of each video's likeliest captions from the class prompt of its category (SemVAD, l_sem).

    The k = floor(n / 16) + 1 snippets with the largest softmax probability of the category are selected.

    Parameters
    ----------
    captions
        Projected captions t, [B, T, D].
    prompts
        Projected class prompts, [C, D].
    alignment
        Category logits [B, T, C].
    lengths, labels
        int64 [B]: number of snippets, and the category m of each video.

    Returns
    -------
    [B]: avg_k 1 - cos(t_(i_k), t^(m)).
    """
    videos = torch.arange(len(labels), device=labels.device)
    probability = alignment.softmax(-1)[videos, :, labels]  # s_m, [B, T]
    distance = 1 - F.cosine_similarity(captions, prompts[labels][:, None], dim=-1)
    return topk_mean(distance, lengths, choice=probability)


def normal_distance(snippets: Tensor, lengths: Tensor, abnormal: Tensor) -> Tensor | None:
    """Mean cosine distance of every snippet from all valid snippets of the normal videos (SemVAD, section 5).

    Parameters
    ----------
    snippets
        [B, T, D].
    lengths, abnormal
        [B].

    Returns
    -------
    [B, T], without gradient; ``None`` where no video is normal.
    """
    unit = F.normalize(snippets.detach(), dim=-1)
    keep = valid_mask(lengths, snippets.shape[1]) & (abnormal < 0.5)[:, None]
    if not keep.any():
        return None
    return 1 - unit @ unit[keep].mean(0)


def greedy_choice(values: Tensor, distance: Tensor | None, abnormal: Tensor) -> Tensor | None:
    """What the top k are selected by under sigma-greedy: distances in abnormal videos, the values themselves in others.

    Parameters
    ----------
    values
        [B, T] or [B, T, C].
    distance
        Of :func:`normal_distance`; ``None``: the result is ``None`` too.
    abnormal
        [B].
    """
    if distance is None:
        return None
    if values.dim() == 3:
        distance, abnormal = distance[..., None], abnormal[:, None]
    return torch.where(abnormal[:, None] > 0.5, distance, values.detach())
