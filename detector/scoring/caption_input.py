"""Caption embeddings for a trained run that reads captions beside visual features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.data.caption_features import embed_captions
from kgvad.detector.data.captions import Captions
from kgvad.detector.run import Run
from kgvad.errors import RunError
from kgvad.video.feature_store import VideoEntry
from kgvad.video.store_folders import OF_TEXT


def caption_input(run: Run, captions: Captions | None, entry: VideoEntry, device: str) -> NDArray[np.float32] | None:
    """Caption embeddings of the snippets of ``entry``, float32 [T, E]; ``None`` for a run that reads no captions.

    Raises
    ------
    RunError
        The run reads captions, and there are none, or it was trained on captions of another encoder than its anchors'.
    """
    config = run.config
    if config.caption_dim is None:
        return None
    if captions is None:
        raise RunError(f"the run {run.folder} reads captions beside features", "name them with --captions FILE")
    name = (config.caption_encoder or "").removesuffix(OF_TEXT)
    if run.bank is None or name != run.bank.encoder.name:
        raise RunError(
            f"the run {run.folder} was trained on captions of {config.caption_encoder}, not of its anchors' encoder",
            f"score with: kgvad score --captions STORE --run {run.folder}, then explain --scores FILE",
        )
    return embed_captions(captions, entry.spans(), load_text_encoder(run.bank.encoder.source, device))
