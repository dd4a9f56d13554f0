"""Features and a run in, anomaly scores out."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.detector.api import Detector, Output
from kgvad.detector.data import Features, checked
from kgvad.detector.run import Run
from kgvad.detector.scores import Origin, Scores
from kgvad.errors import FeatureError
from kgvad.video.store import VideoEntry

CHUNK = 256  # rows; what the position tables of the detectors hold
OVERLAP = 64  # rows that neighbouring chunks share; they fade into each other


def score_features(
    run: Run | str | os.PathLike[str],
    features: Features,
    entry: VideoEntry,
    *,
    video: str,
    encoder_fingerprint: str | None = None,
    text: Features | None = None,
    device: str = "cpu",
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
        raise FeatureError(f"{video}: {config.detector} needs captions", "give them with --captions")
    crops = features if features.ndim == 3 else features[None]
    parts = [infer(run.detector, crop, text) for crop in crops]
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
            bank=None if run.bank is None else str(run.folder / "anchors.safetensors"),
            bank_fingerprint=config.bank_fingerprint,
            notes=[] if config.videos >= 100 else [f"the detector was trained on {config.videos} videos only"],
        ),
    )


def infer(detector: Detector, features: Features, text: Features | None = None) -> dict[str, NDArray[np.float32]]:
    """Scores [T] and, where the detector has them, alignment [T, C] and concepts [T, P] of one crop.

    A video longer than the detector takes at once is cut into chunks that share ``OVERLAP`` rows; there the chunks
    fade into each other, so no score jumps at a border.
    """
    rows = len(features)
    limit = detector.max_rows or rows
    total: dict[str, NDArray[np.float64]] = {}
    weight = np.zeros(rows)
    for start, fade in _chunks(rows, limit):
        end = start + len(fade)
        part = _forward(detector, features[start:end], None if text is None else text[start:end])
        for name, value in part.items():
            if name not in total:
                total[name] = np.zeros((rows, *value.shape[1:]))
            total[name][start:end] += value * fade.reshape(-1, *[1] * (value.ndim - 1))
        weight[start:end] += fade
    return {
        name: (value / weight.reshape(-1, *[1] * (value.ndim - 1))).astype(np.float32) for name, value in total.items()
    }


def _chunks(rows: int, limit: int) -> list[tuple[int, NDArray[np.float64]]]:
    """Start of each chunk and the weights of its rows; weights rise and fall over what two chunks share."""
    if rows <= limit:
        return [(0, np.ones(rows))]
    shared = min(OVERLAP, limit // 2)
    starts = [*range(0, rows - limit, limit - shared), rows - limit]
    chunks = []
    for number, start in enumerate(starts):
        fade = np.ones(limit)
        ramp = (np.arange(shared) + 1) / (shared + 1)
        if number > 0:
            fade[:shared] = ramp
        if number < len(starts) - 1:
            fade[-shared:] = np.minimum(fade[-shared:], ramp[::-1])
        chunks.append((start, fade))
    return chunks


@torch.inference_mode()
def _forward(detector: Detector, features: Features, text: Features | None) -> dict[str, NDArray[np.float32]]:
    device = next(detector.parameters()).device
    x = torch.from_numpy(np.asarray(features, dtype=np.float32).copy())[None].to(device)
    t = None if text is None else torch.from_numpy(np.asarray(text, dtype=np.float32).copy())[None].to(device)
    output: Output = detector(x, torch.tensor([x.shape[1]], device=device), t)
    found = {"scores": torch.sigmoid(output.logits[0])}
    if output.alignment is not None:
        # what the whole video shows backs every row: naming one kind of event per video is the easier question
        found["alignment"] = output.alignment[0] if output.video is None else (output.alignment[0] + output.video) / 2
    if output.concepts is not None:
        found["concepts"] = output.concepts[0]
    return {name: value.float().cpu().numpy() for name, value in found.items()}
