"""The anchor-aligned detector: anomaly scores from weak labels, categories from anchors of the knowledge graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_rows
from kgvad.detector.models import losses as loss
from kgvad.detector.models.learned_anchors import THROUGH, Learn, learned_anchors
from kgvad.detector.models.temporal import LocalGlobalAdapter, change, distances, masked_smooth, novelty, standardise

ROWS = 4096  # at once: distances and graphs are quadratic in the rows of a video


class AnchorAlignedConfig(BaseModel):
    """Options of the anchor-aligned detector; the defaults were chosen on the training list of UCF-Crime."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=128, ge=2, multiple_of=2)  # m
    layers: int = Field(default=0, ge=0)  # of windowed attention; 0: no temporal encoder
    heads: int = Field(default=2, ge=1)
    window: int = Field(default=8, ge=1)  # rows
    dropout: float = Field(default=0.4, ge=0, lt=1)  # of the temporal encoder
    scale: float = Field(default=10.0, gt=0)  # length of every input vector after centring
    ridge: float = Field(default=0.05, ge=0)  # weight decay of the linear heads, in the loss
    whole_weight: float = Field(default=3.0, ge=0)  # of the log probability that the video is abnormal
    row_weight: float = Field(default=0.8, ge=0)  # of the logit that a row is abnormal
    relative: bool = True  # row logits count in deviations within their video; False: as they are
    reach: int = Field(default=0, ge=0)  # rows to each side that the logit of a row is averaged with
    change_weight: float = Field(default=1.0, ge=0)  # logits per deviation of how much the features move around a row
    novelty_weight: float = Field(default=1.0, ge=0)  # of how unlike the rest of its video it is
    anchors: bool = True  # False: free category vectors instead of anchors
    learn: Learn = "vectors"  # of the anchors; see kgvad.detector.models.learned_anchors
    context: int = Field(default=10, ge=0)  # learn=context: vectors before and after the words
    guidance: bool = True
    direct: float = Field(default=10.0, ge=0)  # first weight of cosines with the anchors, where the spaces are one
    lean: float | None = Field(default=None, ge=0)  # and of theirs in the anomaly logit; None: the same
    mil_weight: float = Field(default=1.0, ge=0)
    align_weight: float = Field(default=1.0, ge=0)
    video_weight: float = Field(default=1.0, ge=0)
    separation_weight: float = Field(default=0.1, ge=0)
    prior: bool = True  # learn categories as if all were equally frequent (logit adjustment, Menon et al. 2021)
    agreement_weight: float = Field(default=0.0, ge=0)  # above 0 it drowns the row head: see docs/results.md
    smooth_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _prompts(cls, options: Any) -> Any:
        """Runs of before there was ``learn`` say ``prompts``."""
        if isinstance(options, Mapping) and isinstance(options.get("prompts"), bool):
            rest = {name: value for name, value in options.items() if name != "prompts"}
            return {"learn": "vectors" if options["prompts"] else "none"} | rest
        return options


@dataclass(frozen=True, eq=False)
class AnchorOutput(Output):
    """Output with what the losses read.

    Row logits f [B, T], video logits g [B], guided anchors [B, C, m] and the decay [B], the same for every video.
    """

    rows: Tensor | None = None
    whole: Tensor | None = None
    guided: Tensor | None = None
    decay: Tensor | None = None


class AnchorAligned(Detector):
    """Weakly supervised detector whose categories are anchors from a knowledge graph.

    Weak labels are few and features wide, so everything that learns from them is linear in vectors of one length and
    held back by a ridge: x_t is a row and y the pooled video (mean, maximum, minimum over the rows), both less the
    centre of the training videos and scaled to the length k.

    Whether a video is abnormal and where in it are asked separately, because the first is easy to learn from weak
    labels and would drown the second:

        s_t = G log sigmoid(g(y) + mean of the k largest f) + z(f(x_t)) + z(change_t) + z(novelty_t)

    g learns from the video's label and f by top-k MIL. change is how much the features move around a row, novelty how
    unlike the rest of the video it is, and z standardises within the video. The logarithm is as in a product of
    probabilities: what is surely normal is pressed down, and among surely abnormal videos the place decides.

    Categories are bilinear in what is seen and the anchors, rows in temporal context V_t = U x_t + a h(U x)_t:

        M_t = V_t . A' / sqrt(m) + b + d cos(x_t, A)      M = U' y . A' / sqrt(m) + b' + d mean_t cos(x_t, A)

    The cosines stand there only where features and anchors share one space (CLIP, BLIP, text); anchors are then less
    their mean, and f gains l cos(x_t, mean of the abnormal concepts - mean of Normal's). The guidance lets every anchor
    attend to the concepts of its category under the video's evidence e = sum_t softmax(s)_t V_t:

        A'_c = A_c W + D_c + gate * sum_p softmax_p( e . E_p W / sqrt(m) ) E_p W      (p over concepts of c)

    D_c are learned vectors; other values of ``learn`` have none and move A, here and in the cosines. The ridge falls on
    the products of U and W A + D, the weights that act.
    """

    name: ClassVar[str] = "anchor-aligned"
    Config: ClassVar[type[BaseModel]] = AnchorAlignedConfig
    recipe: ClassVar[Recipe] = Recipe(epochs=12, learning_rate=1e-3, weight_decay=0.0, warmup=0.0)
    takes_noise: ClassVar[bool] = True
    source: ClassVar[str] = "kgvad"
    row_centre: Tensor
    video_centre: Tensor
    seen: Tensor
    anchors: Tensor
    concepts: Tensor
    member: Tensor
    abnormal: Tensor

    def __init__(self, problem: Problem, config: AnchorAlignedConfig) -> None:
        super().__init__(problem, config)
        self.options = config
        width, dim, count = config.width, problem.dim, len(problem.categories)
        self.register_buffer("row_centre", torch.zeros(dim))
        self.register_buffer("video_centre", torch.zeros(3 * dim))
        self.register_buffer("seen", torch.ones(count))  # training samples of each category so far
        self.row_head, self.video_head = nn.Linear(dim, 1), nn.Linear(3 * dim, 1)
        for head in (self.row_head, self.video_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.row_query = nn.Linear(dim, width, bias=False)
        self.video_query = nn.Linear(3 * dim, width, bias=False)
        self.row_bias, self.video_bias = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.zeros(count))
        self.temporal = (
            LocalGlobalAdapter(width, config.layers, config.heads, config.window, 0, config.dropout)
            if config.layers
            else None
        )
        self.context = nn.Parameter(torch.zeros(()))  # how much temporal context is added; training opens it
        self.max_rows = ROWS
        self._build_anchors(problem, width)
        self.gate = nn.Parameter(torch.tensor(0.5))

    def _build_anchors(self, problem: Problem, width: int) -> None:
        count = len(problem.categories)
        self.uses_anchors = self.options.anchors and problem.anchors is not None
        self.learned = (
            learned_anchors(problem, self.options.learn, self.options.context, mixed=True)
            if self.uses_anchors
            else None
        )
        self.direct: nn.Parameter | None = None
        if self.uses_anchors and problem.anchors is not None:
            self.register_buffer("anchors", problem.anchors.clone())
            self.text = nn.Linear(problem.anchors.shape[1], width, bias=False)
            self.prompts = nn.Parameter(torch.zeros(count, width), requires_grad=self.options.learn == "vectors")
            direct = self.options.direct
            lean = direct if self.options.lean is None else self.options.lean
            if problem.shared_space and (direct or lean):
                self.direct, self.lean = nn.Parameter(torch.tensor(direct)), nn.Parameter(torch.tensor(lean))
                self.register_buffer("abnormal", _abnormal_direction(problem), persistent=False)
        else:
            self.prompts = nn.Parameter(torch.randn(count, width) / math.sqrt(width))
        self.guided = self.uses_anchors and self.options.guidance and problem.concepts is not None
        if self.guided and problem.concepts is not None and problem.concept_category is not None:
            self.register_buffer("concepts", problem.concepts.clone())
            member = F.one_hot(problem.concept_category, count).bool().T  # [C, P]
            self.register_buffer("member", member, persistent=False)

    @classmethod
    def needs_tower(cls, config: BaseModel) -> bool:
        """Where context or adapters are learned."""
        assert isinstance(config, AnchorAlignedConfig)
        return config.anchors and config.learn in THROUGH

    def prepare(self, videos: Sequence[Tensor], text: Sequence[Tensor] = ()) -> None:
        """Centres of the training rows and of the pooled training videos."""
        self.row_centre.copy_(torch.cat(list(videos)).mean(0))
        self.video_centre.copy_(torch.stack([_pool(v[None], v.new_tensor([len(v)]))[0] for v in videos]).mean(0))

    def extended(self, problem: Problem) -> AnchorAligned:
        """This detector with more categories: they have their anchor from the bank, nothing learned and no bias.

        Anomaly scores stay as they are. Where features and anchors share one space, so does all but the mean of the
        anchors, to which the new ones add.
        """
        if not self.uses_anchors:
            return super().extended(problem)  # type: ignore[return-value]  # it raises
        with torch.random.fork_rng(devices=[]):  # the first parameters are random and thrown away
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
        if self.direct is not None:
            other.abnormal.copy_(self.abnormal)
        return other

    def forward(self, features: Tensor, lengths: Tensor, text: Tensor | None = None) -> AnchorOutput:
        options = self.options
        valid = valid_rows(lengths, features.shape[1])[..., None]
        x = F.normalize(features - self.row_centre, dim=-1) * valid
        y = options.scale * F.normalize(_pool(features, lengths) - self.video_centre, dim=-1)  # [B, 3 D]
        found = self.row_head(options.scale * x)[..., 0]  # f [B, T]
        if self.direct is not None:
            found = found + self.lean * (x @ self.abnormal)
        found = masked_smooth(found, lengths, options.reach)
        whole = self.video_head(y)[:, 0]  # g [B]
        place = standardise(found, lengths) if options.relative else found
        sure = F.logsigmoid(whole + loss.topk_mean(found, lengths))[:, None]
        logits = options.whole_weight * sure + options.row_weight * place
        if options.change_weight or options.novelty_weight:
            gap = distances(features)
            logits = logits + options.change_weight * standardise(change(gap, lengths), lengths)
            logits = logits + options.novelty_weight * standardise(novelty(gap, lengths), lengths)
        v = self.row_query(options.scale * x)  # [B, T, m]
        if self.temporal is not None:
            v = v + self.context * self.temporal(v, lengths)
        weights = logits.detach().masked_fill(~valid[..., 0], -torch.inf).softmax(-1)
        known = self._known()
        base = self.prompts if known is None else self.text(known) + self.prompts  # [C, m]
        anchors = base + self._guide((weights[..., None] * v).sum(1))  # [B, C, m]
        root = math.sqrt(options.width)
        alignment = v @ anchors.transpose(1, 2) / root + self.row_bias
        video = (self.video_query(y)[:, None] @ anchors.transpose(1, 2))[:, 0] / root + self.video_bias
        if self.direct is not None and known is not None:
            cosine = x @ F.normalize(known - known.mean(0), dim=-1).T  # [B, T, C]; 0 at padding
            alignment = alignment + self.direct * cosine
            video = video + self.direct * cosine.sum(1) / lengths[:, None].clamp(min=1)
        concepts = None
        if self.guided:
            concepts = F.normalize(v, dim=-1) @ F.normalize(self.text(self.concepts), dim=-1).T
        decay = self._decay(base).expand(len(features)) if self.training else None
        return AnchorOutput(logits, alignment, video, concepts, found, whole, anchors, decay)

    def _known(self) -> Tensor | None:
        """A [C, d], learned or as the bank has them."""
        if self.learned is not None:
            vectors: Tensor = self.learned()
            return vectors
        return self.anchors if self.uses_anchors else None

    def _guide(self, evidence: Tensor) -> Tensor:
        """What the concepts add to every anchor under the evidence [B, m]: [B, C, m], or nothing."""
        if not self.guided:
            return evidence.new_zeros(len(evidence), 1, 1)
        keys = self.text(self.concepts)  # [P, m]
        match = evidence @ keys.T / math.sqrt(keys.shape[1])  # [B, P]
        share = match[:, None].masked_fill(~self.member, -torch.inf).softmax(-1)
        guide: Tensor = self.gate * (share.nan_to_num() @ keys)  # a category without concepts keeps its anchor
        return guide

    def _decay(self, base: Tensor) -> Tensor:
        """Half the squared length of the weights that act on x and y."""
        root = math.sqrt(self.options.width)
        acting = [self.row_head.weight, self.video_head.weight]
        acting += [base @ query.weight / root for query in (self.row_query, self.video_query)]
        return torch.stack([weight.square().sum() for weight in acting]).sum() / 2

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
            "mil": options.mil_weight
            * loss.mil_bce(output.rows, lengths, batch.abnormal, noise=batch.noise(torch.sigmoid(output.rows))),
            "whole": options.mil_weight * F.binary_cross_entropy_with_logits(output.whole, batch.abnormal),
            "align": options.align_weight
            * loss.mil_align(output.alignment + share, lengths, batch.targets, noise=batch.noise(output.alignment)),
            "video": options.video_weight * loss.soft_cross_entropy(output.video + share, batch.targets),
        }
        if options.ridge and output.decay is not None:
            terms["ridge"] = options.ridge * output.decay.mean()
        if options.separation_weight and output.guided is not None:
            terms["separation"] = options.separation_weight * loss.text_separation(output.guided, batch.normal)
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
        rows = [problem.concepts[problem.concept_category == index] for index in range(len(means))]
        means = torch.stack([own.mean(0) if len(own) else anchor for own, anchor in zip(rows, means, strict=True)])
    others = torch.cat([means[: problem.normal], means[problem.normal + 1 :]])
    return F.normalize(others.mean(0) - means[problem.normal], dim=0)


def _pool(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean, maximum and minimum over the valid rows of [B, T, D], [B, 3 D]; zeros for a video without rows."""
    valid = valid_rows(lengths, x.shape[1])[..., None]
    mean = (x * valid).sum(1) / lengths[:, None].clamp(min=1)
    top, low = x.masked_fill(~valid, -torch.inf).amax(1), x.masked_fill(~valid, torch.inf).amin(1)
    return torch.cat([mean, top, low], dim=-1).nan_to_num(posinf=0.0, neginf=0.0)
