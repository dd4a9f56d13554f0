"""Exemplars: the most abnormal moments of the training videos, with which a report compares events.

One stretch of each abnormal training video, as the trained detector scores it, pooled to one feature vector.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from kgvad.console import track
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.samples import Features
from kgvad.detector.run import EXEMPLARS, Run
from kgvad.detector.scoring.infer import infer
from kgvad.errors import RunError
from kgvad.files import DAMAGED, replacing
from kgvad.types import AnyArray
from kgvad.vectors import unit
from kgvad.video.feature_store import FeatureStore

REMEDY = "delete it; reports then show no similar events"
NEAREST = 3  # exemplars that a report names for an event
MOST = 40  # exemplars of one category, those with the highest scores


@dataclass(frozen=True)
class Match:
    """An exemplar and its similarity: the cosine of both vectors, centred on the mean of all exemplars."""

    video: str
    category: str
    start_s: float
    end_s: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Exemplars:
    """Exemplars of a run.

    Attributes
    ----------
    videos, categories
        N names.
    seconds
        float32 [N, 2]: start and end.
    vectors
        float16 [N, D]: mean of the unit-length features.
    """

    videos: list[str]
    categories: list[str]
    seconds: NDArray[np.float32]
    vectors: NDArray[np.float16]

    def nearest(self, features: Features) -> list[Match]:
        """The :data:`NEAREST` exemplars most similar to ``features`` [T, D], best first; only positive similarities."""
        centre = self.vectors.astype(np.float64).mean(axis=0)
        known = unit(self.vectors.astype(np.float64) - centre)
        similarity = known @ unit(pool(features) - centre)
        return [
            Match(
                self.videos[index],
                self.categories[index],
                float(self.seconds[index, 0]),
                float(self.seconds[index, 1]),
                float(similarity[index]),
            )
            for index in np.argsort(-similarity, kind="stable")[:NEAREST]
            if similarity[index] > 0
        ]

    @classmethod
    def load(cls, run: Path) -> Exemplars | None:
        """The exemplars of a run; ``None`` where it has none.

        Raises
        ------
        RunError
            The file is damaged.
        """
        path = run / EXEMPLARS
        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads(file.metadata()["about"])
                found = cls(
                    about["videos"], about["categories"], file.get_tensor("seconds"), file.get_tensor("vectors")
                )
        except DAMAGED as error:
            raise RunError(f"{path} cannot be read: {error}", REMEDY) from None
        if not len(found.videos) == len(found.categories) == len(found.seconds) == len(found.vectors):
            raise RunError(f"{path} is inconsistent", REMEDY)
        return found


def write_exemplars(run: Run, store: FeatureStore, truth: Truth, most: int = MOST) -> None:
    """Write the most abnormal moment of each abnormal training video into the run, at most ``most`` of a category.

    Nothing is written for a detector that reads captions, or where the exemplars of this run exist.
    """
    path = run.folder / EXEMPLARS
    if run.config.caption_dim is not None or _made_by(path) == run.fingerprint:
        return
    found: dict[str, list[tuple[float, str, tuple[float, float], NDArray[np.float64]]]] = {}
    present = set(store.ids())
    videos = [video for video in truth.split("train") if video in present and truth.videos[video].labels]
    for video in track(videos, "storing exemplars"):
        features, entry = store.load(video), store.info(video)
        snippets = np.asarray(features[0] if features.ndim == 3 else features, dtype=np.float32)
        scores = infer(run.detector, snippets)["scores"]
        first, stop = peak(scores)
        spans = entry.spans()
        times = (float(spans[first, 0]) / entry.fps, float(spans[stop - 1, 1]) / entry.fps)
        kept = found.setdefault(truth.videos[video].labels[0], [])
        kept.append((float(scores[first:stop].mean()), video, times, pool(snippets[first:stop])))
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
    arrays: dict[str, AnyArray] = {
        "seconds": np.array([one[3] for one in chosen], dtype=np.float32),
        "vectors": np.stack([one[4] for one in chosen]).astype(np.float16),
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary, {"about": about})


def _made_by(path: Path) -> str | None:
    """Fingerprint of the run that wrote the file, so that a retrained run replaces the exemplars of the old one."""
    try:
        with safe_open(path, "numpy") as file:
            return str(json.loads(file.metadata()["about"])["run"])
    except DAMAGED:
        return None


def peak(scores: NDArray[np.floating]) -> tuple[int, int]:
    """Snippets [first, stop) around the highest score that stay above the middle of highest and lowest."""
    top = int(scores.argmax())
    high = scores >= (scores.max() + scores.min()) / 2
    first = top - int(np.argmin(np.append(high[top::-1], False))) + 1
    stop = top + int(np.argmin(np.append(high[top:], False)))
    return first, stop


def pool(features: Features) -> NDArray[np.float64]:
    """Mean of the unit-length features [T, D], float64 [D]."""
    return np.asarray(unit(np.asarray(features, dtype=np.float64)).mean(axis=0))
