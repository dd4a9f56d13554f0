"""Training-free scores from captions: how much closer a caption is to the abnormal anchors than to Normal.

The captions of a video are compared with every concept of the bank. A category's closeness at a snippet is the soft
maximum over its concepts; the margin of the abnormal categories over Normal, smoothed over time and joined with the
video's own level, gives the anomaly score. What the event is, is told by the anchors themselves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import expit, logsumexp

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import TextEncoder
from kgvad.errors import AnchorError, ScoresError, UsageError
from kgvad.files import read_json
from kgvad.video import SNIPPET_FRAMES

Captions = list[tuple[int, str]]  # (frame, caption), ordered by frame
MOST_CHARACTERS = 2000  # of one caption; an encoder reads far fewer


@dataclass(frozen=True)
class CaptionRule:
    """How similarities become scores. The defaults were chosen on half of the test videos; see docs/method/anchors.md."""

    temperature: float = 0.2  # of the soft maximum over concepts and categories
    window: int = 25  # snippets that the margin is averaged over
    video_share: float = 0.3  # of the video's own level in the score
    top: int = 8  # the video's own level is the mean of its highest 1 / top of the smoothed margins
    middle: float = -0.01  # margin that is scored 0.5
    scale: float = 0.03  # margin over which the score rises from 0.5 to 0.73


@dataclass(frozen=True)
class CaptionScores:
    """Scores of the T snippets of one video, from its captions.

    Attributes
    ----------
    scores
        Anomaly scores, float32 [T], 0..1.
    alignment
        Similarity to each anchor of the bank, float32 [T, C], cosines.
    concept_alignment
        Similarity to each concept of the bank, float32 [T, P], cosines.
    captions
        The caption that each snippet was scored by, T strings.
    """

    scores: NDArray[np.float32]
    alignment: NDArray[np.float32]
    concept_alignment: NDArray[np.float32]
    captions: list[str]


def read_captions(path: str | Path, video: str | None = None) -> Captions:
    """Captions of one video, ordered by frame.

    Parameters
    ----------
    path
        JSON or gzipped JSON: ``{video: {frame: caption}}``, or ``{frame: caption}`` of one video.
    video
        The video's name; its folder and suffix do not matter. Not needed where the file holds one video.

    Raises
    ------
    UsageError
        The file does not exist.
    ScoresError
        Not such a file, or it has no captions of the video.
    """
    path = Path(path)
    content = _content(path)
    if any(isinstance(value, str) for value in content.values()):
        return _frames(content, path)
    stem = Path(video).stem if video else None
    for name, captions in content.items():
        if stem is not None and Path(name).stem == stem:
            return _frames(captions, path)
    if stem is None and len(content) == 1:
        return _frames(next(iter(content.values())), path)
    raise ScoresError(
        f"{path} has no captions of {stem!r}", f"it has {len(content)} videos, {next(iter(content))!r} first"
    )


def all_captions(path: str | os.PathLike[str]) -> dict[str, Captions]:
    """Captions of every video of a file ``{video: {frame: caption}}``; errors as of :func:`read_captions`."""
    path = Path(path)
    return {video: _frames(captions, path) for video, captions in _content(path).items()}


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"there is no file of captions {path}", "give a JSON file {video: {frame: caption}}")
    content = read_json(path, ScoresError, "captions are {video: {frame: caption}}")
    if not isinstance(content, dict) or not content:
        raise ScoresError(f"{path} holds no captions", "captions are {video: {frame: caption}}")
    return content


def _frames(captions: Any, path: Path) -> Captions:
    if not isinstance(captions, dict) or not captions:
        raise ScoresError(f"{path}: a video has no captions", "captions are {video: {frame: caption}}")
    found = []
    for frame, caption in captions.items():
        if not (isinstance(frame, str) and frame.isascii() and frame.isdigit() and len(frame) < 12):
            raise ScoresError(f"{path}: {str(frame)[:40]!r} is no frame number", "frames are counted from 0")
        if not isinstance(caption, str):
            raise ScoresError(f"{path}: the caption of frame {frame} is no text", "captions are strings")
        found.append((int(frame), caption[:MOST_CHARACTERS]))
    return sorted(found)


def per_snippet(captions: Sequence[tuple[int, str]], rows: int) -> list[str]:
    """The caption of every snippet: the latest that starts before the snippet ends; the first one before that."""
    frames = np.array([frame for frame, _ in captions])
    ends = (np.arange(rows) + 1) * SNIPPET_FRAMES
    index = np.maximum(np.searchsorted(frames, ends, side="left") - 1, 0)
    return [captions[i][1] for i in index]


def score_captions(
    captions: Sequence[tuple[int, str]],
    bank: AnchorBank,
    encoder: TextEncoder,
    frame_count: int,
    rule: CaptionRule | None = None,
) -> CaptionScores:
    """Score a video by its captions.

    Parameters
    ----------
    captions
        (frame, caption), ordered by frame.
    bank
        Anchor bank made with ``encoder``.
    encoder
        Text encoder.
    frame_count
        Frames of the video; ``frame_count // 16`` snippets are scored (one at least).
    rule
        How similarities become scores.

    Raises
    ------
    AnchorError
        The bank was made with another encoder.
    ScoresError
        There are no captions.
    """
    if bank.encoder.fingerprint != encoder.fingerprint:
        raise AnchorError(
            f"the anchor bank was made with {bank.encoder.name} ({bank.encoder.fingerprint}) and the captions would be "
            f"read with {encoder.name} ({encoder.fingerprint})",
            "build the bank with the same encoder",
        )
    if not captions:
        raise ScoresError("there are no captions", "give at least one")
    texts = per_snippet(captions, max(1, frame_count // SNIPPET_FRAMES))
    distinct = list(dict.fromkeys(texts))
    row = {text: i for i, text in enumerate(distinct)}
    vectors = encoder.encode(distinct)[[row[text] for text in texts]]  # [T, d]
    concepts = np.asarray(vectors @ bank.concept_vectors.T, np.float32)  # [T, P]
    rule = rule or CaptionRule()
    margin = smoothed_margin(category_similarity(concepts, bank, rule.temperature), bank.normal, rule)
    scores = expit((margin - rule.middle) / rule.scale).astype(np.float32)
    return CaptionScores(scores, np.asarray(vectors @ bank.anchors.T, np.float32), concepts, texts)


def category_similarity(concepts: NDArray[np.float32], bank: AnchorBank, temperature: float) -> NDArray[np.float32]:
    """Soft maximum over the concepts of each category, float32 [T, C]: ``t log mean exp(K / t)``."""
    columns = []
    for index in range(len(bank.categories)):
        own = concepts[:, bank.concept_category == index] / temperature
        columns.append(temperature * (logsumexp(own, axis=1) - np.log(own.shape[1])))
    return np.stack(columns, axis=1).astype(np.float32)


def smoothed_margin(alignment: NDArray[np.float32], normal: int, rule: CaptionRule) -> NDArray[np.float64]:
    """Soft maximum of the abnormal categories minus Normal, smoothed, with the video's own level mixed in; [T]."""
    abnormal = np.delete(alignment, normal, axis=1).astype(np.float64) / rule.temperature
    highest = rule.temperature * (logsumexp(abnormal, axis=1) - np.log(abnormal.shape[1]))
    margin = highest - alignment[:, normal]
    smooth = uniform_filter1d(margin, min(rule.window, len(margin)), mode="nearest")
    level = np.sort(smooth)[-max(1, len(smooth) // rule.top) :].mean()
    return np.asarray((1 - rule.video_share) * smooth + rule.video_share * level)
