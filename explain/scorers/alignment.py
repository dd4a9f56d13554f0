"""Alignment for the scores of another program: its features compared with an anchor bank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.data.resample import resample_spans
from kgvad.detector.scoring.joint_scorer import category_similarity, unit_of_similarity
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import FeatureError
from kgvad.vectors import unit
from kgvad.video.feature_arrays import check_finite
from kgvad.video.feature_store import FeatureStore, VideoEntry

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank


def with_alignment(scores: Scores, store: FeatureStore, video: str, bank: AnchorBank) -> Scores:
    """``scores`` with the cosines between the video's features and the anchors, unless it has an alignment already.

    Parameters
    ----------
    scores
        Of any program.
    store
        Features of an encoder that shares a space with texts, or of texts themselves.
    video
        Name of the video in the store.
    bank
        Anchor bank of the text side of the same encoder.

    Raises
    ------
    FeatureError
        The store lacks the video, or its features cannot be compared with the texts of the bank.
    """
    if scores.alignment is not None:
        return scores
    features, entry = _checked_features(scores, store, video, bank)
    manifest = store.manifest
    crops = features if features.ndim == 3 else features[None]
    mean = unit(unit(crops).mean(axis=0))
    concepts = (mean @ bank.concept_vectors.T.astype(np.float64)).astype(np.float32)
    concepts = resample_spans(concepts, entry.spans(), scores.spans)
    note = f"Categories were added by comparing {manifest.encoder} features with the anchors."
    return replace(
        scores,
        alignment=category_similarity(concepts, bank, unit_of_similarity(concepts)),
        concept_alignment=concepts,
        categories=list(bank.categories),
        normal=bank.normal,
        origin=scores.origin.model_copy(
            update={
                "names_categories": "hint",
                "encoder": manifest.encoder,
                "encoder_fingerprint": manifest.fingerprint,
                "bank": bank.dataset,
                "bank_fingerprint": bank.fingerprint,
                "notes": [*scores.origin.notes, note],
            }
        ),
    )


def _checked_features(
    scores: Scores, store: FeatureStore, video: str, bank: AnchorBank
) -> tuple[NDArray[np.float64], VideoEntry]:
    """The features of the video and its entry, or an error that says why they do not fit."""
    manifest = store.manifest
    if bank.encoder.joint != manifest.encoder and bank.encoder.fingerprint != manifest.fingerprint:
        raise FeatureError(
            f"features of {manifest.encoder} and the texts of the anchor bank ({bank.encoder.name}) share no space",
            "give features of blip or clip and a bank built with the same model",
        )
    if video not in store.ids():
        raise FeatureError(f"{store.root} has no features of {video}", "give scores whose name is in the store")
    features, entry = np.asarray(store.load(video), np.float64), store.info(video)
    check_finite(features, video)
    if features.shape[-1] != bank.encoder.dim:
        raise FeatureError(
            f"{video}: the features are {features.shape[-1]} wide and the anchors {bank.encoder.dim}",
            "build the bank with the text side of the same model",
        )
    if entry.frame_count != scores.frame_count:
        raise FeatureError(
            f"{video}: the features are of {entry.frame_count} frames, the scores of {scores.frame_count}",
            "give features and scores of the same video",
        )
    return features, entry


def open_features(root: Path, bank: AnchorBank) -> FeatureStore:
    """The store at ``root``, or in it that of the encoder that the bank's texts go with."""
    if (root / "manifest.json").is_file() or bank.encoder.joint is None:
        return FeatureStore.open(root)
    return FeatureStore.open(root, bank.encoder.joint)
