"""Scores of a trained run from features that are stored already: no video is encoded, none need be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import FeatureError
from kgvad.video.decode import VideoInfo
from kgvad.video.feature_store import FeatureStore

if TYPE_CHECKING:
    from kgvad.detector.data.captions import Captions
    from kgvad.detector.run import Run

SLACK = 16  # frames that a video and its features may differ by: other decoders, other lists


def score_stored(
    run: Run, root: Path, video: Path, info: VideoInfo | None, device: str, captions: Captions | None = None
) -> tuple[Scores, NDArray[np.floating]]:
    """Scores by ``run`` of the stored features of a video, and the features.

    Parameters
    ----------
    root
        Feature store, or folder of stores.
    video
        The video's file, or its name in the store.
    info
        Of the file; ``None`` where there is none.
    captions
        Of the video, for a run that reads them.

    Raises
    ------
    FeatureError
        The store lacks the video, is of another encoder than the run's, or its features are of another length.
    """
    from kgvad.detector.data.inputs import open_store
    from kgvad.detector.scoring.caption_input import caption_input
    from kgvad.detector.scoring.infer import score_features

    store = open_store(root, run.config.encoder)
    name = stored_name(store, video)
    features, entry = store.load(name), store.info(name)
    if info is not None:
        if abs(entry.frame_count - info.frame_count) > SLACK:
            raise FeatureError(
                f"{store.root}: the features of {name} are of {entry.frame_count} frames, {video} has "
                f"{info.frame_count}",
                "name the video that they were made from",
            )
        entry = entry.model_copy(update={"fps": info.fps})
    scores = score_features(
        run,
        features,
        entry,
        video=name if info is None else video.name,
        encoder_fingerprint=store.fingerprint,
        device=device,
        text=caption_input(run, captions, entry, device),
    )
    return scores, features


def stored_name(store: FeatureStore, video: Path) -> str:
    """The longest name of the store that ``video`` ends in, with or without its suffix."""
    paths = [f"/{video.as_posix()}", f"/{video.with_suffix('').as_posix()}"]
    found = [name for name in store.ids() if any(path.endswith(f"/{name}") for path in paths)]
    if not found:
        raise FeatureError(f"{store.root} has no features of {video}", "name a video that they were made from")
    return max(found, key=len)
