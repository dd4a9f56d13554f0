"""Features of one video, and what a feature store keeps about it."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.console import Advance
from kgvad.errors import UsageError
from kgvad.video.container import SOFTWARE, Decoding
from kgvad.video.decode import SUFFIXES, VideoInfo, VideoReader
from kgvad.video.feature_arrays import check_finite
from kgvad.video.feature_store import Manifest, VideoEntry, WindowRule
from kgvad.video.frame_quality import FrameFacts, FrameMeter
from kgvad.video.inputs import common_folder, is_list, is_pattern, named_files
from kgvad.video.video_ids import video_id, without_suffix

if TYPE_CHECKING:  # it imports torch, which tasks that only decode do without
    from kgvad.video.encoders.base import VisualEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExtractedVideo:
    """Features of one video.

    Attributes
    ----------
    features
        float32 [T, D], or [crops, T, D].
    info
        Exact facts about the video.
    entry
        What a feature store keeps about it; ``entry.spans()`` gives the frames [start, end) of each row and
        ``entry.quality`` says which rows show no scene.
    frames
        Luma, contrast, change and kind of every frame; ``frames.rows(entry.spans())`` gives them for each row.
    """

    features: NDArray[np.float32]
    info: VideoInfo
    entry: VideoEntry
    frames: FrameFacts


def extract_video(
    path: str | os.PathLike[str],
    encoder: VisualEncoder,
    *,
    decoding: Decoding = SOFTWARE,
    advance: Advance | None = None,
) -> ExtractedVideo:
    """Features of one video; decoding runs beside encoding, at most three batches ahead.

    Parameters
    ----------
    path
        The video.
    encoder
        From :func:`~kgvad.video.encoders.base.load_visual_encoder`.
    decoding
        Decoder threads, hardware, and what happens at damage.
    advance
        Called with the number of finished rows.

    Raises
    ------
    VideoError
        The video cannot be read, or it is shorter than one snippet and the encoder needs whole snippets.
    FeatureError
        The encoder gave values that are not finite.
    """
    meter = FrameMeter()
    reader = VideoReader(path, decoding=decoding, observe=meter)
    reader.size = encoder.decode_size(reader.info.width, reader.info.height)
    rows: list[NDArray[np.float32]] = []
    for batch in prefetched(_batches(encoder.sampling.clips(reader), encoder.batch), depth=2):
        rows.append(encoder.encode(batch))
        if advance is not None:
            advance(len(batch))
    features = finished_features(rows, path)
    facts = meter.facts()
    entry = entry_of(
        reader.info, features.shape[-2], encoder.sampling.stride, encoder.sampling.edges(reader.info), facts
    )
    return ExtractedVideo(features, reader.info, entry, facts)


def finished_features(batches: Sequence[NDArray[np.float32]], path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Features [T, D] or [crops, T, D] from what an encoder gave for the batches of a video, in their order.

    Raises
    ------
    FeatureError
        A value is not finite.
    """
    features = np.concatenate(batches)  # [T, D] or [T, crops, D]
    if features.ndim == 3:
        features = np.ascontiguousarray(features.transpose(1, 0, 2))
    check_finite(features, f"features of {path}")
    return features


def _batches(clips: Iterator[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    batch: list[NDArray[np.uint8]] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def prefetched(items: Iterator[NDArray[np.uint8]], depth: int) -> Iterator[NDArray[np.uint8]]:
    """The same items, made in a thread up to ``depth`` ahead; its exception is raised here."""
    queue: Queue[tuple[NDArray[np.uint8] | None, BaseException | None]] = Queue(depth)
    stopped = Event()

    def work() -> None:
        try:
            for item in items:
                queue.put((item, None))
                if stopped.is_set():
                    return
            queue.put((None, None))
        except BaseException as error:
            queue.put((None, error))

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # let a full queue drain so that the thread sees the flag
            while not queue.empty():
                queue.get_nowait()
            thread.join(0.02)


def entry_of(
    info: VideoInfo,
    rows: int,
    stride: int,
    edges: NDArray[np.int64] | None = None,
    frames: FrameFacts | None = None,
) -> VideoEntry:
    """The manifest's entry of a decoded video.

    Parameters
    ----------
    info
        Exact facts about the video.
    rows
        Rows of features, T.
    stride
        Frames per snippet.
    edges
        First frame of each row and the end of the last, int64 [T + 1]; ``None``: row i begins at frame i stride.
    frames
        Measurements of the frames, for the quality of the rows.
    """
    times = None
    if info.variable_rate:
        starts = range(0, rows * stride, stride) if edges is None else edges[:-1].tolist()
        times = [*(info.seconds(frame) for frame in starts), info.duration_s]
    status = info.path.stat()
    entry = VideoEntry(
        frame_count=info.frame_count,
        fps=info.fps,
        rows=rows,
        layout="uniform" if edges is None else "spans",
        stride=stride,
        edges=None if edges is None else edges.tolist(),
        times_s=times,
        source=info.path.name,
        source_bytes=status.st_size,
        source_mtime_ns=status.st_mtime_ns,
    )
    return entry if frames is None else entry.model_copy(update={"quality": list(frames.rows(entry.spans()).quality)})


def manifest_of(encoder: VisualEncoder) -> Manifest:
    """An empty manifest for the features that ``encoder`` makes."""
    sampling = encoder.sampling
    rule = sampling.rule()
    return Manifest(
        encoder=encoder.name,
        dim=encoder.dim,
        weights=encoder.weights,
        crop=sampling.crop,
        crops=sampling.crops,
        temporal=sampling.temporal,
        stride=sampling.stride,
        columns=None if encoder.columns is None else list(encoder.columns),
        rule=None if rule is None else WindowRule(**rule),
        fingerprint=encoder.fingerprint,
    )


def find_videos(source: str | os.PathLike[str]) -> dict[str, Path]:
    """Videos by identifier: of a folder and its sub-folders, a glob or a list file, or the one file.

    The identifier is the path without the suffix, inside the folder, or inside the deepest folder that holds all files
    of a glob or list. Two files that differ in the suffix only keep it.

    Raises
    ------
    UsageError
        No such folder or file, no video in it, or a list is wrong.
    """
    source = Path(source)
    if is_pattern(source) or is_list(source):
        files = [path.absolute() for path in named_files(source)]
        return _identified(files, common_folder(files))
    if not source.exists():
        raise UsageError(f"{source} does not exist", "name a video or a folder of videos")
    if not source.is_dir():
        return {video_id(source): source}
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
    if not files:
        raise UsageError(f"{source} holds no video", f"videos end in {' '.join(SUFFIXES)}")
    return _identified(files, source)


def _identified(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    names = [path.relative_to(folder).with_name(without_suffix(path.name)).as_posix() for path in files]
    counts = Counter(names)
    return {
        name if counts[name] == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(names, files, strict=True)
    }
