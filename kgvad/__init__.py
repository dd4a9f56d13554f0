"""kgvad: find abnormal events in video and explain them with knowledge-graph concepts.

The names below are the public interface; everything else may change. They are imported on first use, so that
``import kgvad`` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank as AnchorBank
    from kgvad.anchors.build import build_bank as build_bank
    from kgvad.anchors.text_encoders import load_text_encoder as load_text_encoder
    from kgvad.detector.run import Run as Run
    from kgvad.detector.scoring.infer import score_features as score_features
    from kgvad.detector.scoring.scores import Scores as Scores
    from kgvad.detector.scoring.training_free import score_training_free as score_training_free
    from kgvad.errors import KgvadError as KgvadError
    from kgvad.explain.explainer import Explainer as Explainer
    from kgvad.explain.explainer import Options as ExplainOptions  # noqa: F401
    from kgvad.explain.rendering.render import Renderer as Renderer
    from kgvad.explain.report import Report as Report
    from kgvad.kg.graph.concepts import category_concepts as category_concepts
    from kgvad.kg.store.cache import GraphStore as GraphStore
    from kgvad.kg.tables import load_table as load_table
    from kgvad.video.encoders.base import load_visual_encoder as load_visual_encoder
    from kgvad.video.extract import extract_video as extract_video
    from kgvad.video.feature_store import FeatureStore as FeatureStore

_WHERE = {
    "AnchorBank": "anchors.bank",
    "ExplainOptions": "explain.explainer:Options",
    "Explainer": "explain.explainer",
    "FeatureStore": "video.feature_store",
    "KgvadError": "errors",
    "Renderer": "explain.rendering.render",
    "Report": "explain.report",
    "Run": "detector.run",
    "Scores": "detector.scoring.scores",
    "GraphStore": "kg.store.cache",
    "build_bank": "anchors.build",
    "category_concepts": "kg.graph.concepts",
    "extract_video": "video.extract",
    "load_table": "kg.tables",
    "load_text_encoder": "anchors.text_encoders",
    "load_visual_encoder": "video.encoders.base",
    "score_features": "detector.scoring.infer",
    "score_training_free": "detector.scoring.training_free",
}

__all__ = sorted(_WHERE)

# Libraries that kgvad imports read these when they are imported. What the user set stays.
for _switch in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DISABLE_SAFETENSORS_CONVERSION", "ORT_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")
if os.environ.get("KGVAD_OFFLINE", "").lower() not in ("", "0", "false", "no"):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'kgvad' has no attribute {name!r}")
    module, _, other = _WHERE[name].partition(":")
    return getattr(import_module(f"kgvad.{module}"), other or name)


def __dir__() -> list[str]:
    return [*globals(), *_WHERE]
