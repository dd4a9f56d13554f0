"""Which files one video is explained from, where folders hold those of many videos."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kgvad.explain.scorers.base import Scorer
from kgvad.explain.scorers.score_files import ScoreFileScorer, score_files
from kgvad.explain.scorers.stored_features import StoredFeatureScorer, stored_name
from kgvad.video.feature_store import FeatureStore
from kgvad.video.store_staging import MANIFEST
from kgvad.video.video_ids import video_id


def files_read(scorer: Scorer, named: Iterable[Path | None], video: Path | None) -> tuple[Path, ...]:
    """``named`` inputs that exist, with the files of ``video`` instead of folders of scores, features or captions."""
    own = _own_files(scorer, video)
    found: list[Path] = []
    for one in named:
        if one is not None:
            found += next((files for folder, files in own.items() if one in (folder, *folder.parents)), [one])
    return tuple(one for one in dict.fromkeys(found) if one.exists())


def _own_files(scorer: Scorer, video: Path | None) -> dict[Path, list[Path]]:
    """Folder of many videos to the files in it that are read for one."""
    from kgvad.detector.data.captions import caption_file

    own: dict[Path, list[Path]] = {}
    if video is None:
        return own
    if isinstance(scorer, ScoreFileScorer):
        if scorer.videos is not None:
            own[scorer.path] = list(score_files(scorer.path, video.relative_to(scorer.videos)))
        if scorer.features is not None:
            own[scorer.features.root] = _of_store(scorer.features, video_id(video.name))
    if isinstance(scorer, StoredFeatureScorer):
        own[scorer.store.root] = _of_store(scorer.store, stored_name(scorer.store, video))
    captions: Path | None = getattr(scorer, "captions", None)
    if captions is not None and captions.is_dir():
        own[captions] = [caption_file(captions, str(video))]
    return own


def _of_store(store: FeatureStore, name: str) -> list[Path]:
    return [store.path(name), store.root / MANIFEST]
