"""The anchor-aligned detector: anomaly scores from weak labels, categories from anchors of the knowledge graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector import losses as loss
from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_rows
from kgvad.detector.temporal import LocalGlobalAdapter, change, distances, novelty, standardise

ROWS = 4096  # at once: the graphs are quadratic in the rows of a video


class AnchorAlignedConfig(BaseModel):
    """Options of the anchor-aligned detector; the defaults were chosen on the training list of UCF-Crime."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=128, ge=2, multiple_of=2)  # m
    layers: int = Field(default=1, ge=0)  # of windowed attention; 0: no temporal encoder
    heads: int = Field(default=2, ge=1)
    window: int = Field(default=8, ge=1)  # rows
    dropout: float = Field(default=0.4, ge=0, lt=1)
    scale: float = Field(default=20.0, gt=0)  # mean length of an input row after centring
    video_scale: float = Field(default=6.0, ge=0)  # logits between a surely normal and a surely abnormal video
    row_weight: float = Field(default=1.0, ge=0)  # logits per deviation of what a row shows
    change_weight: float = Field(default=1.0, ge=0)  # of how much the features move around it
    novelty_weight: float = Field(default=1.0, ge=0)  # of how unlike the rest of its video it is
    context_scores: bool = False  # whether the anomaly score sees temporal context, or the alignment alone
    anchors: bool = True  # False: free category vectors instead of anchors
    guidance: bool = True
    temperature: float = Field(default=0.1, gt=0)
    mil_weight: float = Field(default=1.0, ge=0)
    align_weight: float = Field(default=1.0, ge=0)
    video_weight: float = Field(default=1.0, ge=0)
    separation_weight: float = Field(default=0.1, ge=0)
    prior: bool = True  # learn categories as if all were equally frequent (logit adjustment, Menon et al. 2021)
    agreement_weight: float = Field(default=0.1, ge=0)
    smooth_weight: float = Field(default=0.0, ge=0)


@dataclass(frozen=True, eq=False)
class AnchorOutput(Output):
    """Output with what the losses read: row logits f [B, T], video logits g [B], guided anchors [B, C, m]."""

    rows: Tensor | None = None
    whole: Tensor | None = None
    guided: Tensor | None = None


class AnchorAligned(Detector):
    """Weakly supervised detector whose categories are anchors from a knowledge graph.

    Rows X are centred and scaled, projected (V0) and put in temporal context (V). Whether a video is abnormal and
    where in it are asked separately, because the first is easy to learn from weak labels and would drown the second:

        s_t = G (sigmoid((g + mean of the k largest f) / 2) - 1/2) + z(f_t) + z(change_t) + z(novelty_t)

    g reads the pooled video (mean V0, max V0) and f a row V0_t (option: V_t); both learn from the video's label, f by
    top-k MIL. change is how much the features move around a row, novelty how unlike the rest of the video it is, and z
    standardises within the video.

    The guidance lets every anchor attend to the concepts of its category under the video's evidence
    e = sum_t softmax(s)_t V_t:

        A'_c = A_c W + D_c + gate * sum_p softmax_p( e . E_p W / sqrt(m) ) E_p W      (p over concepts of c)

    D_c are learned prompt vectors. Alignment is M = cos(V Q, A') / tau, and the same with the pooled video.
    """

    name: ClassVar[str] = "anchor-aligned"
    Config: ClassVar[type[BaseModel]] = AnchorAlignedConfig
    recipe: ClassVar[Recipe] = Recipe(epochs=12, learning_rate=1e-3, weight_decay=0.3)
    source: ClassVar[str] = "kgvad"
    centre: Tensor
    seen: Tensor
    spread: Tensor
    anchors: Tensor
    concepts: Tensor
    member: Tensor

    def __init__(self, problem: Problem, config: AnchorAlignedConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        width = config.width
        self.register_buffer("centre", torch.zeros(problem.dim))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("seen", torch.ones(len(problem.categories)))  # training samples of each category so far
        self.drop = nn.Dropout(config.dropout)
        self.project = nn.Linear(problem.dim, width)
        self.temporal = (
            LocalGlobalAdapter(width, config.layers, config.heads, config.window, 0, config.dropout)
            if config.layers
            else None
        )
        self.context = nn.Parameter(torch.zeros(()))  # how much temporal context is added; training opens it
        self.max_rows = ROWS if config.layers else None
        self.row_head = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), self.drop, nn.Linear(width // 2, 1))
        self.video_head = nn.Linear(2 * width, 1)
        self._build_anchors(problem, width)
        self.row_query = nn.Linear(width, width)
        self.video_query = nn.Linear(2 * width, width)
        self.gate = nn.Parameter(torch.tensor(0.5))

    def _build_anchors(self, problem: Problem, width: int) -> None:
        count = len(problem.categories)
        self.uses_anchors = self.options.anchors and problem.anchors is not None
        if self.uses_anchors and problem.anchors is not None:
            self.register_buffer("anchors", problem.anchors.clone())
            self.text = nn.Linear(problem.anchors.shape[1], width, bias=False)
            self.prompts = nn.Parameter(torch.zeros(count, width))
        else:
            self.prompts = nn.Parameter(torch.randn(count, width) / math.sqrt(width))
        self.guided = self.uses_anchors and self.options.guidance and problem.concepts is not None
        if self.guided and problem.concepts is not None and problem.concept_category is not None:
            self.register_buffer("concepts", problem.concepts.clone())
            member = F.one_hot(problem.concept_category, count).bool().T  # [C, P]
            self.register_buffer("member", member, persistent=False)

    def prepare(self, rows: Tensor) -> None:
        """Centre of the training rows and mean length of what is left."""
        centre = rows.mean(0)
        self.centre.copy_(centre)
        self.spread.copy_((rows - centre).norm(dim=-1).mean().clamp(min=1e-6))

    def forward(self, features: Tensor, lengths: Tensor, text: Tensor | None = None) -> AnchorOutput:
        options = self.options
        valid = valid_rows(lengths, features.shape[1])[..., None]
        v0 = F.gelu(self._project(features)) * valid  # [B, T, m]
        pooled = self.drop(_pool(v0, valid, lengths))  # [B, 2 m]
        v = v0 if self.temporal is None else v0 + self.context * self.temporal(v0, lengths)
        rows = self.drop(v)
        found = self.row_head(rows if options.context_scores else self.drop(v0))[..., 0]  # f [B, T]
        whole = self.video_head(pooled)[:, 0]  # g [B]
        both = (whole + loss.topk_mean(found, lengths)) / 2  # two answers to whether the video is abnormal
        logits = options.video_scale * (torch.sigmoid(both) - 0.5)[:, None]
        logits = logits + options.row_weight * standardise(found, lengths)
        if options.change_weight or options.novelty_weight:
            gap = distances(features)
            logits = logits + options.change_weight * standardise(change(gap, lengths), lengths)
            logits = logits + options.novelty_weight * standardise(novelty(gap, lengths), lengths)
        weights = logits.detach().masked_fill(~valid[..., 0], -torch.inf).softmax(-1)
        evidence = (weights[..., None] * rows).sum(1)  # [B, m]
        anchors = F.normalize(self._anchors(evidence), dim=-1)  # [B, C, m]
        queries = F.normalize(self.row_query(rows), dim=-1)
        alignment = queries @ anchors.transpose(1, 2) / options.temperature
        query = F.normalize(self.video_query(pooled), dim=-1)[:, None]
        video = (query @ anchors.transpose(1, 2))[:, 0] / options.temperature
        concepts = None
        if self.guided:
            concepts = queries @ F.normalize(self.text(self.concepts), dim=-1).T
        return AnchorOutput(logits, alignment, video, concepts, found, whole, anchors)

    def _project(self, features: Tensor) -> Tensor:
        """W k (x - centre) + b. Centring, scaling and dropout of inputs act on W: features are much larger than W."""
        weight = self.project.weight * (self.options.scale / self.spread)
        weight = self.drop(torch.ones_like(self.centre)) * weight
        return F.linear(features, weight, self.project.bias - weight @ self.centre)

    def _anchors(self, evidence: Tensor) -> Tensor:
        if not self.uses_anchors:
            free: Tensor = self.prompts.expand(len(evidence), -1, -1)
            return free
        base: Tensor = (self.text(self.anchors) + self.prompts).expand(len(evidence), -1, -1)
        if not self.guided:
            return base
        keys = self.text(self.concepts)  # [P, m]
        match = evidence @ keys.T / math.sqrt(keys.shape[1])  # [B, P]
        share = match[:, None].masked_fill(~self.member, -torch.inf).softmax(-1)
        guide: Tensor = share.nan_to_num() @ keys  # a category without concepts keeps its anchor
        return base + self.gate * guide

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """Named losses of the design: MIL, alignment of rows and of the video, separation, agreement, smoothness."""
        options, lengths = self.options, batch.lengths
        assert isinstance(output, AnchorOutput) and output.alignment is not None and output.video is not None
        assert output.rows is not None and output.whole is not None
        share = torch.zeros_like(self.seen)
        if options.prior and self.training:
            self.seen += batch.targets.sum(0)
            share = (self.seen / self.seen.sum()).log()
        terms = {
            "mil": options.mil_weight * loss.mil_bce(output.rows, lengths, batch.abnormal),
            "whole": options.mil_weight * F.binary_cross_entropy_with_logits(output.whole, batch.abnormal),
            "align": options.align_weight * loss.mil_align(output.alignment + share, lengths, batch.targets),
            "video": options.video_weight * loss.soft_cross_entropy(output.video + share, batch.targets),
        }
        if options.separation_weight and output.guided is not None:
            terms["separation"] = options.separation_weight * loss.text_separation(output.guided, batch.normal)
        if options.agreement_weight:
            terms["agreement"] = options.agreement_weight * loss.agreement(
                output.logits, output.alignment, lengths, batch.normal
            )
        if options.smooth_weight:
            terms["smooth"] = options.smooth_weight * loss.smoothness(torch.sigmoid(output.logits), lengths)
        return terms


def _pool(x: Tensor, valid: Tensor, lengths: Tensor) -> Tensor:
    """Mean and maximum over valid rows, [B, 2 m]; zeros for a video without rows."""
    mean = (x * valid).sum(1) / lengths[:, None].clamp(min=1)
    top = x.masked_fill(~valid, -torch.inf).amax(1)
    return torch.cat([mean, torch.where(torch.isfinite(top), top, torch.zeros_like(top))], dim=-1)
