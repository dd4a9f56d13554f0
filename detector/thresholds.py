"""What held-out training videos say about a run: onset of events, how often one is missed, when a category is named.

Imports no torch, because files of scores carry it too.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RunThresholds(BaseModel):
    """Thresholds of a run, measured on held-out folds of its training videos, and how well they work there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    onset: float = Field(gt=0, le=1, description="Score at which an event starts.")
    false_alarm_rate: float = Field(ge=0, le=1, description="Share of held-out normal videos that reach the onset.")
    miss_rate: float = Field(ge=0, le=1, description="Share of held-out abnormal videos that do not.")
    normal_videos: int = Field(ge=0, description="Held-out normal videos.")
    abnormal_videos: int = Field(ge=0, description="Held-out abnormal videos.")
    temperature: float | None = Field(
        default=None, gt=0, description="Divides the category logits, so that the softmax is calibrated."
    )
    category_margin: float | None = Field(
        default=None, ge=0, le=1, description="Lead over the runner-up, in probability, at which a category is named."
    )
    named_rate: float | None = Field(
        default=None, ge=0, le=1, description="Share of held-out abnormal videos whose category has this lead."
    )
    named_correct: float | None = Field(default=None, ge=0, le=1, description="Share of these that are correct.")
