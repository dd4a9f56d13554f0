"""The anchor-aligned detector: anomaly scores from weak labels, categories from anchors of the knowledge graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models import losses as loss
from kgvad.detector.models.learned_anchors import LEARN_VALUES, THROUGH_ENCODER, Learn, learned_anchors
from kgvad.detector.models.temporal import (
    LocalGlobalAdapter,
    change,
    distances,
    masked_moving_average,
    novelty,
    standardise,
)

MAX_SNIPPETS = 4096  # in one pass: distances and graphs are quadratic in the length of a video


class AnchorAlignedConfig(BaseModel):
    """Options of the anchor-aligned detector; the defaults were chosen on the training list of UCF-Crime."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(
        default=128, ge=2, multiple_of=2, description="Width m of the common space of snippets and anchors."
    )
    layers: int = Field(default=0, ge=0, description="Layers of windowed attention; 0: no temporal encoder.")
    heads: int = Field(default=2, ge=1, description="Attention heads.")
    window: int = Field(default=8, ge=1, description="Snippets in an attention window.")
    dropout: float = Field(default=0.4, ge=0, lt=1, description="Dropout of the temporal encoder.")
    scale: float = Field(default=10.0, gt=0, description="Norm of every input vector after centring.")
    head_rate: float = Field(
        default=4.0, gt=0, description="How many times as fast as the categories the anomaly heads learn."
    )
    ridge: float = Field(default=0.05, ge=0, description="Weight of the L2 penalty on the linear heads.")
    video_logit_weight: float = Field(
        default=3.0, ge=0, description="Weight of the log probability that the video is abnormal in the anomaly logit."
    )
    snippet_logit_weight: float = Field(
        default=0.65, ge=0, description="Weight of the snippet logit in the anomaly logit."
    )
    standardise_logits: bool = Field(default=True, description="Standardise snippet logits within their video.")
    smoothing_radius: int = Field(
        default=0, ge=0, description="Neighbours on each side over which snippet logits are averaged."
    )
    change_weight: float = Field(
        default=0.65, ge=0, description="Weight of the change of the features around a snippet in the anomaly logit."
    )
    novelty_weight: float = Field(
        default=0.65, ge=0, description="Weight of the distance to the rest of the video in the anomaly logit."
    )
    anchors: bool = Field(default=True, description="Use the anchor bank; false: learn free category vectors.")
    learn: Learn = Field(default="vectors", description="What is learned of the anchors: " + LEARN_VALUES)
    context: int = Field(default=10, ge=0, description="Context vectors before and after the words, for learn=context.")
    guidance: bool = Field(default=True, description="Let each anchor attend to the concepts of its category.")
    category_cosine_weight: float = Field(
        default=10.0,
        ge=0,
        description="Initial weight of the cosines with the anchors in the category logits (shared space).",
    )
    anomaly_cosine_weight: float | None = Field(
        default=None, ge=0, description="The same in the anomaly logit; none: as category_cosine_weight."
    )
    mil_weight: float = Field(default=1.0, ge=0, description="Weight of the anomaly losses of snippets and videos.")
    align_weight: float = Field(
        default=1.0, ge=0, description="Weight of the category loss of the snippets (MIL-align)."
    )
    video_weight: float = Field(default=1.0, ge=0, description="Weight of the category loss of the video.")
    separation_weight: float = Field(default=0.1, ge=0, description="Weight of the separation of Normal's anchor.")
    logit_adjustment: bool = Field(
        default=True, description="Correct category losses for category frequencies (Menon et al. 2021)."
    )
    agreement_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the agreement of anomaly score and category; above 0 it dominates the snippet head.",
    )
    smooth_weight: float = Field(default=0.0, ge=0, description="Weight of the temporal smoothness of the scores.")


@dataclass(frozen=True, eq=False)
class AnchorOutput(Output):
    """Output with what the losses read.

    Attributes
    ----------
    snippet_logits
        f [B, T].
    video_logits
        g [B].
    guided_anchors
        [B, C, m].
    penalty
        [B]: L2 norm of the linear heads, the same for every video.
    """

    snippet_logits: Tensor | None = None
    video_logits: Tensor | None = None
    guided_anchors: Tensor | None = None
    penalty: Tensor | None = None


class AnchorAligned(Detector):
    """Linear weakly supervised detector whose categories are anchors from a knowledge graph.

    Weak labels are few and features wide, so everything that learns from them is linear in vectors of one norm and
    regularised by an L2 penalty (ridge): x_t is a snippet and y the pooled video (mean, maximum and minimum over the
    snippets), both centred on the training videos and scaled to norm k.

    Whether a video is abnormal and where in it are separate questions. The first is easy to learn from weak labels and
    would dominate the second:

        s_t = G log sigmoid((g(y) + mean of the k largest f) / 2) + w (z(f(x_t)) + z(change_t) + z(novelty_t))

    g learns from the video's label and f by top-k MIL; both judge the video, and their mean counts. change is how much
    the features move around a snippet, novelty how far it lies from the rest of the video, and z standardises within
    the video. The logarithm acts as in a product of probabilities: it lowers every score of a normal video, and among
    abnormal videos the other terms decide. Few videos make few steps, which suffice for the categories and not for g
    and f. Their weights are therefore multiplied by ``head_rate``; the penalty counts the product.

    Categories are bilinear in the features and the anchors; snippets have temporal context V_t = U x_t + a h(U x)_t:

        M_t = V_t . A' / sqrt(m) + b + d cos(x_t, A)      M = U' y . A' / sqrt(m) + b' + d mean_t cos(x_t, A)

    The cosines exist only where features and anchors share one space (CLIP, BLIP, text); anchors are then centred, and
    f gains l cos(x_t, mean of the abnormal concepts - mean of Normal's). By guidance every anchor attends to the
    concepts of its category under the video's evidence e = sum_t softmax(s)_t V_t:

        A'_c = A_c W + D_c + gate * sum_p softmax_p( e . E_p W / sqrt(m) ) E_p W      (p over concepts of c)

    D_c are learned vectors; other values of ``learn`` have none and move A, here and in the cosines. The penalty falls
    on the effective weights, which are the products of U and W A + D.
    """

    name: ClassVar[str] = "anchor-aligned"
    Config: ClassVar[type[BaseModel]] = AnchorAlignedConfig
    recipe: ClassVar[Recipe] = Recipe(epochs=12, learning_rate=1e-3, weight_decay=0.0, warmup=0.0)
    names_categories: ClassVar[bool] = True
    source: ClassVar[str] = "kgvad"
    snippet_centre: Tensor
    video_centre: Tensor
    category_counts: Tensor
    anchors: Tensor
    concepts: Tensor
    member: Tensor
    abnormal_direction: Tensor

    def __init__(self, problem: Problem, config: AnchorAlignedConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        width, dim, count = config.width, problem.dim, len(problem.categories)
        self.register_buffer("snippet_centre", torch.zeros(dim))
        self.register_buffer("video_centre", torch.zeros(3 * dim))
        self.register_buffer("category_counts", torch.ones(count))  # training samples so far
        self.snippet_head, self.video_head = nn.Linear(dim, 1), nn.Linear(3 * dim, 1)
        for head in (self.snippet_head, self.video_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.snippet_projection = nn.Linear(dim, width, bias=False)
        self.video_projection = nn.Linear(3 * dim, width, bias=False)
        self.snippet_bias, self.video_bias = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.zeros(count))
        self.temporal = (
            LocalGlobalAdapter(width, config.layers, config.heads, config.window, 0, config.dropout)
            if config.layers
            else None
        )
        self.context = nn.Parameter(torch.zeros(()))  # share of temporal context; starts at 0
        self.max_snippets = MAX_SNIPPETS
        self._build_anchors(problem, width)
        self.gate = nn.Parameter(torch.tensor(0.5))

    def _build_anchors(self, problem: Problem, width: int) -> None:
        count = len(problem.categories)
        self.has_anchors = self.options.anchors and problem.anchors is not None
        self.learned = (
            learned_anchors(problem, self.options.learn, self.options.context, mixed=True) if self.has_anchors else None
        )
        self.category_cosine_weight: nn.Parameter | None = None
        if self.has_anchors and problem.anchors is not None:
            self.register_buffer("anchors", problem.anchors.clone())
            self.anchor_projection = nn.Linear(problem.anchors.shape[1], width, bias=False)
            self.category_vectors = nn.Parameter(
                torch.zeros(count, width), requires_grad=self.options.learn == "vectors"
            )
            category, anomaly = self.options.category_cosine_weight, self.options.anomaly_cosine_weight
            anomaly = category if anomaly is None else anomaly
            if problem.shared_space and (category or anomaly):
                self.category_cosine_weight = nn.Parameter(torch.tensor(category))
                self.anomaly_cosine_weight = nn.Parameter(torch.tensor(anomaly))
                self.register_buffer("abnormal_direction", _abnormal_direction(problem), persistent=False)
        else:
            self.category_vectors = nn.Parameter(torch.randn(count, width) / math.sqrt(width))
        self.guided = self.has_anchors and self.options.guidance and problem.concepts is not None
        if self.guided and problem.concepts is not None and problem.concept_category is not None:
            self.register_buffer("concepts", problem.concepts.clone())
            member = F.one_hot(problem.concept_category, count).bool().T  # [C, P]
            self.register_buffer("member", member, persistent=False)

    @classmethod
    def uses_anchors(cls, config: BaseModel) -> bool:
        """Unless ``anchors=false``."""
        assert isinstance(config, AnchorAlignedConfig)
        return config.anchors

    @classmethod
    def needs_text_encoder(cls, config: BaseModel) -> bool:
        """Where context or adapters are learned."""
        assert isinstance(config, AnchorAlignedConfig)
        return config.anchors and config.learn in THROUGH_ENCODER

    def prepare(self, videos: Sequence[Tensor], captions: Sequence[Tensor] = ()) -> None:
        """Compute the means of the training snippets and of the pooled training videos."""
        self.snippet_centre.copy_(torch.cat(list(videos)).mean(0))
        self.video_centre.copy_(torch.stack([_pool(v[None], v.new_tensor([len(v)]))[0] for v in videos]).mean(0))

    def extended(self, problem: Problem) -> AnchorAligned:
        """This detector with more categories, which have their anchor from the bank, no learned vector and no bias.

        Anomaly scores do not change. Where features and anchors share one space, only the mean of the anchors changes.
        """
        if not self.has_anchors:
            return super().extended(problem)  # type: ignore[return-value]  # it raises
        with torch.random.fork_rng(devices=[]):  # the initial parameters are discarded
            other = AnchorAligned(problem, self.options)
        if self.learned is not None and problem.anchors is not None:
            other.learned = self.learned.extended(problem.anchors)
        fixed = {"anchors", "concepts", "learned.vectors"}
        own, state = self.state_dict(), other.state_dict()
        for name in state.keys() - fixed:
            if own[name].shape == state[name].shape:
                state[name] = own[name]
            else:
                state[name] = torch.zeros_like(state[name])
                state[name][: len(own[name])] = own[name]
        other.load_state_dict(state)
        if self.category_cosine_weight is not None:
            other.abnormal_direction.copy_(self.abnormal_direction)
        return other

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> AnchorOutput:
        options = self.options
        valid = valid_mask(lengths, features.shape[1])
        x = F.normalize(features - self.snippet_centre, dim=-1) * valid[..., None]
        y = options.scale * F.normalize(_pool(features, lengths) - self.video_centre, dim=-1)  # [B, 3 D]
        snippet_logits = self._snippet_logits(x, lengths)  # f [B, T]
        video_logits = options.head_rate * self.video_head(y)[:, 0]  # g [B]
        logits = self._anomaly_logits(features, snippet_logits, video_logits, lengths)
        v = self.snippet_projection(options.scale * x)  # [B, T, m]
        if self.temporal is not None:
            v = v + self.context * self.temporal(v, lengths)
        weights = logits.detach().masked_fill(~valid, -torch.inf).softmax(-1)
        current = self._current_anchors()
        base = self.category_vectors if current is None else self.anchor_projection(current) + self.category_vectors
        anchors = base + self._guide((weights[..., None] * v).sum(1))  # [B, C, m]
        root = math.sqrt(options.width)
        alignment = v @ anchors.transpose(1, 2) / root + self.snippet_bias
        video = (self.video_projection(y)[:, None] @ anchors.transpose(1, 2))[:, 0] / root + self.video_bias
        if self.category_cosine_weight is not None and current is not None:
            cosine = x @ F.normalize(current - current.mean(0), dim=-1).T  # [B, T, C]; 0 at padding
            alignment = alignment + self.category_cosine_weight * cosine
            video = video + self.category_cosine_weight * cosine.sum(1) / lengths[:, None].clamp(min=1)
        concepts = None
        if self.guided:
            concepts = F.normalize(v, dim=-1) @ F.normalize(self.anchor_projection(self.concepts), dim=-1).T
        penalty = self._penalty(base).expand(len(features)) if self.training else None
        return AnchorOutput(logits, alignment, video, concepts, snippet_logits, video_logits, anchors, penalty)

    def _snippet_logits(self, x: Tensor, lengths: Tensor) -> Tensor:
        """f [B, T] of the centred unit vectors x [B, T, D]."""
        logits: Tensor = self.options.head_rate * self.snippet_head(self.options.scale * x)[..., 0]
        if self.category_cosine_weight is not None:
            logits = logits + self.anomaly_cosine_weight * (x @ self.abnormal_direction)
        return masked_moving_average(logits, lengths, self.options.smoothing_radius)

    def _anomaly_logits(
        self, features: Tensor, snippet_logits: Tensor, video_logits: Tensor, lengths: Tensor
    ) -> Tensor:
        """s [B, T]."""
        options = self.options
        place = standardise(snippet_logits, lengths) if options.standardise_logits else snippet_logits
        abnormal = F.logsigmoid((video_logits + loss.topk_mean(snippet_logits, lengths)) / 2)[:, None]
        logits = options.video_logit_weight * abnormal + options.snippet_logit_weight * place
        if options.change_weight or options.novelty_weight:
            gap = distances(features)
            logits = logits + options.change_weight * standardise(change(gap, lengths), lengths)
            logits = logits + options.novelty_weight * standardise(novelty(gap, lengths), lengths)
        return logits

    def _current_anchors(self) -> Tensor | None:
        """A [C, d], learned or those of the bank."""
        if self.learned is not None:
            vectors: Tensor = self.learned()
            return vectors
        return self.anchors if self.has_anchors else None

    def _guide(self, evidence: Tensor) -> Tensor:
        """Addition of the concepts to every anchor under the evidence [B, m]: [B, C, m], or zero."""
        if not self.guided:
            return evidence.new_zeros(len(evidence), 1, 1)
        keys = self.anchor_projection(self.concepts)  # [P, m]
        match = evidence @ keys.T / math.sqrt(keys.shape[1])  # [B, P]
        share = match[:, None].masked_fill(~self.member, -torch.inf).softmax(-1)
        guide: Tensor = self.gate * (share.nan_to_num() @ keys)  # a category without concepts keeps its anchor
        return guide

    def _penalty(self, base: Tensor) -> Tensor:
        """Half the squared norm of the effective weights on x and y."""
        root = math.sqrt(self.options.width)
        acting = [self.options.head_rate * head.weight for head in (self.snippet_head, self.video_head)]
        acting += [base @ query.weight / root for query in (self.snippet_projection, self.video_projection)]
        return torch.stack([weight.square().sum() for weight in acting]).sum() / 2

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """MIL, video label, alignment of snippets and video, L2 penalty, separation, agreement and smoothness."""
        options, lengths = self.options, batch.lengths
        assert isinstance(output, AnchorOutput) and output.alignment is not None and output.video is not None
        assert output.snippet_logits is not None and output.video_logits is not None
        log_prior = torch.zeros_like(self.category_counts)
        if options.logit_adjustment and self.training:
            self.category_counts += batch.targets.sum(0)
            log_prior = (self.category_counts / self.category_counts.sum()).log()
        terms = {
            "mil": options.mil_weight * loss.mil_bce(output.snippet_logits, lengths, batch.abnormal),
            "video_mil": options.mil_weight * F.binary_cross_entropy_with_logits(output.video_logits, batch.abnormal),
            "align": options.align_weight * loss.mil_align(output.alignment + log_prior, lengths, batch.targets),
            "video_align": options.video_weight * loss.soft_cross_entropy(output.video + log_prior, batch.targets),
        }
        if options.ridge and output.penalty is not None:
            terms["ridge"] = options.ridge * output.penalty.mean()
        if options.separation_weight and output.guided_anchors is not None:
            terms["separation"] = options.separation_weight * loss.text_separation(output.guided_anchors, batch.normal)
        if options.agreement_weight:
            terms["agreement"] = options.agreement_weight * loss.agreement(
                output.logits, output.alignment, lengths, batch.normal
            )
        if options.smooth_weight:
            terms["smooth"] = options.smooth_weight * loss.smoothness(torch.sigmoid(output.logits), lengths)
        return terms


def _abnormal_direction(problem: Problem) -> Tensor:
    """Unit vector [d] from Normal to the mean of the other categories, each the mean of its concepts."""
    assert problem.anchors is not None
    means = problem.anchors
    if problem.concepts is not None and problem.concept_category is not None:
        of_category = [problem.concepts[problem.concept_category == index] for index in range(len(means))]
        means = torch.stack(
            [own.mean(0) if len(own) else anchor for own, anchor in zip(of_category, means, strict=True)]
        )
    others = torch.cat([means[: problem.normal], means[problem.normal + 1 :]])
    return F.normalize(others.mean(0) - means[problem.normal], dim=0)


def _pool(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean, maximum and minimum over the valid snippets of [B, T, D], [B, 3 D]; zeros for an empty video."""
    valid = valid_mask(lengths, x.shape[1])[..., None]
    mean = (x * valid).sum(1) / lengths[:, None].clamp(min=1)
    top, low = x.masked_fill(~valid, -torch.inf).amax(1), x.masked_fill(~valid, torch.inf).amin(1)
    return torch.cat([mean, top, low], dim=-1).nan_to_num(posinf=0.0, neginf=0.0)
