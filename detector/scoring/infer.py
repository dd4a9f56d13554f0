"""Features and a run in, anomaly scores out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.console import track
from kgvad.detector.api import Detector
from kgvad.detector.data.resample import laid_text
from kgvad.detector.data.samples import Features, checked
from kgvad.detector.data.training_inputs import open_store
from kgvad.detector.run import Run
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.detector.scoring.streaming import Stream
from kgvad.errors import FeatureError, UsageError
from kgvad.files import refuse_inputs
from kgvad.kg.store.cache import GraphStore
from kgvad.settings import Settings
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
    bank: Path | None = None,
) -> Scores:
    """Anomaly scores of one video.

    Parameters
    ----------
    run
        A loaded run or its folder.
    features
        [T, D] or [crops, T, D]; crops are scored each and averaged.
    entry
        Facts about the video (:meth:`FeatureStore.info`, or :func:`kgvad.video.extract.entry_of`).
    video
        Its name.
    encoder_fingerprint
        Of the features; checked against the run where it is given.
    text
        float [T, E]: caption embeddings, for a detector that fuses them.
    chunk
        Rows that the detector sees at once; default: as many as it takes.
    bank
        File of the run's anchor bank; default: in the folder of the run.

    Raises
    ------
    FeatureError
        The features are of another encoder or width than the run's, or not finite.
    """
    if not isinstance(run, Run):
        run = Run.load(run, device)
    config = run.config
    if encoder_fingerprint is not None and encoder_fingerprint != config.features_fingerprint:
        raise FeatureError(
            f"{video}: the features are not of the encoder that {run.folder} was trained on ({config.encoder})",
            f"extract them with --encoder {config.encoder}, or name another run",
        )
    if checked(features, video).shape[-1] != config.dim:
        raise FeatureError(
            f"{video}: features are {features.shape[-1]} wide, {run.folder} was trained on {config.encoder}, "
            f"{config.dim} wide",
            f"extract them with --encoder {config.encoder}",
        )
    if config.text_dim is not None and text is None:
        raise FeatureError(f"{video}: {config.detector} needs captions", "give their store with --text")
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
        origin=Origin(
            scorer=config.detector,
            trained=True,
            names_categories="yes" if "alignment" in mean else "no",
            encoder=config.encoder,
            encoder_fingerprint=config.features_fingerprint,
            run=str(run.folder),
            run_fingerprint=run.fingerprint,
            bank=None if run.bank is None else str(bank or run.folder / "anchors.safetensors"),
            bank_fingerprint=config.bank_fingerprint,
            notes=[] if config.videos >= 100 else [f"the detector was trained on {config.videos} videos only"],
        ),
    )


def infer(
    detector: Detector, features: Features, text: Features | None = None, chunk: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Scores [T] and, where the detector has them, alignment [T, C] and concepts [T, P] of one crop.

    A video longer than ``chunk`` rows, or than the detector takes at once, is cut into chunks that share rows; there
    the chunks fade into each other, so no score jumps at a border (:class:`kgvad.detector.scoring.streaming.Stream`).
    """
    stream = Stream(detector, chunk)
    block = chunk or detector.max_rows or max(len(features), 1)
    parts = [
        stream.push(features[start : start + block], None if text is None else text[start : start + block])
        for start in range(0, len(features), block)
    ]
    parts = [part for part in (*parts, stream.finish()) if part]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def with_probabilities(scores: Scores, rule: ClassRule) -> Scores:
    """``scores`` with the class probabilities that the rule gives.

    Raises
    ------
    UsageError
        The scores name no categories.
    """
    if scores.alignment is None or scores.normal is None:
        raise UsageError(f"{scores.origin.scorer} names no categories", "leave --classes out")
    found = rule.probabilities(scores.scores, scores.alignment, scores.normal)
    return replace(scores, probabilities=found.astype(np.float32))


def score_store(
    features: Path,
    run: Path,
    output: Path,
    *,
    form: str = "npz",
    videos: Sequence[str] | None = None,
    queries: Sequence[str] = (),
    text: Path | None = None,
    chunk: int | None = None,
    classes: ClassRule | None = None,
    device: str = "cpu",
    settings: Settings,
) -> Iterator[Path]:
    """Score the videos of a store, write one file each and yield its path.

    ``queries`` are categories to name without training; the bank with them is written beside the scores. ``text`` is
    the store of the captions, for a run that fuses them. ``classes`` adds class probabilities by this rule.
    """
    suffix = f".{form}"
    if suffix not in (".npz", ".csv", ".json"):
        raise UsageError(f"--format {form!r} is unknown", "use npz, csv or json")
    loaded = Run.load(run, device)
    store = open_store(features, loaded.config.encoder)
    names = list(videos or store.ids())
    captions = None if text is None else laid_text(FeatureStore.open(text), store, names)
    bank = None
    if queries:
        from kgvad.detector.scoring.open_vocabulary import open_run

        loaded = open_run(loaded, queries, GraphStore.open(settings.store), device)
        assert loaded.bank is not None
        bank = output / "anchors.safetensors"
    refuse_inputs(
        {"--output": [*([] if bank is None else [bank]), *(output / f"{video}{suffix}" for video in names)]},
        [features, store.root, run, text],
    )
    if bank is not None and loaded.bank is not None:
        loaded.bank.save(bank)
    for video in track(names, "scoring"):
        if captions is not None and video not in captions:
            raise FeatureError(f"{video} has no captions in {text}", "leave it out, with --video for the others")
        scores = score_features(
            loaded,
            store.load(video),
            store.info(video),
            video=video,
            encoder_fingerprint=store.fingerprint,
            text=None if captions is None else captions[video],
            chunk=chunk,
            bank=bank,
        )
        if classes is not None:
            scores = with_probabilities(scores, classes)
        path = output / f"{video}{suffix}"
        scores.save(path)
        yield path
