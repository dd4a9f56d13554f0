"""Wu et al.: VadCLIP: Adapting Vision-Language Models for Weakly Supervised Video Anomaly Detection, AAAI 2024."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from kgvad.anchors.learnable_prompts import LearnedAnchors
from kgvad.detector.api import Batch, Detector, Output, Problem, Recipe, valid_mask
from kgvad.detector.models import losses as loss
from kgvad.detector.models.learned_anchors import LEARN_VALUES, THROUGH_ENCODER, Learn, learned_anchors
from kgvad.detector.models.temporal import FeedForward, LocalGlobalAdapter
from kgvad.errors import RunError


class VadClipConfig(BaseModel):
    """Values of the published code for UCF-Crime; XD-Violence: layers 1, window 64, separation_weight 1e-4."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=512, ge=2, multiple_of=2, description="Channels.")
    layers: int = Field(default=2, ge=0, description="Layers of windowed attention.")
    heads: int = Field(default=1, ge=1, description="Attention heads.")
    window: int = Field(default=8, ge=1, description="Snippets in an attention window.")
    positions: int = Field(
        default=256, ge=1, description="Size of the position table; longer videos are scored in chunks."
    )
    learn: Learn = Field(default="vectors", description="What is learned of the anchors: " + LEARN_VALUES)
    context: int = Field(default=10, ge=0, description="Context vectors before and after the words, for learn=context.")
    prompt_table: int = Field(default=77, ge=1, description="Size of the prompt table of compatible mode.")
    temperature: float = Field(default=0.07, gt=0, description="Temperature of the alignment.")
    separation_weight: float = Field(
        default=0.1, ge=0, description="Weight of the separation of Normal's text features."
    )
    greedy_features: Literal["adapter", "input"] = Field(
        default="adapter",
        description="Whose distance sigma-greedy selects by: the adapter's output, or the features. The SemVAD paper "
        "does not say; its code has the former.",
    )
    compatible: bool = Field(
        default=False,
        description="The published module, parameter by parameter; features and anchors must be `width` wide.",
    )
    legacy: bool = Field(default=False, description="Let padding leak, as in the published code.")


@dataclass(frozen=True, eq=False)
class TextOutput(Output):
    """Output with what the losses read.

    Attributes
    ----------
    text
        Text features [B, C, d] before the visual prompt.
    snippets
        V [B, T, d], in training.
    """

    text: Tensor | None = None
    snippets: Tensor | None = None


class VadClip(Detector):
    """Two branches over local-global features V: an anomaly logit per snippet, and cosines with text features.

    The text features are lifted by the visual prompt v = norm(sum_t logit_t V_t): T' = t + v + FFN(t + v).

    The text features are the anchors of the bank plus learned vectors. With ``learn=context`` they are, as published,
    the output of the text encoder for the category's words between learned vectors, not normalised, and the bank's
    anchors are unused. ``compatible`` gives the published module: 12,642,306 parameters for UCF-Crime and 9,489,922
    for XD-Violence; its prompt table is used with ``learn=context`` only. Deviations, unless ``legacy``: padding takes
    no part in windows, graphs and the visual prompt. Long videos are scored in overlapping chunks.
    """

    name: ClassVar[str] = "vadclip"
    Config: ClassVar[type[BaseModel]] = VadClipConfig
    recipe: ClassVar[Recipe] = Recipe(
        epochs=10,
        learning_rate=2e-5,
        weight_decay=1e-2,
        normal_batch=64,
        abnormal_batch=64,
        warmup=0.0,
        schedule="steps",
        milestones=(4, 8),
    )
    needs_anchors: ClassVar[bool] = True
    names_categories: ClassVar[bool] = True
    supports_sigma_greedy: ClassVar[bool] = True
    losses_average_over_videos: ClassVar[bool] = True
    source: ClassVar[str] = "Wu et al. 2024"
    anchors: Tensor

    def __init__(self, problem: Problem, config: VadClipConfig) -> None:
        super().__init__(problem, config)
        assert problem.anchors is not None
        self.options, width = config, config.width
        self.max_snippets = config.positions
        self.register_buffer("anchors", problem.anchors.clone(), persistent=False)
        self.learned = self.make_learned(problem)
        self.category_vectors: nn.Parameter | None = None
        self.temporal = LocalGlobalAdapter(
            width, config.layers, config.heads, config.window, config.positions, legacy=config.legacy
        )
        self.text_mlp, self.snippet_mlp = FeedForward(width), FeedForward(width)
        self.classifier = nn.Linear(width, 1)
        if config.compatible:
            if (problem.dim, problem.anchors.shape[1]) != (width, width):
                raise RunError(f"vadclip: compatible mode needs {width}-d features and anchors", "use CLIP ViT-B/16")
            if config.learn != "context":
                self.prompt_table = nn.Parameter(torch.randn(config.prompt_table, width) * 0.01)
            self.sigma = nn.Parameter(torch.ones(1))  # registered and unused in the published code
            self.visual: nn.Module = nn.Identity()
            self.text: nn.Module = nn.Identity()
        else:
            self.visual = nn.Linear(problem.dim, width) if problem.dim != width else nn.Identity()
            dim = problem.anchors.shape[1]
            self.text = nn.Linear(dim, width, bias=False) if dim != width else nn.Identity()
            if config.learn == "vectors":
                self.category_vectors = nn.Parameter(torch.zeros(len(problem.categories), width))

    @classmethod
    def needs_text_encoder(cls, config: BaseModel) -> bool:
        """Where context or adapters are learned."""
        assert isinstance(config, VadClipConfig)
        return config.learn in THROUGH_ENCODER

    def make_learned(self, problem: Problem) -> LearnedAnchors | None:
        """Learned text features that replace the bank's anchors, if any."""
        table_size = self.options.prompt_table if self.options.compatible else None
        return learned_anchors(problem, self.options.learn, self.options.context, table_size)

    def text_features(self) -> Tensor:
        """t [C, width]."""
        t: Tensor = self.text(self.anchors if self.learned is None else self.learned())
        return t if self.category_vectors is None else t + self.category_vectors

    def encode(self, features: Tensor, lengths: Tensor, captions: Tensor | None) -> Tensor:
        """V [B, T, width]."""
        v: Tensor = self.temporal(self.visual(features), lengths)
        return v

    def forward(self, features: Tensor, lengths: Tensor, captions: Tensor | None = None) -> TextOutput:
        return self.branches(self.encode(features, lengths, captions), lengths)

    def branches(self, v: Tensor, lengths: Tensor) -> TextOutput:
        """Both branches over V [B, T, width]."""
        logits = self.classifier(v + self.snippet_mlp(v))[..., 0]
        weights = logits if self.options.legacy else logits * valid_mask(lengths, v.shape[1])
        prompt = F.normalize((weights[..., None] * v).sum(1), dim=-1)  # [B, width]
        t = self.text_features()
        lifted = t[None] + prompt[:, None]
        lifted = lifted + self.text_mlp(lifted)  # [B, C, width]
        alignment = F.normalize(v, dim=-1) @ F.normalize(lifted, dim=-1).transpose(1, 2) / self.options.temperature
        return TextOutput(logits, alignment, text=t.expand(len(v), -1, -1), snippets=v if self.training else None)

    def losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        assert isinstance(output, TextOutput) and output.alignment is not None and output.text is not None
        distance = self.distance_from_normal(output, batch) if batch.select_by_distance else None
        scores, categories = (
            loss.greedy_choice(values, distance, batch.abnormal) for values in (output.logits, output.alignment)
        )
        return {
            "bce": loss.mil_bce(output.logits, batch.lengths, batch.abnormal, choice=scores),
            "align": loss.mil_align(output.alignment, batch.lengths, batch.targets, choice=categories),
            "separation": self.options.separation_weight * self.separation(output.text[0], batch.normal),
        }

    def separation(self, text: Tensor, normal: int) -> Tensor:
        """Unweighted separation of the text features [C, d]."""
        return loss.text_separation(text, normal)

    def distance_from_normal(self, output: TextOutput, batch: Batch) -> Tensor | None:
        """By which sigma-greedy selects, [B, T]; ``None`` where the batch has no normal video."""
        snippets = output.snippets if self.options.greedy_features == "adapter" else batch.features
        assert snippets is not None
        return loss.normal_distance(snippets, batch.lengths, batch.abnormal)

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Load a published checkpoint (its ``model_state_dict``), without the parameters of CLIP.

        Raises
        ------
        RunError
            The detector is not in compatible mode, or a name or shape is unknown.
        """
        if not self.options.compatible:
            raise RunError("vadclip: only the compatible mode takes published parameters", "set compatible=true")
        own = self.state_dict()
        mapped = {}
        for name, value in state.items():
            if name.startswith("clipmodel."):
                continue
            target = name_of_published(name)
            if target == "prompt_table" and target not in own:  # it belongs to the prompt learner
                target = "learned.learned.context"
            if target not in own or own[target].shape != value.shape:
                raise RunError(
                    f"vadclip: the published parameter {name} {list(value.shape)} fits nothing", "check the file"
                )
            mapped[target] = value
        missing = sorted(set(own) - set(mapped) - {"learned.vectors"})  # computed from the others
        if missing:
            raise RunError(f"vadclip: the checkpoint lacks {missing[0]}", "check the file and the layers option")
        self.load_state_dict(own | mapped)


_RELEASED = {
    "text_prompt_embeddings.weight": "prompt_table",
    "frame_position_embeddings.weight": "temporal.positions",
    "disAdj.sigma": "sigma",
    "gc1": "temporal.similar1",
    "gc2": "temporal.similar2",
    "gc3": "temporal.near1",
    "gc4": "temporal.near2",
    "linear": "temporal.out",
    "mlp1": "text_mlp",
    "mlp2": "snippet_mlp",
    "c_fc": "0",
    "c_proj": "2",
    "attn.in_proj_weight": "qkv.weight",
    "attn.in_proj_bias": "qkv.bias",
    "attn.out_proj": "out",
    "ln_1": "norm1",
    "ln_2": "norm2",
}


def name_of_published(name: str) -> str:
    """Our name of a parameter of the published module."""
    name = re.sub(r"^temporal\.resblocks\.(\d+)\.", r"temporal.local.\1.", name)
    for theirs, ours in _RELEASED.items():
        name = re.sub(rf"(^|\.){re.escape(theirs)}(?=\.|$)", rf"\g<1>{ours}", name)
    return name
