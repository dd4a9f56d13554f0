"""Captions as features: one text embedding for each snippet of a video."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.text_encoders import TextEncoder
from kgvad.console import count_of, track
from kgvad.detector.data.captions import Captions, caption_tracks, describe_tracks
from kgvad.detector.data.clock import VideoClock
from kgvad.errors import FeatureError
from kgvad.vectors import unit
from kgvad.video.feature_store import FeatureStore, Manifest
from kgvad.video.store_folders import OF_TEXT
from kgvad.video.video_ids import VideoNames

logger = logging.getLogger(__name__)


def embed_captions(captions: Captions, spans: NDArray[np.int64], encoder: TextEncoder) -> NDArray[np.float32]:
    """Mean embedding of the captions that start in each span, float32 [T, d], unit length.

    Parameters
    ----------
    captions
        (frame, caption), ordered by frame, at least one.
    spans
        Frames [start, end) of each snippet, int64 [T, 2]. A snippet in which no caption starts takes the last caption
        before it, or the first caption of the video.
    encoder
        Text encoder.
    """
    frames = np.array([frame for frame, _ in captions])
    distinct = list(dict.fromkeys(text for _, text in captions))
    index = {text: number for number, text in enumerate(distinct)}
    vectors = encoder.encode(distinct)[[index[text] for _, text in captions]]
    means = []
    for start, end in spans:
        first, last = np.searchsorted(frames, (start, end), side="left")
        first = min(first, max(last - 1, 0))
        means.append(vectors[first : max(last, first + 1)].mean(axis=0))
    return unit(np.asarray(np.stack(means), dtype=np.float32))


def caption_manifest(encoder: TextEncoder) -> Manifest:
    """How a store of :func:`embed_captions` was made; its fingerprint is the one that a run on such a store records."""
    return Manifest(
        encoder=f"{encoder.name}{OF_TEXT}", dim=encoder.dim, weights=encoder.fingerprint, temporal="mean of captions"
    )


def import_captions(
    path: str | os.PathLike[str], features: FeatureStore, output: str | os.PathLike[str], encoder: TextEncoder
) -> FeatureStore:
    """Embed captions as the store ``<output>/<encoder>-text``, one vector for each snippet of the features.

    Parameters
    ----------
    path
        Captions of several videos, or a folder with a file for each (:mod:`.caption_formats`).
    features
        Features of the same videos; they define the snippets.
    output
        Root of the feature stores.
    encoder
        Text encoder; a detector that compares captions with anchors needs the encoder of the anchor bank.

    Raises
    ------
    FeatureError
        The file has no captions of any video of the store.
    """
    tracks = caption_tracks(Path(path))
    if None in tracks:
        raise FeatureError(f"{path} does not name the videos it describes", "use {video: captions}")
    named = VideoNames(features.ids()).match((name for name in tracks if name is not None), str(path))
    captioned = {video: tracks[name] for video, name in named.items()}
    if not captioned:
        raise FeatureError(f"{path} has no captions of any video of {features.root}", "use captions of these videos")
    describe_tracks(Path(path), list(captioned.values()))
    framed = {
        video: own.frames(VideoClock(features.info(video).fps, features.info(video).frame_count), f"{path}: {video}")
        for video, own in captioned.items()
    }
    with FeatureStore.create(output, caption_manifest(encoder)).adding() as store:
        for video, captions in track(framed.items(), "embedding captions"):
            entry = features.info(video)
            store.add(video, embed_captions(captions, entry.spans(), encoder), entry)
    missing = set(features.ids()).difference(captioned)
    if missing:
        logger.info(f"{count_of(len(missing), 'video')} of {features.root} without captions in {path}")
    if kept := missing.intersection(store.ids()):
        logger.warning(f"{store.root} keeps older captions of {len(kept)} of them; to have none, delete it first")
    return store
