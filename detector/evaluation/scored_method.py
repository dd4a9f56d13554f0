"""Test videos as one method scored them: the runs of a detector, or any program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kgvad.console import track
from kgvad.detector.data.annotations import Truth, VideoTruth
from kgvad.detector.data.inputs import open_store
from kgvad.detector.data.resample import resample_captions
from kgvad.detector.data.samples import Features
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, match_ground_truth
from kgvad.detector.evaluation.given_scores import GivenScores, category_columns
from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import caption_store, score_features
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import FeatureError
from kgvad.video.feature_layout import fitted_entry
from kgvad.video.feature_store import FeatureStore, VideoEntry


@dataclass(frozen=True, eq=False)
class ScoredMethod:
    """The test videos as one method scored them.

    Attributes
    ----------
    dataset, detector, encoder, text
        What was scored by what: names of the dataset, of the detector, of its features (empty: unknown) and of the
        store of its captions (``None``: none).
    categories, normal
        Names of the categories and the index of Normal.
    folders, seeds, temperatures, videos
        Of each run: its folder, seed, temperature of category probabilities (``None``: not measured) and the scored
        videos.
    trained_on
        Videos that it learned from, where that is known.
    """

    dataset: str
    detector: str
    encoder: str
    text: str | None
    categories: tuple[str, ...]
    normal: int
    folders: tuple[str, ...]
    seeds: tuple[int, ...]
    temperatures: tuple[float | None, ...]
    videos: tuple[list[EvaluatedVideo], ...]
    trained_on: frozenset[str] = frozenset()


def scored_by_runs(
    runs: Sequence[Run], root: Path, truth: Truth, *, text: Path | None = None, smooth: int = 1
) -> ScoredMethod:
    """The runs of one detector, which differ in the seed, on the features in ``root``.

    Parameters
    ----------
    text
        Store of caption embeddings, for runs that read captions.
    smooth
        Snippets of the moving average of the score.
    """
    config = runs[0].config
    videos = []
    for run in runs:
        store, captions = open_store(root, run.config.encoder), None
        if text is not None and run.config.caption_dim is not None:
            captions = resample_captions(caption_store(run, text), store, truth.split("test"))
        scores = score_split(run, store, truth, captions)
        videos.append(match_all([smoothed(one, smooth) for one in scores], truth))
    return ScoredMethod(
        dataset=truth.dataset,
        detector=config.detector,
        encoder=config.encoder,
        text=None if text is None or config.caption_dim is None else text.name,
        categories=config.categories,
        normal=config.normal,
        folders=tuple(str(run.folder) for run in runs),
        seeds=tuple(run.config.seed for run in runs),
        temperatures=tuple(None if run.thresholds is None else run.thresholds.temperature for run in runs),
        videos=tuple(videos),
        trained_on=frozenset(video for run in runs for video in run.training_videos()),
    )


def scored_by_program(
    given: GivenScores, truth: Truth, entries: Mapping[str, VideoEntry], *, beside_runs: bool, smooth: int = 1
) -> ScoredMethod:
    """Scores that any program wrote; ``entries`` say what features know of the videos.

    Beside runs, only videos with features are measured, so that both have the same.
    """
    found = given.of_test_videos(truth, entries, only_entries=beside_runs)
    scores = [smoothed(one, smooth) for one in found]
    return ScoredMethod(
        dataset=truth.dataset,
        detector=given.path.name,
        encoder="",
        text=None,
        categories=truth.categories,
        normal=truth.categories.index(truth.normal),
        folders=(str(given.path),),
        seeds=(0,),
        temperatures=(None,),
        videos=(match_all(scores, truth, truth.categories),),
    )


def score_split(
    run: Run, store: FeatureStore, truth: Truth, text: Mapping[str, Features] | None = None
) -> list[Scores]:
    """Scores of the test videos that have features (and captions, where ``text`` is given)."""
    present = set(store.ids())
    videos = [video for video in truth.split("test") if video in present and (text is None or video in text)]
    if not videos:
        raise FeatureError(
            f"{store.root} has no features of the test videos of {truth.dataset}",
            "extract or import them; in a folder of videos of your own they lie in test/CATEGORY",
        )
    return [
        score_features(
            run,
            store.load(video),
            fitted_entry(store.info(video), truth.videos[video].frame_count, video),
            video=video,
            encoder_fingerprint=store.fingerprint,
            text=None if text is None else text[video],
        )
        for video in track(videos, "scoring")
    ]


def match_all(
    scores: Sequence[Scores], truth: Truth, categories: tuple[str, ...] | None = None
) -> list[EvaluatedVideo]:
    """Scores of the videos beside their ground truth.

    Category scores are kept in the order of ``categories``, and left out where they are of others; ``None``: as they
    are.

    Raises
    ------
    FeatureError
        A video is not of the dataset, or its frame labels end after its scores.
    ScoresError
        The scores of a video are for another number of frames than the ground truth has.
    """
    videos = []
    for one in scores:
        known = truth.videos.get(one.video)
        if known is None:
            raise FeatureError(
                f"{one.video} is not a video of {truth.dataset}", "name the scores after the videos of the dataset"
            )
        _check_end(one, known)
        videos.append(
            match_ground_truth(
                one,
                known.labels,
                known.intervals,
                known.frame_count or one.frame_count,
                category_scores=category_columns(one, categories or tuple(one.categories or ())),
                events=known.events,
            )
        )
    return videos


def _check_end(scores: Scores, known: VideoTruth) -> None:
    """Refuse frame labels that end more than a snippet past the video, or begin where it has ended."""
    intervals = known.intervals or ()
    last = max((end for _, end in intervals), default=0)
    longest = int(np.diff(scores.spans, axis=1).max())
    late = known.frame_count is not None and any(start >= known.frame_count for start, _ in intervals)
    if late or last > scores.frame_count + longest:
        raise FeatureError(
            f"{scores.video} is annotated to frame {last}, and its scores end at {scores.frame_count}",
            "correct its events; or import features of another program again with --frames, a table of frame counts",
        )


def smoothed(scores: Scores, window: int) -> Scores:
    """Scores after a moving average over ``window`` snippets; the window is cut at the ends of the video.

    Every window is summed by itself. Differences of a running total would round small scores away beside large ones,
    and so tie the snippets of a detector whose scores are nearly all 0 or 1.
    """
    if window == 1:
        return scores
    count = len(scores.scores)
    shift = window // 2
    sums = np.convolve(scores.scores.astype(np.float64), np.ones(window))[shift : shift + count]
    number = np.convolve(np.ones(count), np.ones(window))[shift : shift + count]
    return replace(scores, scores=np.clip(sums / number, 0, 1).astype(np.float32))
