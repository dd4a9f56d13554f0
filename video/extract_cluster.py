"""Features of many videos on a Ray cluster: tasks decode, actors encode, and the caller writes.

The same clips are encoded in the same batches as by :func:`~kgvad.video.extract.extract_video`, so the features are the
same bytes. Videos must have the same path on every node.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import KgvadError, failure_of, one_line
from kgvad.ray_cluster import Model, RayCluster, Row, noted_warnings
from kgvad.types import Fields
from kgvad.video.container import Decoding
from kgvad.video.decode import VideoReader, probe
from kgvad.video.extract import encoded, entry_of, finished_features
from kgvad.video.feature_arrays import write_array
from kgvad.video.feature_store import FeatureStore, VideoEntry, check_name
from kgvad.video.frame_quality import FrameMeter
from kgvad.video.sampling import SamplingRule

if TYPE_CHECKING:  # it imports torch, which tasks that only decode do without
    from kgvad.video.encoders.base import VisualEncoder
    from kgvad.video.extract_folder import Outcome

logger = logging.getLogger(__name__)

PROBES = 16  # headers that are read at the same time
NO_ARRAY = np.zeros(0, np.float32)


def extract_on_cluster(
    todo: Mapping[str, Path], store: FeatureStore, encoder: VisualEncoder, name: str, decoding: Decoding, on: RayCluster
) -> Generator[Outcome, None, None]:
    """Extract videos and write their arrays; entries go into the manifest by the caller.

    Parameters
    ----------
    todo
        Videos by identifier.
    store
        Where the arrays are written.
    encoder
        Its sampling, batch and fingerprint are used; the cluster loads its own.
    name
        What to give :func:`load_visual_encoder` on the cluster.
    decoding
        Hardware, and whether damage is an error.
    on
        The cluster.
    """
    from kgvad.video.encoders.base import options_of

    items: list[Row] = []
    for video, path, size, reason in _probed(todo, encoder):
        if reason:
            yield video, None, reason
        else:
            items.append({"video": video, "path": str(path.absolute()), "width": size[0], "height": size[1]})
    decoder = ClipDecoder(encoder.sampling, encoder.batch, replace(decoding, threads=1))
    model = Model(ClipEncoder, (name, asdict(options_of(encoder)), encoder.fingerprint))
    waiting = {str(item["video"]) for item in items}
    parts: dict[str, dict[int, NDArray[np.float32]]] = defaultdict(dict)
    ends: dict[str, Row] = {}
    for row in on.rows(items, model, decoder.rows) if items else ():
        video = str(row["video"])
        if video not in waiting:  # it failed, or was done before its process was lost
            continue
        if row["reason"]:
            waiting.remove(video)
            parts.pop(video, None)
            yield video, None, str(row["reason"])
            continue
        if row["entry"]:
            ends[video] = row
            for text in filter(None, str(row["warnings"]).split("\n")):
                logger.warning(text)
        else:
            parts[video][int(row["number"])] = array_of(row)
        if video in ends and len(parts[video]) == int(ends[video]["number"]):
            waiting.remove(video)
            yield _written(video, parts.pop(video), str(ends.pop(video)["entry"]), store, todo[video])
    for video in sorted(waiting):
        yield video, None, f"{todo[video]} ended the processes that worked on it (damaged file, or memory is short)"


def _written(
    video: str, parts: Mapping[int, NDArray[np.float32]], entry: str, store: FeatureStore, path: Path
) -> Outcome:
    try:
        features = finished_features([parts[number] for number in sorted(parts)], path)
        write_array(store.path(video), features, video)
    except KgvadError as error:
        return video, None, one_line(error)
    return video, VideoEntry.model_validate_json(entry), ""


def _probed(todo: Mapping[str, Path], encoder: VisualEncoder) -> Iterator[tuple[str, Path, tuple[int, int], str]]:
    """Size to which each video is decoded, or the reason why it cannot be read."""

    def one(item: tuple[str, Path]) -> tuple[str, Path, tuple[int, int], str]:
        video, path = item
        try:
            check_name(video)
            info = probe(path)
            return video, path, encoder.decode_size(info.width, info.height), ""
        except KgvadError as error:
            return video, path, (0, 0), one_line(error)

    with ThreadPoolExecutor(PROBES) as pool:
        yield from pool.map(one, todo.items())


@dataclass(frozen=True)
class ClipDecoder:
    """Decodes one video into batches of clips: a task of the cluster."""

    sampling: SamplingRule
    batch: int
    decoding: Decoding

    def rows(self, item: Row) -> Iterator[Row]:
        """A row for each batch, then one with the entry of the manifest, or one with the reason of a failure."""
        video, path = str(item["video"]), Path(str(item["path"]))
        try:
            meter = FrameMeter()
            with noted_warnings() as warnings:
                reader = VideoReader(path, decoding=self.decoding, observe=meter)
                reader.size = int(item["width"]), int(item["height"])
                clips, rows, number = self.sampling.clips(reader), 0, 0
                while batch := list(islice(clips, self.batch)):
                    yield row_of(video, number, np.stack(batch))
                    rows, number = rows + len(batch), number + 1
                edges = self.sampling.edges(reader.info)
                entry = entry_of(reader.info, rows, self.sampling.stride, edges, meter.facts())
            end = row_of(video, number, NO_ARRAY, entry=entry.model_dump_json())
            yield {**end, "warnings": "\n".join(warnings)}
        except Exception as error:  # a decoder bug met in one file must not cost the other thousand
            yield row_of(video, -1, NO_ARRAY, reason=failure_of(path, error))


class ClipEncoder:
    """Encodes batches of clips: an actor of the cluster, with the encoder in memory."""

    def __init__(self, name: str, options: Fields, fingerprint: str, device: str) -> None:
        from kgvad.video.encoders.base import load_visual_encoder

        self._encoder = load_visual_encoder(name, device, **options)
        if self._encoder.fingerprint != fingerprint:
            raise KgvadError(
                f"a node of the cluster has another version or other weights of {name}", "install the same"
            )

    def __call__(self, row: Row) -> Row:
        """The row with features in place of the clips."""
        if row["entry"] or row["reason"]:
            return row
        try:
            return row_of(str(row["video"]), int(row["number"]), encoded(self._encoder, array_of(row)))
        except Exception as error:
            return row_of(str(row["video"]), -1, NO_ARRAY, reason=failure_of(row["video"], error))


def row_of(
    video: str, number: int, array: NDArray[np.uint8] | NDArray[np.float32], entry: str = "", reason: str = ""
) -> Row:
    """A row of the same columns for every step; ``number`` counts the batches of a video."""
    shape = "x".join(map(str, array.shape))
    data = np.ascontiguousarray(array).tobytes()
    return {
        "video": video, "number": number, "shape": shape, "dtype": array.dtype.str, "data": data, "entry": entry,
        "reason": reason, "warnings": "",
    }  # fmt: skip


def array_of(row: Row) -> Any:
    """The array of a row: clips or features."""
    array = np.frombuffer(row["data"], dtype=np.dtype(row["dtype"]))
    return array.reshape([int(length) for length in str(row["shape"]).split("x")])
