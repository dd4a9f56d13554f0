"""SemVAD's two-phase fusion of features with captions (section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import valid_mask

Stage = Literal["concatenation", "attention", "mixer"]
Form = Literal["paper", "released"]
Values = Literal["keys", "projected"]


class Attention(nn.Module):
    """Captions gathered by the features, one head (Figure 4).

    ``paper``: A = softmax(f t^T / sqrt(D)) over time, h = LN(f + A v), t_attn = LN'(h + FFN(h)). The scale, the single
    head and the last residual and norm are not published and are our choice; padded clips are masked.

    ``released``, as in the authors' code: A = softmax(f^T t / sqrt(D / 2)) over channels, [D, D];
    h = LN(t + v A^T), t_attn = LN(h + FFN(h)), with one layer norm in both places.

    The values v are the keys t (QKK), or one more linear map of the captions (QKV).

    Parameters
    ----------
    width
        D, channels.
    caption_dim
        Width of the captions, for projected values.
    form, values
        As above.
    hidden
        Channels inside the feed-forward network, whose activation is ReLU; 0: D / 2, as in the authors' code.
    """

    def __init__(self, width: int, caption_dim: int, form: Form, values: Values, hidden: int = 0) -> None:
        super().__init__()
        self.form = form
        self.values = nn.Linear(caption_dim, width) if values == "projected" else None
        hidden = hidden or width // 2
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = self.norm1 if form == "released" else nn.LayerNorm(width)

    def forward(self, f: Tensor, t: Tensor, captions: Tensor, keep: Tensor) -> Tensor:
        """t_attn [B, T, D] from f and t [B, T, D], captions [B, T, E] and the valid clips, bool [B, T]."""
        v = t if self.values is None else self.values(captions)
        width = f.shape[-1]
        if self.form == "paper":
            match = (f @ t.transpose(1, 2) / width**0.5).masked_fill(~keep[:, None], -torch.inf)
            h = self.norm1(f + match.softmax(-1) @ v)
        else:
            f, t, v = (x * keep[..., None] for x in (f, t, v))
            match = f.transpose(1, 2) @ t / (width / 2) ** 0.5  # [B, D, D]
            h = self.norm1(t + v @ match.softmax(-1).transpose(1, 2))
        attended: Tensor = self.norm2(h + self.feed_forward(h))
        return attended


class Mixer(nn.Module):
    """Linear(GELU(Conv2d([t_attn; f]))) with a kernel of 2 x 3 over the stack and time (Figure 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, (2, 3), padding=(0, 1))
        self.linear = nn.Linear(width, width)

    def forward(self, attended: Tensor, f: Tensor, keep: Tensor) -> Tensor:
        """F_mix [B, T, D]; padding counts as 0, as the clips beyond both ends do."""
        stack = torch.stack([attended, f], dim=1) * keep[:, None, :, None]  # [B, 2, T, D]
        mixed = F.gelu(self.convolution(stack.permute(0, 3, 1, 2)))[:, :, 0]  # [B, D, T]
        found: Tensor = self.linear(mixed.transpose(1, 2))
        return found


class Fusion(nn.Module):
    """[f, F_mix] of features and captions, f = L_v(F) and t = L_c(T) (section 3.3).

    The earlier stages are those of the ablation (Table 10): [f, t], and [f, t_attn].

    Parameters
    ----------
    dim, caption_dim
        Width of the features and of the captions.
    width
        D: channels of f, t and F_mix; the result is 2 D wide.
    stage
        Up to which step.
    form, values, hidden
        Of :class:`Attention`.
    """

    def __init__(
        self,
        dim: int,
        caption_dim: int,
        width: int,
        stage: Stage = "mixer",
        form: Form = "paper",
        values: Values = "keys",
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.visual, self.captions = nn.Linear(dim, width), nn.Linear(caption_dim, width)
        self.attention = Attention(width, caption_dim, form, values, hidden) if stage != "concatenation" else None
        self.mixer = Mixer(width) if stage == "mixer" else None

    def forward(self, features: Tensor, captions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """F_fused [B, T, 2 D], 0 at padding, and the projected captions t [B, T, D]."""
        keep = valid_mask(lengths, features.shape[1])
        f, t = self.visual(features), self.captions(captions)
        second = t if self.attention is None else self.attention(f, t, captions, keep)
        if self.mixer is not None:
            second = self.mixer(second, f, keep)
        return torch.cat([f, second], dim=-1) * keep[..., None], t
