"""What I3D recognises in parts of a video: Kinetics-400 actions with probabilities.

Kinetics shows single people at everyday activities and sports, so on surveillance footage these names
are hints about motion ("punching person", "extinguishing fire"), not findings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.decode import VideoInfo, probe, read_frames
from kgvad.video.encoders.base import I3DEncoder, load_visual_encoder

CLIP_FRAMES = 2 * SNIPPET_FRAMES
"""Frames given to I3D at once: it was trained on 64, and gives steadier answers on 32 than on 16."""


@cache
def action_labels() -> tuple[str, ...]:
    """The 400 class names, in the order of the logits."""
    text = files("kgvad.video").joinpath("labels/kinetics400.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def recognise_actions(
    path: str | os.PathLike[str],
    spans: Sequence[tuple[int, int]],
    top: int = 5,
    *,
    device: str = "cpu",
    clips: int = 3,
    info: VideoInfo | None = None,
) -> list[list[tuple[str, float]]]:
    """The likeliest Kinetics-400 actions in spans of frames; only those frames are decoded.

    Parameters
    ----------
    path
        The video.
    spans
        Frames [start, end).
    top
        Actions per span.
    device
        Torch device.
    clips
        At most this many clips of 32 frames, evenly spaced in the span, are looked at; their probabilities
        are averaged. A clip takes about 2 seconds on one core.
    info
        Exact facts about the video, where they are known.

    Returns
    -------
    list
        For each span, (label, probability) by falling probability.

    Raises
    ------
    UsageError
        A span is empty or not in the video.
    VideoError, WeightsError
        The video or the weights cannot be read.
    """
    if not spans:
        return []
    if info is None or info.frame_times is None:
        info = probe(path, exact=True)
    for start, end in spans:
        if not 0 <= start < end <= info.frame_count:
            raise UsageError(f"frames {start} to {end} are not a part of {path}", f"it has {info.frame_count} frames")
    encoder = load_visual_encoder("i3d", device)
    assert isinstance(encoder, I3DEncoder)
    size = encoder.decode_size(info.width, info.height)
    labels = action_labels()
    results = []
    for start, end in spans:
        picked = clip_frames(start, end, info.frame_count, clips)
        found = read_frames(path, sorted(set(picked.ravel().tolist())), size=size, info=info)
        chances = np.mean(
            [encoder.probabilities(np.stack([found[i] for i in clip])[None])[0] for clip in picked], axis=0
        )
        best = np.argsort(-chances)[:top]
        results.append([(labels[i], float(chances[i])) for i in best])
    return results


def clip_frames(start: int, end: int, frame_count: int, clips: int) -> NDArray[np.int64]:
    """Frame indices of the clips, int64 [n, frames]; a span shorter than a clip is widened within the video."""
    frames = min(CLIP_FRAMES, frame_count)
    if end - start < frames:
        start = max(0, min((start + end - frames) // 2, frame_count - frames))
        end = start + frames
    count = max(1, min(clips, (end - start) // frames))
    starts = (
        np.linspace(start, end - frames, count + 2)[1:-1] if count < clips else np.linspace(start, end - frames, count)
    )
    if count == 1:
        starts = np.array([(start + end - frames) / 2])
    return starts.astype(np.int64)[:, None] + np.arange(frames)
