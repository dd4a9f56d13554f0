"""A folder of videos into a feature store, in parallel: a video that fails costs that video only."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from kgvad.console import count_of, progress
from kgvad.device import cores, use_one_thread
from kgvad.errors import FeatureError, VideoError, failure_of, one_line
from kgvad.files import refuse_inputs
from kgvad.processes import serve_parent, worker_context, workers_end_with_errors
from kgvad.ray_cluster import RayCluster
from kgvad.types import Fields
from kgvad.video.container import SOFTWARE, Decoding
from kgvad.video.encoders.base import VisualEncoder, load_visual_encoder, options_of
from kgvad.video.extract import ExtractedVideo, extract_videos, find_videos, manifest_of
from kgvad.video.feature_arrays import write_array
from kgvad.video.feature_store import FeatureStore, VideoEntry, check_name

logger = logging.getLogger(__name__)


@dataclass
class Extraction:
    """What :func:`extract_folder` did: the store, identifiers of new, reused and failed videos, and the footage.

    ``footage_s`` is the length of the new videos and ``elapsed_s`` the time that they took, both in seconds.
    """

    store: FeatureStore
    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # identifier -> one-line reason
    footage_s: float = 0.0
    elapsed_s: float = 0.0

    def summary(self) -> str:
        """Counts, minutes of footage and speed, in one line."""
        counts = f"{count_of(len(self.made), 'video')} extracted, {len(self.reused)} reused, {len(self.failed)} failed"
        if not self.made or self.elapsed_s <= 0:
            return counts
        speed = self.footage_s / self.elapsed_s
        return f"{counts}; {self.footage_s / 60:.1f} minutes of footage at {speed:.1f} times real time"


def extract_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    encoder: VisualEncoder,
    *,
    workers: int | None = None,
    encoder_name: str | None = None,
    decoding: Decoding = SOFTWARE,
    cluster: RayCluster | None = None,
) -> Extraction:
    """Extract every video of a folder into the store ``<output>/<encoder>``.

    Videos whose features are there already are reused, so an interrupted extraction goes on where it
    stopped. A video that cannot be read is reported and does not stop the rest.

    Parameters
    ----------
    source
        Folder (searched with its sub-folders), one video, a glob or a list of videos.
    output
        Root of the feature stores.
    encoder
        From :func:`~kgvad.video.encoders.base.load_visual_encoder`.
    workers
        Processes. Default: one per core for several videos on a CPU, where one single-threaded
        process per core is faster than one process with a thread per core; otherwise one.
    encoder_name
        What to give ``load_visual_encoder`` in the worker processes, where it is not the encoder's name (a path).
    decoding
        Hardware, and whether damage is an error. Threads are chosen here: all cores for one process, else one each.
    cluster
        Work on a Ray cluster instead of in processes of this machine; ``workers`` then does not apply.

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
    todo = _without_features(videos, result)
    workers = workers if workers is not None else _default_workers(encoder, len(todo))
    started = time.monotonic()
    with progress("extracting features", len(todo)) as advance, _Entries(store) as entries:
        if cluster is not None:
            outcomes = _on_cluster(todo, store, encoder, encoder_name or encoder.name, decoding, cluster)
        elif workers > 1 and len(todo) > 1:
            outcomes = _in_processes(
                todo, store, encoder, encoder_name or encoder.name, min(workers, len(todo)), decoding
            )
        else:
            outcomes = _one_by_one(todo, store, encoder, decoding)
        with closing(outcomes):
            for video, entry, reason in outcomes:
                if entry is not None:
                    result.footage_s += entry.frame_count / entry.fps
                    result.elapsed_s = time.monotonic() - started
                advance(1, _footage(result))
                if entry is None:
                    result.failed[video] = reason
                    logger.warning(reason)
                else:
                    entries.add(video, entry)
                    result.made.append(video)
    return result


def _without_features(videos: Mapping[str, Path], result: Extraction) -> dict[str, Path]:
    """The videos that are to be extracted; those that need not or cannot be are noted in ``result``."""
    todo: dict[str, Path] = {}
    for video, path in videos.items():
        try:
            check_name(video)
        except FeatureError as error:
            result.failed[video] = one_line(error)
            logger.warning(result.failed[video])
            continue
        if is_current(result.store, video, path):
            result.reused.append(video)
        else:
            todo[video] = path
    if result.reused:
        logger.info(f"{len(result.reused)} of {len(videos)} videos have their features already")
    return todo


class _Entries:
    """Entries on their way into the manifest, which is written no longer than a tenth of the time.

    The manifest of a thousand hours is several megabytes. What a kill finds unwritten is extracted again.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._waiting: dict[str, VideoEntry] = {}
        self._next = 0.0

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, video: str, entry: VideoEntry) -> None:
        """Enter a video, now or with the next ones."""
        self._waiting[video] = entry
        if time.monotonic() >= self._next:
            self._write()

    def _write(self) -> None:
        started = time.monotonic()
        if self._waiting:
            self._store.enter(self._waiting)
            self._waiting = {}
        self._next = time.monotonic() + 10 * (time.monotonic() - started)


def _footage(result: Extraction) -> str:
    """What a progress bar says after a video."""
    if result.elapsed_s <= 0:
        return "extracting features"
    speed = result.footage_s / result.elapsed_s
    return f"extracting features, {result.footage_s / 60:.0f} min of footage, {speed:.1f} times real time"


def is_current(store: FeatureStore, video: str, path: Path) -> bool:
    """Whether the store has the features of the video as the file at ``path`` is now, by its size and time."""
    entry = store.manifest.videos.get(video)
    if entry is None or not store.path(video).is_file():
        return False
    try:
        status = path.stat()
    except OSError:  # it went away: extraction says so
        return False
    return (entry.source_bytes, entry.source_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _default_workers(encoder: VisualEncoder, videos: int) -> int:
    return min(cores(), videos) if str(getattr(encoder, "device", "cpu")) == "cpu" else 1


Outcome = tuple[str, VideoEntry | None, str]  # identifier, entry or None, reason of failure


def _extract_one(video: str, path: Path, target: Path, encoder: VisualEncoder, decoding: Decoding) -> Outcome:
    """Extract one video and write its array."""
    (result,) = extract_videos([path], encoder, decoding=decoding)
    return _outcome(video, path, target, result)


def _outcome(video: str, path: Path, target: Path, result: ExtractedVideo | Exception) -> Outcome:
    """Write the array of a video; every error that belongs to this video becomes a reason."""
    try:
        if isinstance(result, Exception):
            raise result
        write_array(target, result.features, video)
        return video, result.entry, ""
    except Exception as error:  # a decoder bug met in one file must not cost the other thousand
        return video, None, failure_of(path, error)


def _one_by_one(
    todo: dict[str, Path], store: FeatureStore, encoder: VisualEncoder, decoding: Decoding
) -> Generator[Outcome, None, None]:
    with closing(extract_videos(list(todo.values()), encoder, decoding=replace(decoding, threads=0))) as results:
        for (video, path), result in zip(todo.items(), results, strict=True):
            yield _outcome(video, path, store.path(video), result)


def _on_cluster(
    todo: dict[str, Path], store: FeatureStore, encoder: VisualEncoder, name: str, decoding: Decoding, on: RayCluster
) -> Generator[Outcome, None, None]:
    from kgvad.video.extract_cluster import extract_on_cluster

    largest_first = {video: todo[video] for video in sorted(todo, key=lambda video: -_size(todo[video]))}
    return extract_on_cluster(largest_first, store, encoder, name, decoding, on)


_worker_encoder: VisualEncoder | None = None  # of this worker process, loaded once by the initializer


def _start_worker(name: str, options: Fields, device: str) -> None:
    global _worker_encoder
    serve_parent()
    use_one_thread()
    _worker_encoder = load_visual_encoder(name, device, **options)


def _extract_in_worker(video: str, path: Path, target: Path, decoding: Decoding) -> Outcome:
    assert _worker_encoder is not None
    try:
        return _extract_one(video, path, target, _worker_encoder, replace(decoding, threads=1))
    except SystemExit:  # terminated; the pool would go on with the next video
        os._exit(1)


def _in_processes(
    todo: dict[str, Path], store: FeatureStore, encoder: VisualEncoder, name: str, workers: int, decoding: Decoding
) -> Generator[Outcome, None, None]:
    options = (name, asdict(options_of(encoder)), str(getattr(encoder, "device", "cpu")))
    # big files first, so that no process is left alone with one at the end
    waiting = sorted(todo, key=lambda video: -_size(todo[video]))
    while waiting:
        pool = ProcessPoolExecutor(workers, worker_context(), initializer=_start_worker, initargs=options)
        futures: dict[Future[Outcome], str] = {}
        try:
            with workers_end_with_errors():
                _await_start(pool)
                for video in waiting:
                    futures[pool.submit(_extract_in_worker, video, todo[video], store.path(video), decoding)] = video
                for future in as_completed(futures):
                    outcome = future.result()
                    waiting.remove(futures[future])
                    yield outcome
        except BrokenProcessPool:  # out of memory, or a fault in a decoder
            for future, video in futures.items():
                if video in waiting and future.done() and future.exception() is None:
                    waiting.remove(video)
                    yield future.result()
            if workers == 1:  # videos run in order, so the first that is not done ended the process
                video = waiting.pop(0)
                yield (
                    video,
                    None,
                    f"{todo[video]} ended the process that extracted it (damaged file, or memory is short)",
                )
            workers = 1
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _await_start(pool: ProcessPoolExecutor) -> None:
    """Wait until a worker has its encoder; otherwise every video would be blamed for what ends workers at the start."""
    try:
        pool.submit(_size, Path()).result()
    except BrokenProcessPool as error:
        raise VideoError(
            "a worker process died before its first video", "run again with --workers 1; see --debug"
        ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
