"""The additive detector: scores that are sums of contributions of named feature columns, such as actions (ours).

Notation: x_t [D] are the columns of snippet t, standardised over the columns and centred; m is the mean over the video
(causal: over the snippets so far); l_t is x smoothed over time (causal: a running mean). With weights u, v [D] and
W, V [D, K] over the K categories without Normal::

    anomaly logit     s_t   = b   + sum_a (u_a + v_a) m_a + contrast * sum_a u_a (l_ta - m_a)
    category logit    z_tk  = c_k + sum_a W_ak x_ta + sum_a V_ak m_a
    of the video      z_k   = sum_t r_t z_tk,    r_t ~ sigmoid(s_t)

so every logit is a sum over columns. Column names connect the columns to the knowledge graph: W and V start at a prior
from text, the similarity of a column's name to a category's anchor, and a ridge keeps them near it. The ridges are
divided by the number of training videos, so the prior counts most where there are few.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models.losses import mil_bce, topk_mean
from kgvad.errors import UsageError

KERNEL_CUTOFF = 0.01  # Gaussian weights below this share of the largest are 0


class AdditiveConfig(BaseModel):
    """Options; the defaults were chosen by cross-validation on the training list of UCF-Crime (I3D action scores)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ridge_local: float = Field(default=150.0, ge=0, description="Ridge on u, divided by the number of training videos.")
    ridge_video: float = Field(default=45.0, ge=0, description="Ridge on v, divided by the number of training videos.")
    ridge_category: float = Field(
        default=80.0, ge=0, description="Ridge on W and V, divided by the number of abnormal training videos."
    )
    prior: float = Field(default=0.005, ge=0, description="Weight of one standard deviation of the prior from text.")
    category_weight: float = Field(default=2.0, ge=0, description="Weight of the category loss.")
    balance: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Logit adjustment: 1 scores categories as if equally frequent, 0 as in training.",
    )
    contrast: float = Field(
        default=3.0, gt=0, description="Weight, in scoring, of a snippet's difference from its video."
    )
    smoothing: float = Field(
        default=2.0, ge=0, description="Standard deviation of temporal smoothing in scoring, in snippets."
    )
    causal: bool = Field(default=False, description="Score each snippet from those up to it, for streams.")
    memory: float = Field(default=3.0, ge=1, description="Length of the causal running mean, in snippets.")


class Additive(Detector):
    """Sums of contributions of named columns, with weights that start at the knowledge graph."""

    name: ClassVar[str] = "additive"
    Config: ClassVar[type[BaseModel]] = AdditiveConfig
    recipe: ClassVar[Recipe] = Recipe(epochs=12, learning_rate=5e-3, weight_decay=0.0)
    source: ClassVar[str] = "kgvad"
    names_categories: ClassVar[bool] = True
    reads_columns: ClassVar[bool] = True
    centre: Tensor
    column_vectors: Tensor  # [D, d], names of the columns by the bank's text encoder; 0 without a bank
    log_share: Tensor
    videos: Tensor
    abnormal_videos: Tensor
    local_weight: Tensor
    video_weight: Tensor
    category_local_weight: Tensor
    category_video_weight: Tensor
    local_target: Tensor
    video_target: Tensor

    def __init__(self, problem: Problem, config: AdditiveConfig) -> None:
        super().__init__(problem, config)
        if not problem.columns:
            raise UsageError(
                "additive needs features whose columns have names",
                "extract them with: kgvad extract VIDEOS --encoder i3d-actions",
            )
        self.options = config
        columns, count = problem.dim, len(problem.categories)
        self.named = [index for index in range(count) if index != problem.normal]
        prior = torch.zeros(columns, count - 1)
        width = 0 if problem.anchors is None else problem.anchors.shape[1]
        self.register_buffer("column_vectors", torch.zeros(columns, width, dtype=torch.float16))
        if problem.column_vectors is not None and problem.anchors is not None:
            self.column_vectors.copy_(problem.column_vectors)
            prior = config.prior * text_prior(problem.column_vectors, problem.anchors[self.named])
        self.register_buffer("centre", torch.zeros(columns))
        self.register_buffer("log_share", torch.zeros(count - 1))  # log frequency of the categories in training
        self.register_buffer("videos", torch.ones(()))
        self.register_buffer("abnormal_videos", torch.ones(()))
        for name in ("local", "video"):
            # the ridges shrink towards the targets; only training reads them, which computes them anew
            self.register_buffer(f"{name}_target", torch.zeros(columns), persistent=False)
            self.register_parameter(f"{name}_weight", nn.Parameter(torch.zeros(columns)))
        for name in ("category_local", "category_video"):
            self.register_buffer(f"{name}_target", prior.clone(), persistent=False)
            self.register_parameter(f"{name}_weight", nn.Parameter(prior.clone()))
        self.bias = nn.Parameter(torch.zeros(()))
        self.category_bias = nn.Parameter(torch.zeros(count - 1))

    @classmethod
    def uses_anchors(cls, config: BaseModel) -> bool:
        """Unless ``prior=0``."""
        assert isinstance(config, AdditiveConfig)
        return config.prior > 0

    def observe_labels(self, targets: Tensor) -> None:
        """Count the training videos and the categories among them."""
        self.videos.fill_(len(targets))
        self.abnormal_videos.fill_(float((1 - targets[:, self.problem.normal]).sum().clamp(min=1)))
        share = targets[:, self.named].sum(0)
        self.log_share.copy_((share.clamp(min=0.5) / share.sum().clamp(min=1)).log())

    def prepare(self, videos: Sequence[Tensor], captions: Sequence[Tensor] = ()) -> None:
        """Centre the columns on their mean over the training snippets."""
        self.centre.copy_(torch.cat([standardise_columns(video) for video in videos]).mean(0))

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> Output:
        """Anomaly and category logits; the softmax of the alignment gives Normal one minus the anomaly score."""
        x, mean, smooth = self._views(features, lengths)
        contrast = 1.0 if self.training else self.options.contrast
        logits = (
            self.bias
            + mean @ (self.local_weight + self.video_weight)
            + contrast * ((smooth - mean) @ self.local_weight)
        )
        named = self.category_bias + x @ self.category_local_weight + mean @ self.category_video_weight
        normal = named.logsumexp(-1, keepdim=True) - logits[..., None]
        pooled = (self._weights(logits, lengths)[..., None] * named).sum(1)
        pooled_normal = pooled.logsumexp(-1, keepdim=True) - topk_mean(logits, lengths)[:, None]
        return Output(logits, self._insert(named, normal), self._insert(pooled, pooled_normal))

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """MIL cross-entropy of the score, cross-entropy of the category of abnormal videos, and the ridges."""
        o = self.options
        assert output.video is not None
        target = batch.targets[:, self.named]
        share = target / target.sum(-1, keepdim=True).clamp(min=1)
        log_probability = (output.video[:, self.named] + o.balance * self.log_share).log_softmax(-1)
        return {
            "score": mil_bce(output.logits, batch.lengths, batch.abnormal),
            "category": -o.category_weight * (share * log_probability).sum() / (2 * batch.abnormal.sum().clamp(min=1)),
            "ridge": (o.ridge_local * self._distance("local") + o.ridge_video * self._distance("video")) / self.videos
            + o.ridge_category
            * (self._distance("category_local") + self._distance("category_video"))
            / self.abnormal_videos,
        }

    @torch.no_grad()
    def contributions(self, features: Tensor, weights: Tensor) -> Tensor:
        """Contribution of every column to every category logit, averaged over snippets.

        Parameters
        ----------
        features
            float32 [T, D], one video.
        weights
            float32 [T], of the snippets in the average, sum 1.

        Returns
        -------
        Tensor
            float32 [C, D]. A row sums to the mean alignment of its category less the bias; the row of Normal is 0,
            because its logit is not a sum over columns. A single category is decided against Normal alone, so its row
            sums to the mean anomaly logit less the bias.
        """
        lengths = torch.tensor([len(features)], device=features.device)
        x, mean, smooth = self._views(features[None], lengths)
        local, whole = weights @ x[0], weights @ mean[0]
        if len(self.named) == 1:
            above = self.options.contrast * (weights @ smooth[0] - whole)
            named = (whole * (self.local_weight + self.video_weight) + above * self.local_weight)[None]
        else:
            named = local * self.category_local_weight.T + whole * self.category_video_weight.T
        found = named.new_zeros(len(self.problem.categories), features.shape[1])
        found[self.named] = named
        return found

    def without_columns(self, features: Tensor, columns: Tensor) -> Tensor:
        """``features`` [T, D] with these columns at their centre, where they contribute nothing."""
        changed = features.clone()
        mean = features.mean(-1, keepdim=True)
        deviation = (features - mean).square().mean(-1, keepdim=True).sqrt()
        changed[:, columns] = mean + deviation * self.centre[columns]
        return changed

    @torch.no_grad()
    def start_from(self, other: Detector) -> None:
        """Start at the weights of ``other`` and shrink towards them; categories it lacks start at the prior from text.

        Raises
        ------
        UsageError
            ``other`` is another kind of detector, or reads other columns.
        """
        if not isinstance(other, Additive):
            raise UsageError(f"additive cannot start from a run of {other.name}", "name a run of additive with --from")
        if other.problem.columns != self.problem.columns:
            raise UsageError("the run to start from reads other feature columns", "extract the same kind of features")
        own = self.problem.categories
        theirs = {letters(other.problem.categories[index]): column for column, index in enumerate(other.named)}
        for mine, index in enumerate(self.named):
            column = theirs.get(letters(own[index]))
            if column is None:
                self.category_bias[mine] = 0
                continue
            for name in ("category_local", "category_video"):
                getattr(self, f"{name}_target")[:, mine] = getattr(other, f"{name}_weight")[:, column]
            self.category_bias[mine] = other.category_bias[column]
        for name in ("local", "video"):
            getattr(self, f"{name}_target").copy_(getattr(other, f"{name}_weight"))
        for name in ("local", "video", "category_local", "category_video"):
            getattr(self, f"{name}_weight").copy_(getattr(self, f"{name}_target"))
        self.bias.copy_(other.bias)
        self.centre.copy_(other.centre)

    def causal_form(self) -> Additive:
        """The same weights with ``causal=True``; parameters are shared."""
        form = copy.copy(self)
        form.options = self.options.model_copy(update={"causal": True})
        return form

    def _views(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised columns x, their mean over the video, and x smoothed over time; [B, T, D] each, padding 0."""
        valid = valid_mask(lengths, features.shape[1])[..., None].to(features.dtype)
        x = (standardise_columns(features) - self.centre) * valid
        if self.options.causal:
            mean = x.cumsum(1) / valid.cumsum(1).clamp(min=1) * valid
            return x, mean, running_mean(x, self.options.memory) * valid
        mean = (x.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)).expand_as(x)
        return x, mean, x if self.training else smooth_over_time(x, valid, self.options.smoothing)

    def _weights(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Weight of each snippet in the category of the video, [B, T], sum 1."""
        weight = (torch.sigmoid(logits) + 1e-4) * valid_mask(lengths, logits.shape[1])
        return weight / weight.sum(1, keepdim=True)

    def _insert(self, named: Tensor, normal: Tensor) -> Tensor:
        """The logits of all categories in order: those without Normal [..., C - 1], and Normal's [..., 1]."""
        at = self.problem.normal
        return torch.cat([named[..., :at], normal, named[..., at:]], -1)

    def _distance(self, name: str) -> Tensor:
        difference: Tensor = getattr(self, f"{name}_weight") - getattr(self, f"{name}_target")
        return difference.square().sum()


def letters(category: str) -> str:
    """Name of a category without case, spaces and signs: ``Road accidents`` is ``RoadAccidents``."""
    return "".join(char for char in category.casefold() if char.isalnum())


def standardise_columns(features: Tensor) -> Tensor:
    """``features`` [..., D] with mean 0 and standard deviation 1 over the columns; constant snippets become 0."""
    centred = features - features.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


def text_prior(columns: Tensor, anchors: Tensor) -> Tensor:
    """Prior weights [D, K]: cosines of column names [D, d] with anchors [K, d], centred over both, unit deviation."""
    cosine = nn.functional.normalize(columns, dim=-1) @ nn.functional.normalize(anchors, dim=-1).T
    cosine = cosine - cosine.mean(1, keepdim=True)
    cosine = cosine - cosine.mean(0)
    return cosine / cosine.square().mean(0).sqrt().clamp(min=1e-6)


def smooth_over_time(x: Tensor, valid: Tensor, deviation: float) -> Tensor:
    """Gaussian average of x [B, T, D] over time, normalised over the valid snippets [B, T, 1] within reach."""
    if not deviation:
        return x
    reach = int(deviation * (2 * torch.log(torch.tensor(1 / KERNEL_CUTOFF))).sqrt())
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offsets / deviation).square())[None, None]
    batch, size, width = x.shape
    sums = nn.functional.conv1d((x * valid).transpose(1, 2).reshape(batch * width, 1, size), kernel, padding=reach)
    weight = nn.functional.conv1d(valid.transpose(1, 2), kernel, padding=reach).transpose(1, 2)
    return sums.reshape(batch, width, size).transpose(1, 2) / weight.clamp(min=1e-6) * valid


def running_mean(x: Tensor, memory: float) -> Tensor:
    """Exponential running mean of x [B, T, D] over about ``memory`` snippets; the first counts fully."""
    means = [x[:, 0]]
    for t in range(1, x.shape[1]):
        means.append(means[-1] + (x[:, t] - means[-1]) / min(memory, t + 1))
    return torch.stack(means, 1)
