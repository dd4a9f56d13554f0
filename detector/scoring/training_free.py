"""Anomaly scores of a video without training.

Pixels. Two signals, both cosine distances between the features of snippets:

* change: from one snippet to the next, averaged over 9 snippets and over 31 (about 5 and 17 seconds), so that the
  middle of a long event counts as well as its onset;
* novelty: from each snippet to the less active half of the video, so that a scene that stays different without
  motion counts too.

Both are divided by the baseline of the video: the lower quartile of the signal, shrunk towards the typical level of
the encoder, because a video with activity throughout has no inactive part to take a baseline from. With r the ratio
of a snippet to the baseline, the score is r^2 / (r^2 + 3.5^2): 0.5 at 3.5 times the baseline, 0.2 at half of that,
0.8 at twice that.

Text. Where an anchor bank shares the space of the features (BLIP, CLIP), or captions are given, the log-odds of the
evidence for an anomaly are added, and the alignment hints at categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import TextEncoder, load_text_encoder
from kgvad.arrays import numbers
from kgvad.detector.scoring.caption_scorer import score_captions
from kgvad.detector.scoring.joint_scorer import joint_evidence
from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.errors import FeatureError
from kgvad.vectors import unit
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.decode import VideoInfo
from kgvad.video.encoders.base import VisualEncoder
from kgvad.video.extract import entry_of
from kgvad.video.feature_arrays import check_finite
from kgvad.video.feature_store import Manifest, VideoEntry

FLOOR = 1e-3  # cosine distance that compression noise causes; ratios of smaller distances are meaningless


@dataclass(frozen=True)
class TrainingFreeRule:
    """Settings of the scorer, chosen on half of the labelled footage; see ``benchmarks/training_free.py``."""

    windows: tuple[int, ...] = (9, 31)  # snippets that the change is averaged over
    novelty_share: float = 0.2  # weight of novelty in the log ratio; the rest is change
    own_baseline: float = 0.25  # weight of the lower quartile of the video against the typical level, in log space
    half_at: float = 3.5  # ratio to the baseline at which the score is 0.5
    text_weight: float = 2.0  # weight of the log-odds from text
    margin_spread: float = 3.0  # image-text margin over which its log-odds rise by one, see joint_scorer.py


TYPICAL = {"efficientnet-lite0": 0.03}
"""Median change between snippets of ordinary surveillance footage, by encoder.

For other encoders the median of the video itself is used.
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
    """Score a video by its features, and by text where there is any.

    Parameters
    ----------
    features
        float [T, D] or [crops, T, D].
    info
        Facts about the video, from extraction or from a feature store.
    encoder
        Encoder of the features, or the manifest of their store.
    bank
        Anchor bank; used with ``captions``, or where its text encoder shares the space of ``encoder``.
    captions
        Captions by frame, in any order; they need ``bank``.
    text_encoder
        Text encoder of the bank, for captions; default: loaded by its name.
    video
        Name of the video, where ``info`` does not know it.
    rule
        Settings.

    Returns
    -------
    Scores
        ``origin.names_categories`` is "no" for pixels alone and "hint" with text: the first category of captions is
        correct for about two in five of the UCF-Crime test videos.

    Raises
    ------
    FeatureError
        Features that are not finite, of the wrong shape, or that do not fit the bank.
    """
    rule = rule or TrainingFreeRule()
    views = _views(features)
    name, entry = _described(encoder, info, views)
    log_odds = 2 * (log_ratio(views, TYPICAL.get(name), rule) - np.log(rule.half_at))
    notes = _notes(views.shape[1], captions is not None)
    scores = Scores(
        video=video or (info.path.name if isinstance(info, VideoInfo) else entry.source or "unknown"),
        fps=entry.fps,
        frame_count=entry.frame_count,
        spans=entry.spans(),
        scores=expit(log_odds).astype(np.float32),
        origin=Origin(scorer="training-free", encoder=name, encoder_fingerprint=encoder.fingerprint, notes=notes),
    )
    text = _text_evidence(views, name, bank, captions, text_encoder, rule)
    if bank is None or text is None:
        return scores
    return replace(
        scores,
        scores=expit(log_odds + rule.text_weight * text.log_odds).astype(np.float32),
        alignment=text.alignment,
        categories=list(bank.categories),
        normal=bank.normal,
        concept_alignment=text.concept_alignment,
        origin=scores.origin.model_copy(
            update={
                "names_categories": text.names_categories,
                "bank": bank.dataset,
                "bank_fingerprint": bank.fingerprint,
                "notes": [*notes, text.note],
            }
        ),
    )


def _notes(snippets: int, captioned: bool) -> list[str]:
    """What a reader must know of scores by pixels."""
    notes = []
    if not captioned:  # otherwise the meaning of the captions decides more
        notes.append("The scores compare snippets with the calmest part of the video; nothing was learned from labels.")
    if snippets == 1:
        notes.append("The video is one snippet long, so there is nothing to compare it with.")
    return notes


def _described(
    encoder: VisualEncoder | Manifest, info: VideoInfo | VideoEntry, views: NDArray[np.float64]
) -> tuple[str, VideoEntry]:
    """Name of the encoder, and facts about the video.

    Raises
    ------
    FeatureError
        The video has another number of snippets, or the features have another width than those of the encoder.
    """
    snippets, width = views.shape[1:]
    if width != encoder.dim:
        what = f"the features are {width} wide, those of {_name(encoder)} {encoder.dim}"
        raise FeatureError(what, "name the encoder that made them")
    stride = encoder.stride if isinstance(encoder, Manifest) else encoder.sampling.stride
    entry = info if isinstance(info, VideoEntry) else entry_of(info, snippets, stride)
    if entry.rows != snippets:
        raise FeatureError(
            f"there are features of {snippets} snippets for a video of {entry.rows}", "extract the video again"
        )
    return _name(encoder), entry


def _name(encoder: VisualEncoder | Manifest) -> str:
    return encoder.encoder if isinstance(encoder, Manifest) else encoder.name


def _views(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Features of unit length, [crops, T, D]."""
    array = np.asarray(numbers(features, "the features"), np.float64)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise FeatureError(
            f"features have shape {list(array.shape)}, not [T, D] or [crops, T, D]", "extract them again"
        )
    check_finite(array, "the features")
    array = array if array.ndim == 3 else array[None]
    return unit(array)


def log_ratio(views: NDArray[np.float64], typical: float | None, rule: TrainingFreeRule) -> NDArray[np.float64]:
    """Log ratio of each snippet to the baseline, [T]; ``views`` are features of unit length [crops, T, D]."""
    if views.shape[1] == 1:
        return np.zeros(1)
    step = 1 - np.einsum("ctd,ctd->t", views[:, 1:], views[:, :-1]) / len(views)  # [T - 1]
    step = np.concatenate([step[:1], step])  # the first snippet has none before it
    logs = [_log(_moving_mean(step, window)) for window in rule.windows]
    change = np.mean(logs, axis=0)
    novelty = _log(_moving_mean(_novelty(views, logs[0]), rule.windows[0]))
    return (1 - rule.novelty_share) * _above_baseline(change, typical, rule) + rule.novelty_share * _above_baseline(
        novelty, typical, rule
    )


def _novelty(views: NDArray[np.float64], change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine distance of each snippet to its fourth nearest neighbour in the less active half of the video, [T]."""
    less_active = change <= np.median(change)
    rank = min(4, int(less_active.sum())) - 1
    distances = [np.partition(1 - view @ view[less_active].T, rank, axis=1)[:, rank] for view in views]
    return np.asarray(np.mean(distances, axis=0))


def _moving_mean(signal: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Moving mean over ``window`` values; at the ends the window is shifted inside, so no value is counted twice."""
    window = min(window, len(signal))
    total = np.concatenate([[0.0], np.cumsum(signal)])
    first = np.clip(np.arange(len(signal)) - window // 2, 0, len(signal) - window)
    return np.asarray((total[first + window] - total[first]) / window)


def _log(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(signal, 0) + FLOOR)


def _above_baseline(signal: NDArray[np.float64], typical: float | None, rule: TrainingFreeRule) -> NDArray[np.float64]:
    level = np.median(signal) if typical is None else np.log(typical)
    return signal - rule.own_baseline * np.quantile(signal, 0.25) - (1 - rule.own_baseline) * level


@dataclass(frozen=True)
class _TextEvidence:
    log_odds: NDArray[np.float64]  # [T]
    alignment: NDArray[np.float32]  # [T, C]
    concept_alignment: NDArray[np.float32]  # [T, P]
    names_categories: Literal["yes", "hint"]
    note: str


def _by_frame(captions: Mapping[int, str] | Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """(frame, caption) in the order of the frames, whose numbers may be text, as in JSON."""
    try:
        pairs = captions.items() if isinstance(captions, Mapping) else captions
        return sorted(((int(frame), text) for frame, text in pairs), key=lambda pair: pair[0])
    except (TypeError, ValueError) as error:
        raise FeatureError("captions are not texts by frame", "give {frame: caption}, or (frame, caption)") from error


def _text_evidence(
    views: NDArray[np.float64],
    encoder: str,
    bank: AnchorBank | None,
    captions: Mapping[int, str] | Sequence[tuple[int, str]] | None,
    text_encoder: TextEncoder | None,
    rule: TrainingFreeRule,
) -> _TextEvidence | None:
    if captions is not None:
        if bank is None:
            raise FeatureError("captions are given without an anchor bank", "name one with --anchors")
        pairs = _by_frame(captions)
        reader = text_encoder or load_text_encoder(bank.encoder.source)
        found = score_captions(pairs, bank, reader, views.shape[1] * SNIPPET_FRAMES)
        log_odds = logit(np.clip(found.scores.astype(np.float64), 1e-6, 1 - 1e-6))
        note = "Categories come from the given captions; the first is correct for two in five UCF-Crime test videos."
        return _TextEvidence(log_odds, found.alignment, found.concept_alignment, "hint", note)
    if bank is None or bank.encoder.joint != encoder:
        return None
    if bank.encoder.dim != views.shape[2]:
        raise FeatureError(
            f"the features are {views.shape[2]} wide and the anchors {bank.encoder.dim}",
            f"build the bank with the text side of the same {encoder} model",
        )
    mean = unit(views.mean(0))
    concepts = (mean @ bank.concept_vectors.T).astype(np.float32)  # [T, P]
    joint = joint_evidence(concepts, bank, rule.windows[0], rule.margin_spread)
    note = "Categories come from the similarity of frames to texts and are only hints."
    return _TextEvidence(joint.log_odds, joint.alignment, concepts, "hint", note)
