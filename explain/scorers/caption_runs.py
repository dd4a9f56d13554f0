"""Scores of a run that was trained on caption embeddings: the captions of the video are its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.explain.scorers.base import ScoredVideo, file_state, note_added_categories, required
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.decode import probe
from kgvad.video.extract import entry_of

if TYPE_CHECKING:
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.detector.run import Run
    from kgvad.detector.training.exemplars import Exemplars


@dataclass(frozen=True, eq=False)
class CaptionRunScorer:
    """A trained run on embeddings of the captions of the video; its pictures are not decoded.

    Attributes
    ----------
    run
        The run, with the categories of ``queries`` added.
    captions
        File or folder of captions.
    text_encoder
        The encoder of the captions that the run was trained on.
    exemplars
        Abnormal segments of the training videos.
    queries
        Categories that were added to the run without training.
    stride
        Frames per snippet.
    """

    run: Run
    captions: Path
    text_encoder: TextEncoder
    exemplars: Exemplars | None = None
    queries: Sequence[str] = ()
    stride: int = SNIPPET_FRAMES

    def score(self, video: Path | None) -> ScoredVideo:
        from kgvad.detector.data.caption_features import embed_captions
        from kgvad.detector.data.captions import read_captions
        from kgvad.detector.data.clock import VideoClock
        from kgvad.detector.scoring.infer import score_features

        video = required(video)
        info = probe(video, exact=True)
        captions = read_captions(self.captions, str(video), VideoClock.of(info))
        entry = entry_of(info, max(1, info.frame_count // self.stride), self.stride)
        features = embed_captions(captions, entry.spans(), self.text_encoder)
        scores = score_features(self.run, features, entry, video=video.name)
        return ScoredVideo(
            scores=note_added_categories(scores, self.queries),
            info=info,
            features=features,
            captions=captions,
            bank=self.run.bank,
            exemplars=self.exemplars,
            captions_file=self.captions.name,
        )

    def identity(self) -> str:
        parts = ("caption run", self.run.fingerprint, file_state(self.captions), str(self.stride), *self.queries)
        return "\n".join(parts)
