"""Videos to features: one video in memory, or a folder of videos into a feature store."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.console import Advance, progress
from kgvad.errors import KgvadError, UsageError, VideoError
from kgvad.files import refuse_inputs
from kgvad.processes import serve_parent, worker_context
from kgvad.video.decode import SUFFIXES, VideoInfo, VideoReader
from kgvad.video.encoders.base import VisualEncoder, load_visual_encoder
from kgvad.video.feature_arrays import check_finite, write_array
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry, WindowRule, check_name
from kgvad.video.frame_quality import FrameFacts, FrameMeter

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
    threads: int = 0,
    advance: Advance | None = None,
) -> ExtractedVideo:
    """Features of one video; decoding runs beside encoding, at most three batches ahead.

    Parameters
    ----------
    path
        The video.
    encoder
        From :func:`~kgvad.video.encoders.base.load_visual_encoder`.
    threads
        Decoder threads; 0 takes one per core.
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
    reader = VideoReader(path, threads=threads, observe=meter)
    reader.size = encoder.decode_size(reader.info.width, reader.info.height)
    rows: list[NDArray[np.float32]] = []
    for batch in prefetched(_batches(encoder.sampling.clips(reader), encoder.batch), depth=2):
        rows.append(encoder.encode(batch))
        if advance is not None:
            advance(len(batch))
    features = np.concatenate(rows)  # [T, D] or [T, crops, D]
    if features.ndim == 3:
        features = np.ascontiguousarray(features.transpose(1, 0, 2))
    check_finite(features, f"features of {path}")
    facts = meter.facts()
    entry = entry_of(
        reader.info, features.shape[-2], encoder.sampling.stride, encoder.sampling.edges(reader.info), facts
    )
    return ExtractedVideo(features, reader.info, entry, facts)


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
    """Videos of a folder and its sub-folders, or the one file, by identifier.

    The identifier is the path inside the folder without the suffix; two files that differ in the
    suffix only keep it.

    Raises
    ------
    UsageError
        No such folder or file, or no video in it.
    """
    source = Path(source)
    if not source.exists():
        raise UsageError(f"{source} does not exist", "name a video or a folder of videos")
    if not source.is_dir():
        return {source.stem: source}
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
    if not files:
        raise UsageError(f"{source} holds no video", f"videos end in {' '.join(SUFFIXES)}")
    names = [path.relative_to(source).with_suffix("").as_posix() for path in files]
    return {
        name if names.count(name) == 1 else path.relative_to(source).as_posix(): path
        for name, path in zip(names, files, strict=True)
    }


@dataclass
class Extraction:
    """What :func:`extract_folder` did: the store, and identifiers of new, reused and failed videos."""

    store: FeatureStore
    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # identifier -> one-line reason


def extract_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    encoder: VisualEncoder,
    *,
    workers: int | None = None,
    encoder_name: str | None = None,
) -> Extraction:
    """Extract every video of a folder into the store ``<output>/<encoder>``.

    Videos whose features are there already are reused, so an interrupted extraction goes on where it
    stopped. A video that cannot be read is reported and does not stop the rest.

    Parameters
    ----------
    source
        Folder (searched with its sub-folders) or one video.
    output
        Root of the feature stores.
    encoder
        From :func:`~kgvad.video.encoders.base.load_visual_encoder`.
    workers
        Processes. Default: one per core for several videos on a CPU, where one single-threaded
        process per core is faster than one process with a thread per core; otherwise one.
    encoder_name
        What to give ``load_visual_encoder`` in the worker processes, where it is not the encoder's name (a path).

    Raises
    ------
    UsageError
        No video there.
    FeatureError
        The store holds features of another fingerprint.
    """
    videos = find_videos(source)
    refuse_inputs({"--output": output, "the feature store": Path(output) / encoder.name}, [source, *videos.values()])
    store = FeatureStore.create(output, manifest_of(encoder))
    result = Extraction(store)
    todo: dict[str, Path] = {}
    for video, path in videos.items():
        if _is_current(store, video, path):
            result.reused.append(video)
        else:
            todo[video] = path
    if result.reused:
        logger.info(f"{len(result.reused)} of {len(videos)} videos have their features already")
    workers = workers if workers is not None else _default_workers(encoder, len(todo))
    with progress("extracting features", len(todo)) as advance:
        outcomes = (
            _in_processes(todo, store, encoder, encoder_name or encoder.name, min(workers, len(todo)))
            if workers > 1 and len(todo) > 1
            else _one_by_one(todo, store, encoder)
        )
        for video, entry, reason in outcomes:
            advance()
            if entry is None:
                result.failed[video] = reason
                logger.warning(reason)
            else:
                store.enter(video, entry)
                result.made.append(video)
    return result


def _is_current(store: FeatureStore, video: str, path: Path) -> bool:
    entry = store.manifest.videos.get(video)
    if entry is None or not store.path(video).is_file():
        return False
    try:
        status = path.stat()
    except OSError:  # it went away: extraction says so
        return False
    return (entry.source_bytes, entry.source_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _default_workers(encoder: VisualEncoder, videos: int) -> int:
    device: Any = getattr(encoder, "device", None)
    if device is not None and device.type != "cpu":
        return 1
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, videos)


Outcome = tuple[str, VideoEntry | None, str]  # identifier, entry or None, reason of failure


def _extract_one(video: str, path: Path, target: Path, encoder: VisualEncoder, threads: int) -> Outcome:
    """Extract one video and write its array; every error that belongs to this video becomes a reason."""
    try:
        check_name(video)
        made = extract_video(path, encoder, threads=threads)
        write_array(target, made.features, video)
        return video, made.entry, ""
    except KgvadError as error:
        return video, None, " ".join(str(error).split())
    except Exception as error:  # a decoder bug met in one file must not cost the other thousand
        return video, None, f"{path} failed unexpectedly ({type(error).__name__}: {error})"


def _one_by_one(todo: dict[str, Path], store: FeatureStore, encoder: VisualEncoder) -> Iterator[Outcome]:
    for video, path in todo.items():
        yield _extract_one(video, path, store.path(video), encoder, threads=0)


_worker_encoder: VisualEncoder | None = None  # of this worker process, loaded once by the initializer


def _start_worker(name: str, options: dict[str, Any], device: str) -> None:
    global _worker_encoder
    import torch

    serve_parent()
    torch.set_num_threads(1)
    _worker_encoder = load_visual_encoder(name, device, **options)


def _extract_in_worker(video: str, path: Path, target: Path) -> Outcome:
    assert _worker_encoder is not None
    return _extract_one(video, path, target, _worker_encoder, threads=1)


def _in_processes(
    todo: dict[str, Path], store: FeatureStore, encoder: VisualEncoder, name: str, workers: int
) -> Iterator[Outcome]:
    device = str(getattr(encoder, "device", "cpu"))
    pool = ProcessPoolExecutor(
        workers,
        mp_context=worker_context(),
        initializer=_start_worker,
        initargs=(name, asdict(encoder.sampling.options()), device),
    )
    try:
        # big files first, so that no process is left alone with one at the end
        order: Sequence[str] = sorted(todo, key=lambda video: -_size(todo[video]))
        futures: dict[Future[Outcome], str] = {
            pool.submit(_extract_in_worker, video, todo[video], store.path(video)): video for video in order
        }
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise VideoError(
                    f"a worker process died while extracting ({futures[future]} or one beside it)",
                    "run the same command again, with --workers 1 if memory is short",
                ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
