"""The most abnormal moments of the training videos, kept in the run: what a report can call similar.

One stretch of each abnormal training video, as the trained detector scores it, pooled to one vector of features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from kgvad.console import track
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.samples import Features
from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import infer
from kgvad.errors import RunError
from kgvad.files import DAMAGED, replacing
from kgvad.vectors import unit
from kgvad.video.feature_store import FeatureStore

EXAMPLES = "examples.safetensors"
REMEDY = "delete it; reports then show no similar events"
MOST = 40  # examples of one category; the highest scores


@dataclass(frozen=True)
class Match:
    """A stored moment and its similarity: the cosine of both vectors, each less the mean of all examples."""

    video: str
    category: str
    start_s: float
    end_s: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Examples:
    """Moments of training videos.

    Attributes
    ----------
    videos, categories
        N names.
    seconds
        float32 [N, 2]: start and end.
    vectors
        float16 [N, D]: mean of the unit rows of features.
    """

    videos: list[str]
    categories: list[str]
    seconds: NDArray[np.float32]
    vectors: NDArray[np.float16]

    def nearest(self, rows: Features, count: int = 3) -> list[Match]:
        """The ``count`` moments most similar to ``rows`` [T, D], best first; only those that resemble at all."""
        center = self.vectors.astype(np.float64).mean(axis=0)
        known = unit(self.vectors.astype(np.float64) - center)
        similarity = known @ unit(pool(rows) - center)
        return [
            Match(
                self.videos[index],
                self.categories[index],
                float(self.seconds[index, 0]),
                float(self.seconds[index, 1]),
                float(similarity[index]),
            )
            for index in np.argsort(-similarity, kind="stable")[:count]
            if similarity[index] > 0
        ]

    @classmethod
    def load(cls, run: Path) -> Examples | None:
        """The examples of a run; ``None`` where it stores none.

        Raises
        ------
        RunError
            The file is damaged.
        """
        path = run / EXAMPLES
        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads(file.metadata()["about"])
                found = cls(
                    about["videos"], about["categories"], file.get_tensor("seconds"), file.get_tensor("vectors")
                )
        except DAMAGED as error:
            raise RunError(
                f"{path} cannot be read: {error}", "delete it; reports then show no similar events"
            ) from None
        if not len(found.videos) == len(found.categories) == len(found.seconds) == len(found.vectors):
            raise RunError(f"{path} does not fit together", REMEDY)
        return found


def write_examples(run: Run, store: FeatureStore, truth: Truth, most: int = MOST) -> None:
    """Keep the most abnormal moment of each abnormal training video in the run, ``most`` of a category.

    Nothing is written where the detector needs captions beside the features, or where the run has them already.
    """
    path = run.folder / EXAMPLES
    if run.config.text_dim is not None or _made_by(path) == run.fingerprint:
        return
    found: dict[str, list[tuple[float, str, tuple[float, float], NDArray[np.float64]]]] = {}
    present = set(store.ids())
    videos = [video for video in truth.split("train") if video in present and truth.videos[video].labels]
    for video in track(videos, "keeping examples"):
        features, entry = store.load(video), store.info(video)
        rows = np.asarray(features[0] if features.ndim == 3 else features, dtype=np.float32)
        scores = infer(run.detector, rows)["scores"]
        first, stop = peak(scores)
        spans = entry.spans()
        times = (float(spans[first, 0]) / entry.fps, float(spans[stop - 1, 1]) / entry.fps)
        kept = found.setdefault(truth.videos[video].labels[0], [])
        kept.append((float(scores[first:stop].mean()), video, times, pool(rows[first:stop])))
    chosen = [(category, *one) for category in truth.categories for one in sorted(found.get(category, ()))[::-1][:most]]
    if not chosen:
        return
    about = json.dumps(
        {
            "run": run.fingerprint,
            "videos": [one[2] for one in chosen],
            "categories": [one[0] for one in chosen],
        }
    )
    arrays: dict[str, NDArray[Any]] = {
        "seconds": np.array([one[3] for one in chosen], dtype=np.float32),
        "vectors": np.stack([one[4] for one in chosen]).astype(np.float16),
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary, {"about": about})


def _made_by(path: Path) -> str | None:
    """Fingerprint of the run that wrote the file; a run trained anew must not keep the moments of the old one."""
    try:
        with safe_open(path, "numpy") as file:
            return str(json.loads(file.metadata()["about"])["run"])
    except DAMAGED:
        return None


def peak(scores: NDArray[np.floating]) -> tuple[int, int]:
    """Rows [first, stop) around the highest score that stay above the middle between it and the lowest."""
    top = int(scores.argmax())
    high = scores >= (scores.max() + scores.min()) / 2
    first = top - int(np.argmin(np.append(high[top::-1], False))) + 1
    stop = top + int(np.argmin(np.append(high[top:], False)))
    return first, stop


def pool(rows: Features) -> NDArray[np.float64]:
    """Mean of the unit rows of [T, D], float64 [D]."""
    return np.asarray(unit(np.asarray(rows, dtype=np.float64)).mean(axis=0))
