"""Captions as features: one row of text embedding for each row of a video's features."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.text_encoders import TextEncoder, load_text_encoder
from kgvad.console import track
from kgvad.detector.data.captions import Captions, all_captions
from kgvad.detector.run import Run
from kgvad.errors import FeatureError, RunError
from kgvad.vectors import unit
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

logger = logging.getLogger(__name__)


def caption_rows(captions: Captions, spans: NDArray[np.int64], encoder: TextEncoder) -> NDArray[np.float32]:
    """Mean embedding of the captions of each span, float32 [T, d], unit rows.

    Parameters
    ----------
    captions
        (frame, caption), ordered by frame, at least one.
    spans
        Frames [start, end) of each row, int64 [T, 2]. One without a caption takes the latest before it, or the first.
    encoder
        Text encoder.
    """
    frames = np.array([frame for frame, _ in captions])
    distinct = list(dict.fromkeys(text for _, text in captions))
    row_of = {text: row for row, text in enumerate(distinct)}
    vectors = encoder.encode(distinct)[[row_of[text] for _, text in captions]]
    rows = []
    for start, end in spans:
        first, last = np.searchsorted(frames, (start, end), side="left")
        first = min(first, max(last - 1, 0))
        rows.append(vectors[first : max(last, first + 1)].mean(axis=0))
    found = np.stack(rows)
    return unit(np.asarray(found, dtype=np.float32))


def told_rows(run: Run, captions: Captions | None, entry: VideoEntry, device: str) -> NDArray[np.float32] | None:
    """What a run reads beside the features of ``entry``; ``None`` where it reads no captions.

    Raises
    ------
    RunError
        The run reads captions, and there are none, or it was trained on those of another encoder.
    """
    config = run.config
    if config.text_dim is None:
        return None
    if captions is None:
        raise RunError(f"the run {run.folder} reads captions beside features", "name them with --captions FILE")
    name = (config.text_encoder or "").removesuffix("-text")
    if run.bank is None or name != run.bank.encoder.name:
        raise RunError(
            f"the run {run.folder} was trained on captions of {config.text_encoder}, which is not its anchors' encoder",
            f"score with: kgvad score --text STORE --run {run.folder}, then explain --scores FILE",
        )
    return caption_rows(captions, entry.spans(), load_text_encoder(run.bank.encoder.source, device))


def import_captions(
    path: str | os.PathLike[str], features: FeatureStore, output: str | os.PathLike[str], encoder: TextEncoder
) -> FeatureStore:
    """Embed captions as the store ``<output>/<encoder>-text``, on the rows of the features of the same videos.

    Parameters
    ----------
    path
        JSON or gzipped JSON: ``{video: {frame: caption}}``.
    features
        Store whose rows are told.
    output
        Root of the feature stores.
    encoder
        Text encoder; for detectors that compare captions with anchors the one of the anchor bank.

    Raises
    ------
    FeatureError
        The file has captions of no video of the store.
    """
    captions = {Path(name).stem: own for name, own in all_captions(path).items()}
    told = {video: captions[Path(video).stem] for video in features.ids() if Path(video).stem in captions}
    if not told:
        raise FeatureError(f"{path} has captions of no video of {features.root}", "name captions of these videos")
    manifest = Manifest(
        encoder=f"{encoder.name}-text", dim=encoder.dim, weights=encoder.fingerprint, temporal="mean of captions"
    )
    with FeatureStore.create(output, manifest).adding() as store:
        for video, own in track(told.items(), "embedding captions"):
            entry = features.info(video)
            store.add(video, caption_rows(own, entry.spans(), encoder), entry)
    missing = len(features.ids()) - len(told)
    if missing:
        logger.info(f"{missing} videos of {features.root} have no captions in {path}")
    return store
