"""kgvad: find abnormal events in video and explain them with knowledge-graph concepts.

    >>> import kgvad
    >>> result = kgvad.explain_video("clip.mp4")  # doctest: +SKIP
    >>> result.save("report.html")  # doctest: +SKIP

The names in ``__all__`` are the public interface. A public name is deprecated for one minor release, with a warning
that names its replacement, before it changes or goes. Everything else may change at any time. Names are imported on
first use, so ``import kgvad`` is fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank as AnchorBank
    from kgvad.anchors.bank import BankConcept as BankConcept
    from kgvad.anchors.bank import BankHeader as BankHeader
    from kgvad.anchors.build import build_bank as build_bank
    from kgvad.anchors.text_encoders import TextEncoder as TextEncoder
    from kgvad.anchors.text_encoders import load_text_encoder as load_text_encoder
    from kgvad.anchors.transformers_encoder import TransformersEncoder as TransformersEncoder
    from kgvad.console import Advance as Advance
    from kgvad.detector.api import Batch as Batch
    from kgvad.detector.api import Detector as Detector
    from kgvad.detector.api import Output as Output
    from kgvad.detector.api import Problem as Problem
    from kgvad.detector.api import Recipe as Recipe
    from kgvad.detector.run import Run as Run
    from kgvad.detector.run import RunConfig as RunConfig
    from kgvad.detector.scoring.infer import score_features as score_features
    from kgvad.detector.scoring.scores import Origin as Origin
    from kgvad.detector.scoring.scores import Scores as Scores
    from kgvad.detector.scoring.training_free import TrainingFreeRule as TrainingFreeRule
    from kgvad.detector.scoring.training_free import score_training_free as score_training_free
    from kgvad.detector.thresholds import RunThresholds as RunThresholds
    from kgvad.errors import KgvadError as KgvadError
    from kgvad.explain.analysis.events import Calibration as Calibration
    from kgvad.explain.analysis.events import EventRule as EventRule
    from kgvad.explain.analysis.events import Thresholds as Thresholds
    from kgvad.explain.explanation import Explanation as Explanation
    from kgvad.explain.report import Report as Report
    from kgvad.kg.graph.concepts import Concept as Concept
    from kgvad.kg.graph.concepts import Limits as Limits
    from kgvad.kg.graph.concepts import category_concepts as category_concepts
    from kgvad.kg.graph.traversal import Hierarchy as Hierarchy
    from kgvad.kg.graph.traversal import Reach as Reach
    from kgvad.kg.store.cache import GraphStore as GraphStore
    from kgvad.kg.store.database import Database as Database
    from kgvad.kg.store.schema import Fact as Fact
    from kgvad.kg.store.schema import Fetch as Fetch
    from kgvad.kg.store.schema import Term as Term
    from kgvad.kg.tables import Category as Category
    from kgvad.kg.tables import CategoryTable as CategoryTable
    from kgvad.kg.tables import load_table as load_table
    from kgvad.python_api import explain_video as explain_video
    from kgvad.video.container import Decoding as Decoding
    from kgvad.video.decode import Frame as Frame
    from kgvad.video.decode import VideoInfo as VideoInfo
    from kgvad.video.decode import VideoReader as VideoReader
    from kgvad.video.encoders.base import VisualEncoder as VisualEncoder
    from kgvad.video.encoders.base import load_visual_encoder as load_visual_encoder
    from kgvad.video.extract import ExtractedVideo as ExtractedVideo
    from kgvad.video.extract import extract_video as extract_video
    from kgvad.video.feature_store import FeatureStore as FeatureStore
    from kgvad.video.feature_store import Manifest as Manifest
    from kgvad.video.feature_store import VideoEntry as VideoEntry
    from kgvad.video.frame_quality import FrameFacts as FrameFacts
    from kgvad.video.frame_quality import RowFacts as RowFacts
    from kgvad.video.redaction import FaceFinder as FaceFinder
    from kgvad.video.sampling import EncoderOptions as EncoderOptions
    from kgvad.video.sampling import Sampling as Sampling

    __version__: str

_MODULES = {
    "Advance": "console",
    "AnchorBank": "anchors.bank",
    "BankConcept": "anchors.bank",
    "BankHeader": "anchors.bank",
    "Batch": "detector.api",
    "Calibration": "explain.analysis.events",
    "Category": "kg.tables",
    "CategoryTable": "kg.tables",
    "Concept": "kg.graph.concepts",
    "Database": "kg.store.database",
    "Detector": "detector.api",
    "EncoderOptions": "video.sampling",
    "EventRule": "explain.analysis.events",
    "Explanation": "explain.explanation",
    "ExtractedVideo": "video.extract",
    "FaceFinder": "video.redaction",
    "Fact": "kg.store.schema",
    "FeatureStore": "video.feature_store",
    "Fetch": "kg.store.schema",
    "Frame": "video.decode",
    "FrameFacts": "video.frame_quality",
    "GraphStore": "kg.store.cache",
    "Hierarchy": "kg.graph.traversal",
    "KgvadError": "errors",
    "Limits": "kg.graph.concepts",
    "Manifest": "video.feature_store",
    "Origin": "detector.scoring.scores",
    "Output": "detector.api",
    "Problem": "detector.api",
    "Reach": "kg.graph.traversal",
    "Recipe": "detector.api",
    "Report": "explain.report",
    "RowFacts": "video.frame_quality",
    "Run": "detector.run",
    "RunConfig": "detector.run",
    "RunThresholds": "detector.thresholds",
    "Sampling": "video.sampling",
    "Scores": "detector.scoring.scores",
    "Term": "kg.store.schema",
    "TextEncoder": "anchors.text_encoders",
    "Thresholds": "explain.analysis.events",
    "TrainingFreeRule": "detector.scoring.training_free",
    "TransformersEncoder": "anchors.transformers_encoder",
    "VideoEntry": "video.feature_store",
    "VideoInfo": "video.decode",
    "Decoding": "video.container",
    "VideoReader": "video.decode",
    "VisualEncoder": "video.encoders.base",
    "build_bank": "anchors.build",
    "category_concepts": "kg.graph.concepts",
    "explain_video": "python_api",
    "extract_video": "video.extract",
    "load_table": "kg.tables",
    "load_text_encoder": "anchors.text_encoders",
    "load_visual_encoder": "video.encoders.base",
    "score_features": "detector.scoring.infer",
    "score_training_free": "detector.scoring.training_free",
}

__all__ = sorted(_MODULES)

# Libraries that kgvad imports read these when they are imported. What the user set is kept.
for _switch in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DISABLE_SAFETENSORS_CONVERSION", "ORT_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")
# Torch's threads spin for microseconds before they sleep, not for milliseconds: beside a decoder or another busy
# program, that takes the cores from those they wait for. The OpenMP library of torch for Linux reads it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
if os.environ.get("KGVAD_OFFLINE", "").lower() not in ("", "0", "false", "no"):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("kgvad")
    if name not in _MODULES:
        raise AttributeError(f"module 'kgvad' has no attribute {name!r}")
    return getattr(import_module(f"kgvad.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES, "__version__"]
