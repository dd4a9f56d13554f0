"""Anomaly scores of a video without any training.

Pixels. Two signals, both cosine distances between rows of features:

* change: from one snippet to the next, averaged over 9 snippets and over 31 (about 5 and 17 seconds), so that
  the middle of a long event counts as well as its sudden beginning;
* novelty: from each snippet to the snippets of the quiet half of the video, so that a scene that stays
  different without moving counts too.

Both are divided by the video's quiet level: the lower quartile of the signal, pulled towards what is typical for the
encoder, because a video that is busy all over has no quiet part to learn from. The result is a ratio r, how many
times the quiet level a snippet is, and the score is r^2 / (r^2 + 3.5^2): 0.5 at three and a half times the quiet
level, 0.2 at half of that, 0.8 at twice that. A still scene stays low throughout; a busy one need not.

Words. Where a bank of anchors shares the space of the features (BLIP, CLIP), or captions are given, the margin of
the abnormal categories over Normal joins as evidence (sum of log-odds), and the alignment hints at categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import TextEncoder, load_text_encoder
from kgvad.detector.data.captions import CaptionRule, category_similarity, score_captions, smoothed_margin
from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.errors import FeatureError
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.decode import VideoInfo
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.extract import entry_of
from kgvad.video.feature_arrays import check_finite
from kgvad.video.feature_store import Manifest, VideoEntry

FLOOR = 1e-3  # cosine distance of compression noise; ratios below it mean nothing


@dataclass(frozen=True)
class TrainingFreeRule:
    """Settings of the scorer, chosen on half of the labelled footage; see ``benchmarks/training_free.py``."""

    windows: tuple[int, ...] = (9, 31)  # snippets that the change is averaged over
    novelty_share: float = 0.2  # of novelty in the ratio, in log space; the rest is change
    own_quiet: float = 0.25  # weight of the video's own quiet level against the encoder's typical one, in log space
    half_at: float = 3.5  # ratio to the quiet level that is scored 0.5
    words_share: float = 2.0  # weight of the log-odds from words
    margin_spread: float = 3.0  # robust deviations of the image-text margin over which its log-odds rise by one


TYPICAL = {"efficientnet-lite0": 0.03}
"""Median change between snippets of ordinary surveillance footage, by encoder.

Where an encoder is not listed, the median of the video itself stands in.
"""


def score_training_free(
    features: NDArray[np.floating],
    info: VideoInfo | VideoEntry,
    *,
    encoder: VisualEncoder | Manifest,
    bank: AnchorBank | None = None,
    captions: Mapping[int, str] | Sequence[tuple[int, str]] | None = None,
    text_encoder: TextEncoder | None = None,
    video: str | None = None,
    rule: TrainingFreeRule | None = None,
) -> Scores:
    """Score a video by its features, and by words where there are any.

    Parameters
    ----------
    features
        float [T, D] or [crops, T, D].
    info
        Facts about the video, from extraction or from a feature store.
    encoder
        What made the features: the encoder, or the manifest of the store.
    bank
        Anchor bank; used where its text encoder shares the space of ``encoder``, or with ``captions``.
    captions
        Caption by frame; needs ``bank``.
    text_encoder
        The bank's text encoder, where it is loaded already; needed for captions only.
    video
        Name of the video, where ``info`` does not know it.
    rule
        Settings.

    Returns
    -------
    Scores
        ``origin.names_categories`` is "no" for pixels alone and "hint" with words: the best category of captions is
        right for about half of the UCF-Crime test videos.

    Raises
    ------
    FeatureError
        Features that are not finite, of the wrong shape, or that do not fit the bank.
    """
    rule = rule or TrainingFreeRule()
    views = _views(features)
    rows = views.shape[1]
    name, stride = (
        (encoder.encoder, encoder.stride) if isinstance(encoder, Manifest) else (encoder.name, encoder.sampling.stride)
    )
    entry = info if isinstance(info, VideoEntry) else entry_of(info, rows, stride)
    if entry.rows != rows:
        raise FeatureError(f"there are {rows} rows of features for a video of {entry.rows}", "extract the video again")
    log_odds = 2 * (log_ratio(views, TYPICAL.get(name), rule) - np.log(rule.half_at))
    notes = ["The scores compare the video with its own quiet part; nothing was learned from labelled videos."]
    if rows == 1:
        notes.append("The video is one snippet long, so there is nothing to compare it with.")
    words = _words(views, name, bank, captions, text_encoder, rule)
    if words is not None:
        log_odds = log_odds + rule.words_share * words.log_odds
        notes.append(words.note)
    return Scores(
        video=video or (info.path.name if isinstance(info, VideoInfo) else entry.source or "unknown"),
        fps=entry.fps,
        frame_count=entry.frame_count,
        spans=entry.spans(),
        scores=expit(log_odds).astype(np.float32),
        alignment=words.alignment if words else None,
        categories=list(bank.categories) if bank is not None and words else None,
        normal=bank.normal if bank is not None and words else None,
        concept_alignment=words.concept_alignment if words else None,
        origin=Origin(
            scorer="training-free",
            names_categories=words.names_categories if words else "no",
            encoder=name,
            encoder_fingerprint=encoder.fingerprint,
            bank=bank.dataset if bank is not None and words else None,
            bank_fingerprint=bank.fingerprint if bank is not None and words else None,
            notes=notes,
        ),
    )


def _views(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit rows, [crops, T, D]."""
    array = np.asarray(features, np.float64)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise FeatureError(
            f"features have shape {list(array.shape)}, not [T, D] or [crops, T, D]", "extract them again"
        )
    check_finite(array, "the features")
    array = array if array.ndim == 3 else array[None]
    return np.asarray(array / np.maximum(np.linalg.norm(array, axis=2, keepdims=True), 1e-12))


def log_ratio(views: NDArray[np.float64], typical: float | None, rule: TrainingFreeRule) -> NDArray[np.float64]:
    """Log of how many times the quiet level each row is, [T]; ``views`` are unit rows [crops, T, D]."""
    rows = views.shape[1]
    if rows == 1:
        return np.zeros(1)
    step = 1 - np.einsum("ctd,ctd->t", views[:, 1:], views[:, :-1]) / len(views)  # [T - 1]
    step = np.concatenate([step[:1], step])  # the first snippet has none before it
    logs = [_log(_mean(step, window)) for window in rule.windows]
    change = np.mean(logs, axis=0)
    novelty = _log(_mean(_novelty(views, logs[0]), rule.windows[0]))
    return (1 - rule.novelty_share) * _above_quiet(change, typical, rule) + rule.novelty_share * _above_quiet(
        novelty, typical, rule
    )


def _novelty(views: NDArray[np.float64], change: NDArray[np.float64], neighbours: int = 4) -> NDArray[np.float64]:
    """Cosine distance of each row to the fourth nearest row of the video's quiet half, [T]."""
    quiet = change <= np.median(change)
    rank = min(neighbours, int(quiet.sum())) - 1
    distances = [np.partition(1 - view @ view[quiet].T, rank, axis=1)[:, rank] for view in views]
    return np.asarray(np.mean(distances, axis=0))


def _mean(signal: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Moving mean over ``window`` rows; at the ends the window stays inside, so one jump there is not counted twice."""
    window = min(window, len(signal))
    total = np.concatenate([[0.0], np.cumsum(signal)])
    first = np.clip(np.arange(len(signal)) - window // 2, 0, len(signal) - window)
    return np.asarray((total[first + window] - total[first]) / window)


def _log(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(signal, 0) + FLOOR)


def _above_quiet(signal: NDArray[np.float64], typical: float | None, rule: TrainingFreeRule) -> NDArray[np.float64]:
    usual = np.median(signal) if typical is None else np.log(typical)
    return signal - rule.own_quiet * np.quantile(signal, 0.25) - (1 - rule.own_quiet) * usual


@dataclass(frozen=True)
class _Words:
    log_odds: NDArray[np.float64]  # [T]
    alignment: NDArray[np.float32]  # [T, C]
    concept_alignment: NDArray[np.float32]  # [T, P]
    names_categories: Literal["yes", "hint"]
    note: str


def _words(
    views: NDArray[np.float64],
    encoder: str,
    bank: AnchorBank | None,
    captions: Mapping[int, str] | Sequence[tuple[int, str]] | None,
    text_encoder: TextEncoder | None,
    rule: TrainingFreeRule,
) -> _Words | None:
    if captions is not None:
        if bank is None:
            raise FeatureError("captions are given without an anchor bank", "name one with --anchors")
        pairs = sorted(captions.items()) if isinstance(captions, Mapping) else list(captions)
        reader = text_encoder or load_text_encoder(bank.encoder.source)
        found = score_captions(pairs, bank, reader, views.shape[1] * SNIPPET_FRAMES)
        chance = np.clip(found.scores.astype(np.float64), 1e-6, 1 - 1e-6)
        log_odds = np.log(chance / (1 - chance))
        note = "Categories come from the captions that were given; they name the category of about half of the videos."
        return _Words(log_odds, found.alignment, found.concept_alignment, "hint", note)
    if bank is None or bank.encoder.joint != encoder:
        return None
    if bank.encoder.dim != views.shape[2]:
        raise FeatureError(
            f"the features are {views.shape[2]} wide and the anchors {bank.encoder.dim}",
            f"build the bank with the text side of the same {encoder} model",
        )
    mean = views.mean(0)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    concepts = (mean @ bank.concept_vectors.T).astype(np.float32)  # [T, P]
    caption_rule = CaptionRule()
    alignment = category_similarity(concepts, bank, caption_rule.temperature)
    margin = smoothed_margin(alignment, bank.normal, CaptionRule(window=rule.windows[0], video_share=0.0))
    # Pictures lie at other distances from texts than texts do, so the margin is measured in the video's own spread.
    middle = np.median(margin)
    spread = 1.4826 * np.median(np.abs(margin - middle)) + 0.01
    log_odds = np.clip((margin - middle) / (rule.margin_spread * spread), -3, 3)
    note = "Categories come from the similarity of frames to texts; take them as hints."
    return _Words(log_odds, alignment, concepts, "hint", note)
