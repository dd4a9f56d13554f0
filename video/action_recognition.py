"""What I3D recognises in parts of a video: Kinetics-400 actions with probabilities.

Kinetics shows single people at everyday activities and sports, so on surveillance footage these names
are hints about motion ("punching person", "extinguishing fire"), not findings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kgvad.errors import UsageError
from kgvad.video.action_labels import action_labels
from kgvad.video.decode import VideoInfo, probe
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.seek import read_frames
from kgvad.video.windows import FRAMES, RATE_HZ


def action_probabilities(
    path: str | os.PathLike[str],
    spans: Sequence[tuple[int, int]],
    *,
    device: str = "cpu",
    windows: int = 3,
    info: VideoInfo | None = None,
) -> NDArray[np.float64]:
    """Probabilities of the 400 actions in spans of frames; only those frames are decoded.

    Parameters
    ----------
    path
        The video.
    spans
        Frames [start, end).
    device
        Torch device.
    windows
        At most this many windows of 1.8 s, evenly spaced in a span, are encoded; their probabilities are averaged.
    info
        Exact facts about the video, where they are known.

    Returns
    -------
    numpy.ndarray
        float64 [spans, 400], in the order of :func:`~kgvad.video.action_labels.action_labels`.

    Raises
    ------
    UsageError
        A span is empty or not in the video.
    VideoError, WeightsError
        The video or the weights cannot be read.
    """
    if not spans:
        return np.zeros((0, len(action_labels())))
    if info is None or info.frame_times is None:
        info = probe(path, exact=True)
    for start, end in spans:
        if not 0 <= start < end <= info.frame_count:
            raise UsageError(f"frames {start} to {end} are not a part of {path}", f"it has {info.frame_count} frames")
    encoder = load_visual_encoder("i3d-actions", device)
    size = encoder.decode_size(info.width, info.height)
    results = []
    for start, end in spans:
        chosen = window_frames(info, start, end, windows)
        frames = read_frames(path, sorted(set(chosen.ravel().tolist())), size=size, info=info)
        logits = encoder.encode(np.stack([[frames[i] for i in window] for window in chosen]))
        results.append(softmax(logits.astype(np.float64), axis=-1).mean(axis=0))
    return np.stack(results)


def window_frames(info: VideoInfo, start: int, end: int, windows: int) -> NDArray[np.int64]:
    """Frames of at most ``windows`` windows evenly spaced in frames [start, end), int64 [n, 18], .1 s apart.

    A span shorter than a window is widened within the video; in a shorter video the last frame is repeated.
    """
    length = FRAMES / RATE_HZ
    begin, finish = info.seconds(start), info.seconds(end)
    if finish - begin < length:
        begin = (begin + finish - length) / 2
    begin = max(0.0, min(begin, info.duration_s - length))
    last = max(begin, min(finish, info.duration_s) - length)
    count = max(1, min(windows, round((finish - begin) / length)))
    starts = np.linspace(begin, last, count) if count > 1 else np.array([(begin + last) / 2])
    times = starts[:, None] + np.arange(FRAMES) / RATE_HZ
    shown = info.frame_times
    if shown is None:
        shown = np.arange(info.frame_count) / info.fps
    between = (shown[:-1] + shown[1:]) / 2  # times at which the nearest frame changes
    return np.searchsorted(between, times + 1e-6, side="right").astype(np.int64)  # a tie goes to the later frame
