"""Score the test videos of a dataset and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kgvad.console import track as tracked
from kgvad.detector.data import Features
from kgvad.detector.datasets import Truth
from kgvad.detector.metrics import Track, make_track
from kgvad.detector.run import Run
from kgvad.detector.score import score_features
from kgvad.detector.scores import Scores
from kgvad.errors import FeatureError
from kgvad.video.store import FeatureStore


def score_split(
    run: Run, store: FeatureStore, truth: Truth, text: Mapping[str, Features] | None = None
) -> list[Scores]:
    """Scores of the test videos that have features (and captions, where the run needs them)."""
    present = set(store.ids())
    videos = [video for video in truth.split("test") if video in present and (text is None or video in text)]
    if not videos:
        raise FeatureError(f"{store.root} has features of no test video of {truth.dataset}", "extract or import them")
    return [
        score_features(
            run,
            store.load(video),
            store.info(video),
            video=video,
            encoder_fingerprint=store.fingerprint,
            text=None if text is None else text[video],
        )
        for video in tracked(videos, "scoring")
    ]


def tracks_of(scores: Sequence[Scores], truth: Truth) -> list[Track]:
    """Lay scores over the ground truth.

    Raises
    ------
    FeatureError
        A video has no frame labels.
    ScoresError
        The scores of a video are for another number of frames than the ground truth has.
    """
    tracks = []
    for one in scores:
        known = truth.videos.get(one.video)
        if known is None:
            raise FeatureError(f"{one.video} is not a video of {truth.dataset}", "name the scores after the videos")
        if known.intervals is None:
            raise FeatureError(f"{one.video} has no frame labels in {truth.dataset}", "evaluate the test videos only")
        tracks.append(
            make_track(
                one,
                known.labels,
                known.intervals,
                known.frame_count or one.frame_count,
                category_scores=None if one.alignment is None else one.alignment.astype(np.float64),
                events=known.events,
            )
        )
    return tracks
