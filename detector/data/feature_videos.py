"""The videos of imported sources: which arrays are which crop and stream of which video."""

from __future__ import annotations

import filecmp
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from kgvad.errors import FeatureError, UsageError
from kgvad.types import AnyArray
from kgvad.video.feature_lists import Split
from kgvad.video.feature_rows import Arrays, Axes, orientation, oriented
from kgvad.video.feature_sources import Piece, Source, names_of
from kgvad.video.video_ids import FeatureName, feature_names, names_features, posix, tail_ids

logger = logging.getLogger(__name__)


@dataclass
class ImportedVideo:
    """One video of the sources.

    Attributes
    ----------
    name
        Identifier.
    source
        The source that names it.
    parts
        Its arrays by stream (``""`` where names have none), then by crop (``None`` where names have none).
    shape
        Crops, rows and dimensions, after :func:`measure_videos`.
    axes
        Order of the axes of its arrays.
    """

    name: str
    source: Source
    parts: dict[str, dict[int | None, Piece]] = field(default_factory=dict)
    shape: tuple[int, int, int] = (0, 0, 0)
    axes: Axes = "TD"

    @property
    def pieces(self) -> list[Piece]:
        """All its arrays."""
        return [piece for crops in self.parts.values() for piece in crops.values()]

    @property
    def split(self) -> Split | None:
        """The split that its list names."""
        return next((piece.line.split for piece in self.pieces if piece.line is not None), None)

    def load(self, arrays: Arrays) -> AnyArray:
        """Features [crops, T, D]; streams stand side by side."""
        streams = []
        for crops in self.parts.values():
            ordered = [crops[crop] for crop in sorted(crops, key=lambda crop: crop or 0)]
            streams.append(np.concatenate([oriented(arrays.read(piece), self.axes) for piece in ordered]))
        return streams[0] if len(streams) == 1 else np.concatenate(streams, axis=2)


def collect_videos(
    sources: Sequence[Source], *, crops: int | None = None, stream: str | None = None
) -> list[ImportedVideo]:
    """Videos of the sources, in their order.

    Parameters
    ----------
    crops
        Files per video; 1: ``_0`` is part of a name; ``None``: decided from all names of a source.
    stream
        ``rgb``, ``flow``, ``audio`` or ``both``; ``None``: all there are, side by side.

    Raises
    ------
    FeatureError
        Two files are of the same video and crop, a video is in both splits, or crops or streams are missing.
    """
    videos: dict[str, ImportedVideo] = {}
    repeated: Counter[str] = Counter()
    splits: dict[str, dict[str, str]] = defaultdict(dict)  # video -> split -> where
    doubled: list[tuple[str, Piece, Piece]] = []
    named = [
        (source, piece, name)
        for source in sources
        for piece, name in zip(source.pieces, feature_names([one.name for one in source.pieces], crops), strict=True)
    ]
    for source, piece, name in _with_folders(named):
        own = videos.setdefault(name.video, ImportedVideo(name.video, source))
        if piece.line is not None and piece.line.split is not None:
            splits[name.video].setdefault(piece.line.split, piece.line.where)
        other = own.parts.setdefault(name.stream or "", {}).setdefault(name.crop, piece)
        if other is not piece:
            doubled.append((name.video, other, piece))
            repeated[source.path.name] += 1
    _refuse_both_splits(videos.values(), splits)
    for double in doubled:
        _same_file(*double)
    for path, count in repeated.items():
        logger.warning(f"{path}: {count} repeated files are dropped")
    found = list(videos.values())
    _choose_streams(found, stream)
    for video in found:
        _check_crops(video)
    return found


Named = tuple[Source, Piece, FeatureName]


def _with_folders(found: Sequence[Named]) -> list[Named]:
    """``found`` with folders before the names of videos where different files have the same name.

    Folders that are named after streams, crops or encoders hold the same videos, so they tell none apart.
    """
    files: dict[tuple[str, str | None, int | None], set[tuple[Path, str | None]]] = defaultdict(set)
    for _, piece, name in found:
        files[name.video, name.stream, name.crop].add((piece.file, piece.member))
    alike = {video for (video, _, _), own in files.items() if len(own) > 1}
    paths = [f"{PurePosixPath(posix(piece.name)).parent}/{name.video}" for _, piece, name in found]
    own = [path for path, (_, _, name) in zip(paths, found, strict=True) if name.video in alike]
    tails = dict(zip(own, tail_ids(own), strict=True))
    apart = {path: tail for path, tail in tails.items() if not any(map(names_features, tail.split("/")[:-1]))}
    if apart:
        _refuse_copies(piece for path, (_, piece, _) in zip(paths, found, strict=True) if path in apart)
        shown = names_of(sorted(set(apart.values())))
        logger.warning(f"equal names in several folders are taken as different videos: {shown}")
    return [
        (source, piece, replace(name, video=apart.get(path, name.video)))
        for path, (source, piece, name) in zip(paths, found, strict=True)
    ]


def _refuse_copies(pieces: Iterable[Piece]) -> None:
    """Refuse files of one name with the same content: they are the same video twice."""
    known: dict[tuple[str, int], list[Piece]] = defaultdict(list)
    for piece in pieces:
        if piece.member is not None:
            continue
        alike = known[piece.file.name, piece.file.stat().st_size]
        for other in alike:
            if other.file != piece.file and filecmp.cmp(other.file, piece.file, shallow=False):
                raise FeatureError(f"{other.where} and {piece.where} are the same video twice", "remove one of them")
        alike.append(piece)


def _refuse_both_splits(videos: Iterable[ImportedVideo], seen: Mapping[str, dict[str, str]]) -> None:
    both = [
        f"{video.name} ({' and '.join(seen[video.name].values())})" for video in videos if len(seen[video.name]) > 1
    ]
    if both:
        raise FeatureError(
            f"{len(both)} videos are in both splits: {names_of(both)}", "take them out of one of the lists"
        )


def _same_file(video: str, first: Piece, second: Piece) -> None:
    """Refuse what is not a mere repetition."""
    if (first.file, first.member) != (second.file, second.member):
        raise FeatureError(
            f"{first.where} and {second.where} are features of the same video and crop ({video})",
            "name one of them in a list, or import their folders into different --encoder stores",
        )


def _choose_streams(videos: Sequence[ImportedVideo], wanted: str | None) -> None:
    """Keep the wanted streams; all of them, in the order rgb, flow, audio, where none is named."""
    order = ("", "rgb", "flow", "audio")
    present = {name for video in videos for name in video.parts}
    keep = [name for name in order if name in present]
    if wanted is not None and wanted != "both":
        if wanted not in present:
            there = ", ".join(name or "(no suffix)" for name in keep)
            raise UsageError(f"no file is of the stream {wanted!r}", f"the files are of {there}")
        keep = [wanted]
    elif "" in present and len(present) > 1:
        raise FeatureError(
            f"some files have a stream in their names ({', '.join(sorted(present - {''}))}), others have none",
            "choose one with --stream",
        )
    for video in videos:
        lost = [name for name in keep if name not in video.parts]
        if lost:
            raise FeatureError(f"{video.name} has no {lost[0] or 'plain'} features", "choose one stream with --stream")
        video.parts = {name: video.parts[name] for name in keep}
    if len(keep) > 1:
        logger.info(f"the streams {', '.join(keep)} are joined side by side; --stream takes one alone")


def _check_crops(video: ImportedVideo) -> None:
    for stream, crops in video.parts.items():
        numbers = sorted(crop or 0 for crop in crops)
        if len(set(numbers)) < len(numbers):
            first, second = crops[None], crops[0]
            raise FeatureError(
                f"{first.where} and {second.where} are both crop 0 of {video.name}", "remove one of them"
            )
        if len(numbers) > 1 and numbers != list(range(len(numbers))):
            missing = min(set(range(numbers[-1])) - set(numbers))
            raise FeatureError(
                f"{video.name} has no crop {missing} ({crops[max(crops, key=lambda c: c or 0)].file.parent})",
                "all crops of a video are needed; copy the file, or take the video out",
            )
        if len({*map(len, video.parts.values())}) > 1:
            raise FeatureError(f"{video.name}: the stream {stream} has another number of crops", "copy what is missing")


def measure_videos(videos: Sequence[ImportedVideo], arrays: Arrays, axes: Axes | None = None) -> None:
    """Set ``shape`` and ``axes`` of each video, with one order of axes for each source.

    Raises
    ------
    FeatureError
        Shapes differ between the crops or streams of a video, or dimensions between videos.
    """
    shapes = {id(piece): _shape(piece, arrays) for video in videos for piece in video.pieces}
    for source in _sources(videos):
        own = [video for video in videos if video.source is source]
        order = axes or orientation([shapes[id(piece)] for video in own for piece in video.pieces], str(source.path))
        for video in own:
            video.axes = order
            video.shape = _joined_shape(video, shapes)
    widths = Counter(video.shape[2] for video in videos)
    if len(widths) > 1:
        common = widths.most_common(1)[0][0]
        odd = [video for video in videos if video.shape[2] != common]
        raise FeatureError(
            f"{names_of(f'{one.name} ({one.shape[2]})' for one in odd)}: not {common} dimensions as the others",
            "import features of one kind at a time",
        )


def _sources(videos: Iterable[ImportedVideo]) -> list[Source]:
    return list({id(video.source): video.source for video in videos}.values())


def _shape(piece: Piece, arrays: Arrays) -> tuple[int, ...]:
    shape = arrays.shape(piece)
    if shape is None or len(shape) not in (2, 3) or 0 in shape:
        shape = arrays.read(piece).shape  # says what is wrong with it
    return shape


def _joined_shape(video: ImportedVideo, shapes: Mapping[int, tuple[int, ...]]) -> tuple[int, int, int]:
    parts = []
    for crops in video.parts.values():
        each = [_crops_rows_dim(shapes[id(piece)], video) for piece in crops.values()]
        if len({shape[1:] for shape in each}) > 1:
            first = next(iter(crops.values()))
            shown = names_of(str(list(shape[1:])) for shape in sorted(set(each)))
            raise FeatureError(
                f"{video.name}: its crops differ in shape ({shown}; {first.file.parent})", "extract it again"
            )
        parts.append((sum(shape[0] for shape in each), *each[0][1:]))
    if len({part[:2] for part in parts}) > 1:
        raise FeatureError(
            f"{video.name}: its streams differ in shape ({names_of(map(str, parts))})", "choose one with --stream"
        )
    return (parts[0][0], parts[0][1], sum(part[2] for part in parts))


def _crops_rows_dim(shape: tuple[int, ...], video: ImportedVideo) -> tuple[int, int, int]:
    if len(shape) == 2:
        rows, dim = shape if video.axes != "DT" else shape[::-1]
        return (1, rows, dim)
    crops, rows, dim = shape if video.axes == "CTD" else (shape[1], shape[0], shape[2])
    return (crops, rows, dim)
