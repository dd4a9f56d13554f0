"""Scores of a trained run from stored features: the video is not decoded and need not be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.errors import FeatureError
from kgvad.explain.scorers.base import ScoredVideo, file_name, file_state, note_added_categories, required
from kgvad.explain.scorers.from_video import column_terms
from kgvad.video.decode import VideoInfo, probe
from kgvad.video.feature_layout import fitted_entry
from kgvad.video.feature_store import FeatureStore, VideoEntry
from kgvad.video.video_ids import video_id

if TYPE_CHECKING:
    from kgvad.detector.run import Run
    from kgvad.detector.training.exemplars import Exemplars

MAX_FRAME_DIFFERENCE = 16  # frames by which decoders and lists may disagree about a video's length


@dataclass(frozen=True, eq=False)
class StoredFeatureScorer:
    """A trained run on the features of a store.

    Attributes
    ----------
    run
        The run, with the categories of ``queries`` added.
    store
        Features of the run's encoder.
    captions
        Captions of the videos, JSON: read by runs that need them, and quoted in reports.
    exemplars
        Abnormal segments of the training videos.
    queries
        Categories that were added to the run without training.
    """

    run: Run
    store: FeatureStore
    captions: Path | None = None
    exemplars: Exemplars | None = None
    queries: Sequence[str] = ()

    def score(self, video: Path | None) -> ScoredVideo:
        """Scores of a video, given by its file or by its name in the store.

        Raises
        ------
        FeatureError
            The store lacks the video, or its features are of another length.
        """
        from kgvad.detector.data.captions import read_captions
        from kgvad.detector.data.clock import VideoClock
        from kgvad.detector.scoring.caption_input import caption_input
        from kgvad.detector.scoring.infer import score_features

        video = required(video)
        info = probe(video, exact=True) if video.exists() else None
        name = stored_name(self.store, video)
        entry = self._entry(name, video, info)
        clock = VideoClock(entry.fps, entry.frame_count) if info is None else VideoClock.of(info)
        captions = None if self.captions is None else read_captions(self.captions, str(video), clock)
        device = str(next(self.run.detector.parameters()).device)
        features = self.store.load(name)
        scores = score_features(
            self.run,
            features,
            entry,
            video=name if info is None else video.name,
            encoder_fingerprint=self.store.fingerprint,
            text=caption_input(self.run, captions, entry, device),
        )
        return ScoredVideo(
            scores=note_added_categories(scores, self.queries),
            info=info,
            features=features,
            captions=captions,
            bank=self.run.bank,
            terms=column_terms(self.run, features),
            exemplars=self.exemplars,
            captions_file=file_name(self.captions),
        )

    def identity(self) -> str:
        manifest = file_state(self.store.root / "manifest.json")
        parts = ("stored features", self.run.fingerprint, manifest, file_state(self.captions), *self.queries)
        return "\n".join(parts)

    def _entry(self, name: str, video: Path, info: VideoInfo | None) -> VideoEntry:
        """Facts about the video from the store, with the frame rate of the file."""
        entry = self.store.info(name)
        if info is None:
            return entry
        entry = fitted_entry(entry, info.frame_count, name)
        if abs(entry.frame_count - info.frame_count) > MAX_FRAME_DIFFERENCE:
            raise FeatureError(
                f"{self.store.root}: the features of {name} are of {entry.frame_count} frames, {video} has "
                f"{info.frame_count}",
                "give the video that they were extracted from",
            )
        left = tuple(one for one in entry.assumed if one != "fps")
        return entry.model_copy(update={"fps": info.fps, "assumed": left})


def stored_name(store: FeatureStore, video: Path) -> str:
    """The longest name of the store that ``video`` ends in, with or without its suffix.

    Raises
    ------
    FeatureError
        The store has no such video.
    """
    paths = [f"/{video.as_posix()}", f"/{video.with_name(video_id(video)).as_posix()}"]
    found = [name for name in store.ids() if any(path.endswith(f"/{name}") for path in paths)]
    if not found:
        raise FeatureError(f"{store.root} has no features of {video}", "give a video of the store")
    return max(found, key=len)
