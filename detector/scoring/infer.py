"""Anomaly scores from features and a trained run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.arrays import numbers
from kgvad.console import track
from kgvad.detector.api import Detector
from kgvad.detector.data.inputs import open_store
from kgvad.detector.data.resample import resample_captions
from kgvad.detector.data.samples import Features, checked
from kgvad.detector.run import ANCHORS, Run
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.detector.scoring.scores import FORMATS, Origin, Scores
from kgvad.detector.scoring.streaming import Stream
from kgvad.errors import FeatureError, UsageError
from kgvad.files import refuse_inputs
from kgvad.video.encoders.base import visual_encoder_names
from kgvad.video.feature_layout import assumptions
from kgvad.video.feature_store import FeatureStore, VideoEntry


def score_features(
    run: Run | str | os.PathLike[str],
    features: Features,
    entry: VideoEntry,
    *,
    video: str,
    encoder_fingerprint: str | None = None,
    text: Features | None = None,
    device: str = "cpu",
    chunk: int | None = None,
) -> Scores:
    """Anomaly scores of one video.

    Parameters
    ----------
    run
        A loaded run or its folder.
    features
        [T, D] or [crops, T, D]; each crop is scored and the results are averaged.
    entry
        Facts about the video (:meth:`FeatureStore.info`, or :func:`kgvad.video.extract.entry_of`).
    video
        Its name.
    encoder_fingerprint
        Of the features; checked against the run where it is given.
    text
        Caption embeddings, float [T, E], for a detector that reads captions.
    device
        Torch device, used where ``run`` is a folder.
    chunk
        Snippets that the detector scores together; default: as many as it accepts.

    Raises
    ------
    FeatureError
        The features have another encoder or width than the run's, or are not finite numbers.
    """
    if not isinstance(run, Run):
        run = Run.load(run, device)
    config, features = run.config, numbers(features, f"{video}: the features")
    text = None if text is None else numbers(text, f"{video}: the caption embeddings")
    _check_features(run, features, video, encoder_fingerprint)
    if config.caption_dim is not None and text is None:
        raise FeatureError(f"{video}: {config.detector} needs captions", "name their store with --captions")
    crops = features if features.ndim == 3 else features[None]
    parts = [infer(run.detector, crop, text, chunk) for crop in crops]
    mean = {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
    return Scores(
        video=video,
        fps=entry.fps,
        frame_count=entry.frame_count,
        spans=entry.spans(),
        scores=np.clip(mean["scores"], 0, 1).astype(np.float32),
        alignment=mean.get("alignment"),
        categories=list(config.categories) if "alignment" in mean else None,
        normal=config.normal if "alignment" in mean else None,
        concept_alignment=mean.get("concepts"),
        origin=origin_of(run, names_categories="alignment" in mean, notes=assumptions(entry)),
    )


def _check_features(run: Run, features: Features, video: str, fingerprint: str | None) -> None:
    config = run.config
    if fingerprint is not None and fingerprint != config.features_fingerprint:
        raise FeatureError(
            f"{video}: the features are not of the encoder that {run.folder} was trained on ({config.encoder})",
            f"{_how_to_make(run)}, or name another run",
        )
    if checked(features, video).shape[-1] != config.dim:
        raise FeatureError(
            f"{video}: features are {features.shape[-1]} wide, {run.folder} was trained on {config.encoder}, "
            f"{config.dim} wide",
            _how_to_make(run),
        )


def _how_to_make(run: Run) -> str:
    name = run.config.encoder
    if name in visual_encoder_names():
        return f"extract them with --encoder {name}"
    return f"import them with --encoder {name} and the --stride of the training features (kgvad features import)"


def origin_of(run: Run, *, names_categories: bool, notes: Sequence[str] = ()) -> Origin:
    """What scores by ``run`` say about where they come from; ``notes`` are about the video."""
    config = run.config
    about_run = [] if config.videos >= 100 else [f"the detector was trained on {config.videos} videos only"]
    return Origin(
        scorer=config.detector,
        trained=True,
        names_categories="yes" if names_categories else "no",
        encoder=config.encoder,
        encoder_fingerprint=config.features_fingerprint,
        run=str(run.folder),
        run_fingerprint=run.fingerprint,
        bank=None if run.bank is None else str(run.folder / ANCHORS),
        bank_fingerprint=config.bank_fingerprint,
        thresholds=run.thresholds,
        notes=[*about_run, *notes],
    )


def infer(
    detector: Detector, features: Features, text: Features | None = None, chunk: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Scores [T] and, where the detector has them, alignment [T, C] and concepts [T, P] of one crop.

    A video longer than ``chunk`` snippets, or than the detector accepts, is cut into overlapping chunks that are
    cross-faded, so that scores are continuous (:class:`kgvad.detector.scoring.streaming.Stream`).
    """
    stream = Stream(detector, chunk)
    block = chunk or detector.max_snippets or max(len(features), 1)
    parts = [
        stream.push(features[start : start + block], None if text is None else text[start : start + block])
        for start in range(0, len(features), block)
    ]
    parts = [part for part in (*parts, stream.finish()) if part]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def with_probabilities(scores: Scores, rule: ClassRule) -> Scores:
    """``scores`` with class probabilities computed by ``rule``.

    Raises
    ------
    UsageError
        The scores have no categories.
    """
    if scores.alignment is None or scores.normal is None:
        raise UsageError(f"{scores.origin.scorer} names no categories", "leave out --class-probabilities")
    found = rule.probabilities(scores.scores, scores.alignment, scores.normal)
    return replace(scores, probabilities=found.astype(np.float32))


@dataclass(frozen=True)
class ScoreJob:
    """Which videos of a feature store are scored, by which run, and what is written.

    Attributes
    ----------
    features
        Feature store, or the folder of several stores.
    run
        Folder of the run.
    output
        Folder of the files of scores, one for each video.
    format
        ``npz``, ``csv`` or ``json``.
    videos
        Names of the videos; ``None``: all of the store.
    queries
        Categories to name without training: words, or items such as Q4654740. The anchor bank with them is written
        to ``output``. Items are read from ``knowledge_graph``, the URL of its store (``None``: the default).
    text
        Feature store of caption embeddings, for a run that reads captions.
    chunk
        Snippets that the detector scores together; ``None``: as many as it accepts.
    class_rule
        Rule of class probabilities; ``None``: none are written.
    device
        Torch device.
    """

    features: Path
    run: Path
    output: Path
    format: str = "npz"
    videos: Sequence[str] | None = None
    queries: Sequence[str] = ()
    knowledge_graph: str | None = None
    text: Path | None = None
    chunk: int | None = None
    class_rule: ClassRule | None = None
    device: str = "cpu"


def score_store(job: ScoreJob) -> Iterator[Path]:
    """Score the videos of a store, write one file for each and yield its path.

    Raises
    ------
    UsageError
        The format is unknown, an output would replace an input, or captions are given to a run that reads none.
    FeatureError
        A video has no features or no captions, or they are not those that the run was trained on.
    """
    suffix = f".{job.format}"
    if suffix not in FORMATS:
        raise UsageError(f"unknown --format {job.format!r}", "use npz, csv or json")
    run = Run.load(job.run, job.device)
    store = open_store(job.features, run.config.encoder)
    outputs = {video: job.output / f"{video}{suffix}" for video in job.videos or store.ids()}
    if job.text is not None and run.config.caption_dim is None:
        raise UsageError(f"the run {job.run} ({run.config.detector}) reads no --captions", "leave them out")
    captions = None if job.text is None else resample_captions(caption_store(run, job.text), store, outputs)
    bank = job.output / ANCHORS if job.queries else None
    refuse_inputs(
        {"--output": [*outputs.values(), *([] if bank is None else [bank])]},
        [job.features, store.root, job.run, job.text],
    )
    if bank is not None:
        run = _with_queries(run, job, bank)
    for video, path in track(outputs.items(), "scoring"):
        if captions is not None and video not in captions:
            raise FeatureError(f"{video} has no captions in {job.text}", "name the other videos with --video")
        scores = score_features(
            run,
            store.load(video),
            store.info(video),
            video=video,
            encoder_fingerprint=store.fingerprint,
            text=None if captions is None else captions[video],
            chunk=job.chunk,
        )
        if bank is not None:
            scores = replace(scores, origin=scores.origin.model_copy(update={"bank": str(bank)}))
        if job.class_rule is not None:
            scores = with_probabilities(scores, job.class_rule)
        scores.save(path)
        yield path


def caption_store(run: Run, path: Path) -> FeatureStore:
    """The store of caption embeddings at ``path``, for a run that reads captions.

    Raises
    ------
    FeatureError
        There is no store, or it is of another text encoder than the run was trained on.
    """
    store = FeatureStore.open(path)
    expected = run.config.captions_fingerprint
    if expected is not None and store.fingerprint != expected:
        raise FeatureError(
            f"{store.root}: the captions are not by the text encoder that {run.folder} was trained on "
            f"({run.config.caption_encoder})",
            "embed them with it: kgvad features import CAPTIONS --to STORE --text-encoder NAME",
        )
    return store


def _with_queries(run: Run, job: ScoreJob, bank: Path) -> Run:
    """The run with the queries as further categories; its anchor bank is written to ``bank``."""
    from kgvad.detector.scoring.open_vocabulary import open_run
    from kgvad.kg.store.cache import GraphStore

    opened = open_run(run, job.queries, GraphStore.open(job.knowledge_graph), job.device)
    if opened.bank is not None:
        opened.bank.save(bank)
    return opened
