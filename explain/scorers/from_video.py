"""Scorers that encode the video: a trained run, or no training at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.console import progress
from kgvad.explain.scorers.base import (
    NO_CONTINUITY,
    NO_SCENE,
    ColumnTerms,
    ConceptTerms,
    ScoredVideo,
    exclude_snippets,
    file_name,
    file_state,
    note_added_categories,
    required,
)
from kgvad.video.decode import probe

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.detector.run import Run
    from kgvad.detector.scoring.scores import Scores
    from kgvad.detector.training.exemplars import Exemplars
    from kgvad.video.encoders.base import VisualEncoder
    from kgvad.video.extract import ExtractedVideo


@dataclass(frozen=True, eq=False)
class RunScorer:
    """A trained run on features of the video.

    Attributes
    ----------
    run
        The run, with the categories of ``queries`` added.
    encoder
        The visual encoder that the run was trained on.
    captions
        Captions of the videos, JSON: read by runs that need them, and quoted in reports.
    exemplars
        Abnormal segments of the training videos.
    queries
        Categories that were added to the run without training.
    """

    run: Run
    encoder: VisualEncoder
    captions: Path | None = None
    exemplars: Exemplars | None = None
    queries: Sequence[str] = ()

    def score(self, video: Path | None) -> ScoredVideo:
        from kgvad.detector.data.captions import read_track
        from kgvad.detector.data.clock import VideoClock
        from kgvad.detector.scoring.caption_input import caption_input
        from kgvad.detector.scoring.infer import score_features

        video = required(video)
        track = None if self.captions is None else read_track(self.captions, str(video))
        made = encode(video, self.encoder)
        captions = None if track is None else track.frames(VideoClock.of(made.info), str(self.captions))
        scores = score_features(
            self.run,
            made.features,
            made.entry,
            video=video.name,
            encoder_fingerprint=self.encoder.fingerprint,
            text=caption_input(self.run, captions, made.entry, str(next(self.run.detector.parameters()).device)),
        )
        scores, excluded = exclude_snippets(scores, made.entry.quality, NO_SCENE)
        return ScoredVideo(
            scores=note_added_categories(scores, self.queries),
            info=made.info,
            features=made.features,
            captions=captions,
            bank=self.run.bank,
            excluded=excluded,
            terms=column_terms(self.run, made.features),
            exemplars=self.exemplars,
            captions_file=file_name(self.captions),
        )

    def identity(self) -> str:
        parts = ("run", self.run.fingerprint, self.encoder.fingerprint, file_state(self.captions), *self.queries)
        return "\n".join(parts)


@dataclass(frozen=True, eq=False)
class TrainingFreeScorer:
    """No training: change and novelty of the features and, with a joint encoder, their similarity to the anchors.

    Attributes
    ----------
    encoder
        Any visual encoder.
    bank
        Anchor bank of the text side of a joint encoder; ``None`` for pixels alone.
    queries
        Categories that were added to the bank.
    """

    encoder: VisualEncoder
    bank: AnchorBank | None = None
    queries: Sequence[str] = ()

    def score(self, video: Path | None) -> ScoredVideo:
        from kgvad.detector.scoring.training_free import score_training_free

        video = required(video)
        made = encode(video, self.encoder)
        scores = score_training_free(made.features, made.entry, encoder=self.encoder, bank=self.bank, video=video.name)
        scores, excluded = exclude_snippets(scores, made.entry.quality, (*NO_SCENE, *NO_CONTINUITY))
        return ScoredVideo(
            scores=note_added_categories(scores, self.queries),
            info=made.info,
            features=made.features,
            bank=self.bank if scores.alignment is not None else None,
            excluded=excluded,
        )

    def identity(self) -> str:
        bank = "" if self.bank is None else self.bank.fingerprint
        return "\n".join(("training-free", self.encoder.fingerprint, bank))


@dataclass(frozen=True, eq=False)
class CaptionScorer:
    """No training: captions compared with the anchors, beside change and novelty of the features.

    Attributes
    ----------
    captions
        File or folder of captions.
    encoder
        Any visual encoder.
    bank
        Anchor bank.
    text_encoder
        The text encoder of the bank.
    queries
        Categories that were added to the bank.
    """

    captions: Path
    encoder: VisualEncoder
    bank: AnchorBank
    text_encoder: TextEncoder
    queries: Sequence[str] = ()

    def score(self, video: Path | None) -> ScoredVideo:
        from kgvad.detector.data.captions import read_track
        from kgvad.detector.data.clock import VideoClock
        from kgvad.detector.scoring.training_free import score_training_free

        video = required(video)
        track = read_track(self.captions, str(video))
        made = encode(video, self.encoder)
        captions = track.frames(VideoClock.of(made.info), str(self.captions))
        scores = score_training_free(
            made.features,
            made.entry,
            encoder=self.encoder,
            bank=self.bank,
            captions=captions,
            text_encoder=self.text_encoder,
            video=video.name,
        )
        scores, excluded = exclude_snippets(scores, made.entry.quality, NO_SCENE)
        return ScoredVideo(
            scores=note_added_categories(scores, self.queries),
            info=made.info,
            features=made.features,
            captions=captions,
            bank=self.bank,
            excluded=excluded,
            terms=concept_terms(scores, self.bank),
            captions_file=self.captions.name,
        )

    def identity(self) -> str:
        parts = ("captions", file_state(self.captions), self.encoder.fingerprint, self.bank.fingerprint)
        return "\n".join(parts)


def column_terms(run: Run, features: NDArray[np.floating]) -> ColumnTerms | None:
    """Contributions of the named columns in a video with features [T, D], where the run's logits are sums of them."""
    import torch

    if features.ndim != 2 or not run.config.columns:
        return None
    detector = run.detector
    device = next(detector.parameters()).device
    x = torch.from_numpy(np.asarray(features, np.float32)).to(device)
    vectors = getattr(detector, "column_vectors", None)
    if vectors is None or detector.contributions(x, torch.full((len(x),), 1 / len(x), device=device)) is None:
        return None

    def over(weights: NDArray[np.float64]) -> NDArray[np.float32]:
        found = detector.contributions(x, torch.from_numpy(weights.astype(np.float32)).to(device))
        assert found is not None
        return np.asarray(found.cpu().numpy(), np.float32)

    return ColumnTerms(run.config.columns, np.asarray(vectors.float().cpu().numpy()), over)


def concept_terms(scores: Scores, bank: AnchorBank) -> ConceptTerms | None:
    """Terms of the concepts of ``bank`` in scores by captions; ``None`` without a concept alignment."""
    from kgvad.detector.scoring.caption_scorer import anchor_coefficients

    if scores.concept_alignment is None:
        return None
    return ConceptTerms(scores.concept_alignment * anchor_coefficients(bank))


def encode(video: Path, encoder: VisualEncoder) -> ExtractedVideo:
    """Features of a video, with a progress bar."""
    from kgvad.video.extract import extract_video

    total = encoder.sampling.expected_rows(probe(video))
    with progress(f"encoding {video.name} with {encoder.name}", total) as advance:
        return extract_video(video, encoder, advance=advance)
