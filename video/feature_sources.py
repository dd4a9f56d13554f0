"""Where the features of other programs are: lists, folders and archives, as arrays with a name."""

from __future__ import annotations

import logging
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgvad.arrays import open_npz
from kgvad.console import count_of
from kgvad.errors import FeatureError, UsageError
from kgvad.hdf5_arrays import SUFFIXES as HDF5_SUFFIXES
from kgvad.hdf5_arrays import archive_names
from kgvad.video.feature_lists import LIST_SUFFIXES, Line, is_list, line_of_attributes, read_list
from kgvad.video.inputs import files_below
from kgvad.video.store_staging import MANIFEST
from kgvad.video.video_ids import ARRAY_SUFFIXES, STREAMS, composed, feature_names, is_side_file, posix, video_id

logger = logging.getLogger(__name__)

PICKLES = (".pkl", ".pickle", ".pth", ".pt", ".joblib")
CONVERTED = {
    ".mat": "scipy.io.loadmat({name!r})['NAME']", ".csv": "numpy.loadtxt({name!r}, delimiter=',')",
    ".gz": "numpy.load(gzip.open({name!r}))",
}  # fmt: skip
SHOWN = 5  # names in a message about many


@dataclass(frozen=True)
class Piece:
    """One array of a source.

    Attributes
    ----------
    name
        Path inside the folder, or name in the archive; it says video, crop and stream.
    file
        File that holds it.
    member
        Name in ``file``, an archive.
    line
        Line of the list that names it.
    """

    name: str
    file: Path
    member: str | None = None
    line: Line | None = None

    @property
    def where(self) -> str:
        """File, and name in it, for messages."""
        return str(self.file) if self.member is None else f"{self.file}: {self.member}"


@dataclass(frozen=True)
class Source:
    """Arrays that one list, folder or archive names together; they share orientation and layout.

    Attributes
    ----------
    path
        The list, folder or archive.
    kind
        ``list``, ``folder`` or ``archive``.
    pieces
        Its arrays.
    """

    path: Path
    kind: str
    pieces: tuple[Piece, ...]


def pickle_refused(path: Path) -> FeatureError:
    """What to raise for a file of Python objects: it names the file and the lines that convert it."""
    # advice to the user, who knows where the file is from; kgvad itself loads with allow_pickle=False everywhere
    load = f"np.load({path.name!r}, allow_pickle=True){'.item()' if path.suffix.lower() == '.npy' else ''}"
    if path.suffix.lower() in (".pt", ".pth"):
        return FeatureError(
            f"{path} is pickled, and kgvad loads no pickles",
            f"convert it in Python: import numpy as np, torch; data = torch.load({path.name!r}, weights_only=True); "
            f"np.save('{path.stem}.npy', data.float().numpy())",
        )
    return FeatureError(
        f"{path} is pickled, and kgvad loads no pickles",
        f"if you trust the file, convert it in Python: import numpy as np; data = {load}; "
        f"np.save('{path.stem}_rgb.npy', data['rgb'])",
    )


def _not_read(path: Path) -> FeatureError:
    if path.suffix.lower() == ".gz" and Path(path.stem).suffix.lower() in LIST_SUFFIXES:
        return FeatureError(
            f"{path}: packed lists and texts are not read", f"unpack it: gunzip -k {shlex.quote(path.name)}"
        )
    load = CONVERTED[path.suffix.lower()].format(name=path.name)
    return FeatureError(
        f"{path}: features in {path.suffix} files are not read",
        f"convert them in Python: numpy.save('NAME.npy', {load})",
    )


def names_of(items: Iterable[str]) -> str:
    """The first few of ``items``, and how many there are more."""
    known = list(items)
    more = f", and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more


def open_sources(paths: Sequence[Path], *, skip_missing: bool = False) -> list[Source]:
    """The sources that ``paths`` name.

    Parameters
    ----------
    paths
        Lists, folders of arrays, archives (npz) and files of one video. With lists, folders say where the files of the
        lists are searched; without, all their arrays are taken.
    skip_missing
        Leave out videos of which a listed file is missing.

    Raises
    ------
    UsageError
        A path does not exist, or is of no known kind.
    FeatureError
        Files of a list are missing, or a line fits several files; the message names them all.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist", "name a list, a folder of arrays, or an npz archive")
        if not (path.is_dir() or path.is_file()):
            raise UsageError(f"{path} is a pipe or a device", "name a list, a folder of arrays, or an npz archive")
    folders = [path for path in paths if path.is_dir()]
    lists = [path for path in paths if path.is_file() and is_list(path)]
    found: list[Source] = []
    missing: list[Line] = []
    for path in lists:
        finder = _Finder(folders or [path.parent])
        found.append(_listed(path, finder, missing))
    if missing:
        found = _without_missing(found, missing, skip_missing)
    if not lists:
        found += [_folder(path) for path in folders]
    found += [_single(path) for path in paths if path.is_file() and path not in lists]
    return found


def _listed(path: Path, finder: _Finder, missing: list[Line]) -> Source:
    pieces: dict[tuple[str, Path], Piece] = {}
    repeated = 0
    for line in read_list(path):
        if is_side_file(line.path):
            continue
        files = finder.find(line)
        if not files:
            missing.append(line)
        for file in files:
            name = posix(line.path)
            key = (name if len(files) == 1 else f"{name.rpartition('/')[0]}/{file.name}", file)
            other = pieces.setdefault(key, Piece(key[0], file, line=line))
            if other.line is not line:
                repeated += 1
                _same_line(other.line, line)
    if repeated:
        logger.warning(f"{path}: {repeated} repeated lines are dropped")
    return Source(path, "list", tuple(pieces.values()))


def _same_line(first: Line | None, second: Line) -> None:
    if first is not None and (first.label, first.split) != (second.label, second.split):
        raise FeatureError(
            f"{first.where} and {second.where} name the same file with different labels or splits",
            "remove one of the lines",
        )


def _without_missing(sources: list[Source], missing: list[Line], skip: bool) -> list[Source]:
    for line in missing:
        path = Path(line.path)
        if path.suffix.lower() in CONVERTED and path.is_file():
            raise _not_read(path)
    names = names_of(f"{Path(posix(line.path)).name} ({line.where})" for line in missing)
    if not skip:
        raise FeatureError(
            f"{count_of(len(missing), 'listed file')} neither at the path nor below the folder of the list: {names}",
            "pass the folder of the files along with the list, remove the lines, or add --skip-missing",
        )
    lost = {name.video for name in feature_names([line.path for line in missing])}
    logger.warning(f"left out {count_of(len(lost), 'video')} with missing files: {names_of(sorted(lost))}")
    kept = []
    for source in sources:
        names_here = feature_names([piece.name for piece in source.pieces])
        pieces = [one for one, name in zip(source.pieces, names_here, strict=True) if name.video not in lost]
        if pieces:
            kept.append(Source(source.path, source.kind, tuple(pieces)))
    if not kept:
        raise FeatureError("all listed files are missing", "pass the folder of the files along with the list")
    return kept


def _folder(path: Path) -> Source:
    files = array_files(path)
    texts = [file for file in files if file.suffix.lower() == ".txt" and is_list(file)]
    used = [file for file in files if not is_side_file(file.name) and file not in texts]
    if texts:
        logger.warning(f"{path}: text without numbers is passed over: {names_of(file.name for file in texts)}")
    if not used:
        bundles = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in HDF5_SUFFIXES]
        if bundles:
            return Source(path, "folder", tuple(piece for file in bundles for piece in _hdf5(file, path).pieces))
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in PICKLES:
                raise pickle_refused(file)
            if file.suffix.lower() in CONVERTED:
                raise _not_read(file)
        raise FeatureError(f"{path} holds no features (.npy, .npz or .txt)", "save each video as a .npy array")
    return Source(path, "folder", tuple(Piece(file.relative_to(path).as_posix(), file) for file in used))


def stored_arrays(path: Path) -> dict[str, Piece]:
    """The first crop of each video of a folder of arrays or a single file, by identifier, and stream in it."""
    pieces = (_folder(path) if path.is_dir() else _single(path)).pieces
    found: dict[str, tuple[int, Piece]] = {}
    for piece, name in zip(pieces, feature_names([one.name for one in pieces]), strict=True):
        video = name.video if name.stream is None else f"{name.video}_{name.stream}"
        crop, other = found.setdefault(video, (name.crop or 0, piece))
        if other is not piece and (name.crop or 0) == crop:
            raise FeatureError(f"{other.where} and {piece.where} are features of the same video", "name one folder")
        if (name.crop or 0) < crop:
            found[video] = (name.crop or 0, piece)
    return {video: piece for video, (_, piece) in found.items()}


def array_files(folder: Path) -> list[Path]:
    """Files below ``folder`` that may hold features, sorted; hidden ones, and feature stores in it, are passed over."""
    files = files_below(folder)
    manifests = [file for file in files if file.name == MANIFEST]
    stores = {file.parent for file in manifests if b'"made_by": "kgvad' in file.read_bytes()} - {folder}
    return [
        file
        for file in files
        if file.suffix.lower() in ARRAY_SUFFIXES and not file.name.startswith(".") and stores.isdisjoint(file.parents)
    ]


def _single(path: Path) -> Source:
    if path.suffix.lower() in PICKLES:
        raise pickle_refused(path)
    if path.suffix.lower() in CONVERTED:
        raise _not_read(path)
    if path.suffix.lower() in HDF5_SUFFIXES:
        return _hdf5(path, path)
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:4] == b"PK\x03\x04":
        with open_npz(path, FeatureError, "copy it again") as bundle:
            names = list(dict.fromkeys(name.rpartition("|")[0] or name for name in bundle.names))
        if not names:
            raise FeatureError(f"{path} holds no arrays", "name an npz archive with one array a video")
        return Source(path, "archive", tuple(Piece(name, path, name) for name in names))
    if magic == b"\x93NUMPY" or path.suffix.lower() == ".txt":
        return Source(path, "folder", (Piece(path.name, path),))
    raise FeatureError(
        f"{path} is not a list, an npz archive or an array", "name a list (.csv, .list), a folder, or an npz archive"
    )


def _hdf5(path: Path, root: Path) -> Source:
    """The datasets of an HDF5 file in ``root``; their attributes say what a line of a list would.

    A video is named by its dataset, by its group (``VIDEO/features``), or by its file where that is one of a folder.
    """
    found = archive_names(path, FeatureError, "copy it again")
    if not found:
        raise FeatureError(f"{path} holds no arrays of floating-point numbers", "save one dataset a video")
    last = {name.rpartition("/")[2] for name in found}
    grouped = len(last) == 1 and all("/" in name for name in found)
    pieces = []
    for member, attributes in found.items():
        name = member.rpartition("/")[0] if grouped else member
        if path != root and len(found) == 1:
            name = path.relative_to(root).with_suffix("").as_posix()
        pieces.append(Piece(name, path, member, line_of_attributes(name, f"{path}: {member}", attributes)))
    return Source(path, "archive", tuple(pieces))


class _Finder:
    """Finds the files of a list: at their path, or the one whose path has the longest common end with it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._by_name: dict[str, list[Path]] = {}
        self._by_video: dict[str, list[Path]] | None = None
        self._indexed = False

    def find(self, line: Line) -> list[Path]:
        """Files of the line; several where it names a video with a file for each crop or stream."""
        name = posix(line.path)
        if name.lower().endswith(ARRAY_SUFFIXES):
            for path in (Path(line.path), *(folder / name for folder in self._folders)):
                if path.is_file():
                    return [path]
            self._index()
            best = self._best(line, self._by_name.get(_spelling(name), []))
            if len(best) > 1:
                raise _tie(line, best)
            return best
        self._index()
        if self._by_video is None:
            self._by_video = defaultdict(list)
            files = [file for files in self._by_name.values() for file in files]
            for file, one in zip(files, feature_names([file.name for file in files]), strict=True):
                self._by_video[one.video].append(file)
        best = self._best(line, self._by_video.get(video_id(name), []))
        if len({file.name for file in best}) < len(best):
            raise _tie(line, [file for file in best if [other.name for other in best].count(file.name) > 1])
        return sorted(best)

    def _index(self) -> None:
        if not self._indexed:
            for folder in self._folders:
                for file in array_files(folder):
                    if not is_side_file(file.name):
                        self._by_name.setdefault(_spelling(file.name), []).append(file)
            self._indexed = True

    def _best(self, line: Line, files: Sequence[Path]) -> list[Path]:
        """Those of ``files`` whose folders share most of the end of the path of ``line``."""
        wanted = posix(line.path).split("/")[:-1]
        streams = _streams(wanted)
        fitting = [
            file for file in files if not (streams and (own := _streams(file.resolve().parts)) and own != streams)
        ]
        shared = [_common_end(wanted, file.resolve().parts[:-1]) for file in fitting]
        return [file for file, count in zip(fitting, shared, strict=True) if count == max(shared)]


def _spelling(name: str) -> str:
    """The last part of a path, whatever its case and the composition of its characters."""
    return composed(Path(name).name).casefold()


def _streams(parts: Sequence[str]) -> set[str]:
    """The streams that folders are named after: ``i3d-features/Flow``."""
    last = next((part for part in reversed(parts[-4:]) if part.lower() in STREAMS), None)
    return set() if last is None else {last.lower()}


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if first != second:
            break
        count += 1
    return count


def _tie(line: Line, files: Sequence[Path]) -> FeatureError:
    return FeatureError(
        f"{line.where}: {line.path!r} may be {' or '.join(str(file) for file in files[:2])}",
        "pass the folder of the right files along with the list",
    )
