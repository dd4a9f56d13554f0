"""Features of one video, and what a feature store keeps about it."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from kgvad.console import Advance
from kgvad.errors import FeatureError, UsageError
from kgvad.plugins import REMEDY
from kgvad.video.container import SOFTWARE, Decoding
from kgvad.video.decode import VideoInfo, VideoReader
from kgvad.video.feature_arrays import check_finite
from kgvad.video.feature_store import Manifest, VideoEntry, WindowRule
from kgvad.video.frame_quality import FrameFacts, FrameMeter
from kgvad.video.inputs import absolute_files, common_folder, files_below, is_list, is_pattern
from kgvad.video.video_ids import VIDEO_SUFFIXES, video_id, without_suffix

if TYPE_CHECKING:  # it imports torch, which tasks that only decode do without
    from kgvad.video.encoders.base import VisualEncoder

logger = logging.getLogger(__name__)

AHEAD = 2  # batches that wait for the encoder, beside the one that it encodes and the one that is decoded
T = TypeVar("T")


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
        Decoder threads, hardware, and how damage is handled.
    advance
        Called with the number of finished rows.

    Raises
    ------
    VideoError
        The video cannot be read, or it is shorter than one snippet and the encoder needs whole snippets.
    FeatureError
        The encoder returned values that are not finite, or features of a different shape than it declares.
    """
    (made,) = extract_videos([path], encoder, decoding=decoding, advance=advance)
    if isinstance(made, Exception):
        raise made
    return made


def extract_videos(
    paths: Sequence[str | os.PathLike[str]],
    encoder: VisualEncoder,
    *,
    decoding: Decoding = SOFTWARE,
    advance: Advance | None = None,
) -> Generator[ExtractedVideo | Exception, None, None]:
    """Features of several videos, in order; the next is decoded while the last batches of one are encoded.

    The features are those of :func:`extract_video`: a batch holds clips of one video only. An exception that belongs to
    a video takes its place.
    """
    ended: set[int] = set()
    rows = _Rows()
    with closing(prefetched(_decoded(paths, encoder, decoding, ended), AHEAD)) as messages:
        for number, content in messages:
            if number in ended:
                continue
            result: ExtractedVideo | Exception
            try:
                if isinstance(content, np.ndarray):
                    rows.append(encoded(encoder, content))
                    if advance is not None:
                        advance(len(content))
                    continue
                result = content if isinstance(content, Exception) else _finished(rows, paths[number], encoder, content)
            except Exception as error:
                result = error
            ended.add(number)
            rows = _Rows()
            yield result


def encoded(encoder: VisualEncoder, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features of clips, [B, D] or [B, crops, D].

    Raises
    ------
    FeatureError
        The encoder, of another package, gave another shape.
    """
    features, crops = encoder.encode(clips), encoder.sampling.crops
    expected = (len(clips), encoder.dim) if crops == 1 else (len(clips), crops, encoder.dim)
    if features.shape != expected:
        message = f"{encoder.name} gave features of shape {list(features.shape)} instead of {list(expected)}"
        raise FeatureError(message, REMEDY)
    return features


Facts = tuple[VideoInfo, FrameFacts]  # of a video that was decoded to its end


def _decoded(
    paths: Sequence[str | os.PathLike[str]], encoder: VisualEncoder, decoding: Decoding, ended: set[int]
) -> Iterator[tuple[int, NDArray[np.uint8] | Facts | Exception]]:
    """For each video its position with each batch of clips, then with its facts or what went wrong."""
    for number, path in enumerate(paths):
        try:
            meter = FrameMeter()
            reader = VideoReader(path, decoding=decoding, observe=meter)
            reader.size = encoder.decode_size(reader.info.width, reader.info.height)
            with closing(_batches(encoder.sampling.clips(reader), encoder.batch)) as batches:
                for batch in batches:
                    yield number, batch
                    if number in ended:
                        break
                else:
                    yield number, (reader.info, meter.facts())
        except Exception as error:
            yield number, error


class _Rows:
    """Features of a video as they come, in one array that grows.

    A list of them would lie between the pictures of the batches in memory. Each would split a place that pictures left,
    so that the next ones need a new place, and memory would grow by a batch of pictures with every batch.
    """

    def __init__(self) -> None:
        self._array: NDArray[np.float32] | None = None
        self._count = 0

    def append(self, batch: NDArray[np.float32]) -> None:
        """Copy the features of a batch, [B, D] or [B, crops, D]."""
        end = self._count + len(batch)
        if self._array is None or end > len(self._array):
            larger = np.empty((2 * end, *batch.shape[1:]), batch.dtype)
            if self._array is not None:
                larger[: self._count] = self._array[: self._count]
            self._array = larger
        self._array[self._count : end] = batch
        self._count = end

    def array(self) -> NDArray[np.float32]:
        """All so far, [T, D] or [T, crops, D]."""
        assert self._array is not None
        return self._array[: self._count]


def _finished(rows: _Rows, path: str | os.PathLike[str], encoder: VisualEncoder, facts: Facts) -> ExtractedVideo:
    features = finished_features([rows.array()], path)
    info, frames = facts
    sampling = encoder.sampling
    entry = entry_of(info, features.shape[-2], sampling.stride, sampling.edges(info), frames)
    return ExtractedVideo(features, info, entry, frames)


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


def _batches(clips: Iterator[NDArray[np.uint8]], size: int) -> Generator[NDArray[np.uint8], None, None]:
    while batch := list(islice(clips, size)):
        yield np.stack(batch)


def prefetched(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """The same items, made in a thread up to ``depth`` ahead; its exception is raised here."""
    queue: Queue[tuple[T] | BaseException | None] = Queue(depth)  # None: the end
    stopped = Event()

    def work() -> None:
        try:
            for item in items:
                queue.put((item,))
                if stopped.is_set():
                    return
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    thread = Thread(target=work, name="decoding", daemon=True)
    thread.start()
    try:
        while (message := queue.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            yield message[0]
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
    from kgvad.video.encoders.base import options_of

    sampling, precision = encoder.sampling, options_of(encoder).precision
    rule = sampling.rule()
    return Manifest(
        encoder=encoder.name,
        dim=encoder.dim,
        weights=encoder.weights,
        crop=sampling.crop,
        crops=sampling.crops,
        temporal=sampling.temporal,
        stride=sampling.stride,
        precision=None if precision == "fp32" else precision,
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
        files = absolute_files(source)
        return _identified(files, common_folder(files))
    if not source.exists():
        raise UsageError(f"{source} does not exist", "name a video or a folder of videos")
    if not source.is_dir():
        return {video_id(source): source}
    files = [path for path in files_below(source) if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "."]
    if not files:
        raise UsageError(f"{source} holds no video", f"videos end in {' '.join(VIDEO_SUFFIXES)}")
    return _identified(files, source)


def _identified(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    names = [path.relative_to(folder).with_name(without_suffix(path.name)).as_posix() for path in files]
    counts = Counter(names)
    return {
        name if counts[name] == 1 else path.relative_to(folder).as_posix(): path
        for name, path in zip(names, files, strict=True)
    }
