"""Identifiers of videos: one rule for the names of videos, features, captions, scores and lines of lists."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from kgvad.errors import FeatureError, KgvadError

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".ogv",
)  # fmt: skip
"""What counts as a video when a folder is searched; a file named outright may have any suffix."""

ARRAY_SUFFIXES = (".npy", ".npz", ".txt")  # of files that hold the features of one video
STREAMS = ("rgb", "flow", "audio")  # of two-stream encoders; `audio` beside pictures

_CROP = re.compile(r"(?:__|[_.-]crop[_-]?)(\d{1,2})$", re.IGNORECASE)
_NUMBER = re.compile(r"_(\d)$")
_STREAM = re.compile(r"_+(rgb|flow|audio)$", re.IGNORECASE)
_ENCODER = re.compile(r"_+(i3d|c3d|clip|s3d|x3d|swin|vggish|feats?|features?)$", re.IGNORECASE)
_SIDE = re.compile(r"_(fps|timestamps(_ms)?)$", re.IGNORECASE)


def posix(path: str | PurePath) -> str:
    """``path`` with forward slashes and without a drive letter."""
    return re.sub(r"^[A-Za-z]:(?=/)", "", str(path).strip().replace("\\", "/"))


def composed(name: str) -> str:
    """``name`` with composed characters (NFC): macOS writes the same letter as two characters."""
    return unicodedata.normalize("NFC", name)


def without_suffix(name: str, suffixes: Sequence[str] = VIDEO_SUFFIXES) -> str:
    """``name`` without the known suffixes at its end; any other text behind a dot stays."""
    while name.lower().endswith(tuple(suffixes)) and "." in name[1:].rstrip("."):
        stem = name[: name.rindex(".")]
        if not PurePosixPath(stem).name:
            break
        name = stem
    return name


def video_id(path: str | PurePath) -> str:
    """Identifier of the video that ``path`` names: its last part without a known video suffix.

    ``C:\\\\v\\\\Some.Film.1996__#0-10_label_A.mp4`` gives ``Some.Film.1996__#0-10_label_A``.
    """
    return without_suffix(composed(PurePosixPath(posix(path)).name))


def tail_ids(paths: Sequence[str]) -> list[str]:
    """Identifier of the video that each path names: its last part, with the folders that tell it from the others.

    ``a/clip.mp4`` and ``b/clip.mp4`` stay apart as ``a/clip`` and ``b/clip``. A path that ends another one
    (``clip.mp4`` and ``a/clip.mp4``) cannot be told from it and has the same identifier.
    """
    whole = [tuple(part for part in _identified(path).split("/") if part not in ("", ".")) for path in paths]
    alike: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for parts in whole:
        alike[parts[-1] if parts else ""].add(parts)
    return ["/".join(_shortest_tail(parts, alike[parts[-1]])) if parts else "" for parts in whole]


def _identified(path: str) -> str:
    folder, slash, _ = posix(path).rpartition("/")
    return f"{composed(folder)}{slash}{video_id(path)}"


def _shortest_tail(parts: tuple[str, ...], alike: set[tuple[str, ...]]) -> tuple[str, ...]:
    ends = [other for other in alike if parts[-len(other) :] == other]  # also itself
    parts = min(ends, key=len)
    others = [other for other in alike if other[-len(parts) :] != parts]
    tails = (parts[-length:] for length in range(1, len(parts)))
    return next((tail for tail in tails if not any(other[-len(tail) :] == tail for other in others)), parts)


def by_video_id(names: Iterable[str], where: str, error: type[KgvadError] = FeatureError) -> dict[str, str]:
    """``names`` by what identifies them: the path without the suffix of a video. :class:`VideoNames` looks them up.

    Raises
    ------
    FeatureError
        Two names are of one video. Or ``error``, another class.
    """
    known = list(dict.fromkeys(names))
    found: dict[str, str] = {}
    for one, name in zip(tail_ids(known), known, strict=True):
        other = found.setdefault(one, name)
        if other != name:
            raise error(f"{where}: {other!r} and {name!r} name the same video", "remove one of them")
    return {_identified(name): name for name in known}


class VideoNames:
    """Finds the identifier among ``ids`` that a name means, with more or fewer folders and with any suffix of a video.

    Parameters
    ----------
    ids
        Identifiers, each perhaps with folders.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._by_tail: dict[str, str | None] = {}  # None: of several
        known = list(ids)
        for name in known:
            parts = composed(name).split("/")
            for start in range(1, len(parts)):
                tail = "/".join(parts[start:])
                self._by_tail[tail] = None if tail in self._by_tail else name
        self._by_tail |= {composed(name): name for name in known}

    def find(self, name: str | PurePath) -> str | None:
        """The identifier; ``None`` where none fits, or several do."""
        exact = self._by_tail.get(composed(str(name)))
        if exact is not None:
            return exact
        parts = _identified(str(name)).split("/")
        for start in range(len(parts)):
            found = self._by_tail.get("/".join(parts[start:]))
            if found is not None:
                return found
        return None

    def match(self, names: Iterable[str], where: str) -> dict[str, str]:
        """Each of ``names`` by the identifier that it means, those that mean none left out.

        Raises
        ------
        FeatureError
            Two names mean the same identifier.
        """
        found: dict[str, str] = {}
        for name in names:
            own = self.find(name)
            if own is not None and found.setdefault(own, name) != name:
                raise FeatureError(
                    f"{where}: {found[own]!r} and {name!r} both fit the video {own!r}", "remove one of them"
                )
        return found


@dataclass(frozen=True)
class FeatureName:
    """What the name of a file of features says: video, crop and stream (``None`` where it does not say)."""

    video: str
    crop: int | None = None
    stream: str | None = None


def is_side_file(name: str) -> bool:
    """Whether a name is that of a file beside features: frame rate or time stamps (``clip_fps.npy``)."""
    return _SIDE.search(without_suffix(PurePosixPath(posix(name)).name, ARRAY_SUFFIXES)) is not None


def names_features(folder: str) -> bool:
    """Whether a folder is named after a stream, a crop or an encoder: ``RGB``, ``crop_3``, ``ucf_i3d``."""
    return any(rule.search(f"_{folder}") is not None for rule in (_CROP, _STREAM, _ENCODER))


def feature_names(names: Sequence[str], crops: int | None = None) -> list[FeatureName]:
    """What the names of the files of one source say.

    A crop is ``NAME__3`` or ``NAME_crop3``. ``NAME_3`` is a crop where all names of the source come in complete groups
    of five or ten, ``NAME_0`` to ``NAME_9``, of at least two videos. Names of encoders (``NAME_i3d``) are dropped where
    all names of the source have one.

    Parameters
    ----------
    names
        Paths of files, or names of arrays in an archive.
    crops
        1: the names have no crops. More: ``NAME_3`` is a crop.
    """
    stems = [_stem(name) for name in names]
    numbered = (crops is not None and crops > 1) or (crops is None and _in_groups(stems))
    split = [_split(stem, numbered) if crops != 1 else FeatureName(stem) for stem in stems]
    parts = [_stream(one) for one in split]
    while parts and all(_ENCODER.search(one.video) for one in parts):
        parts = [_stream(FeatureName(_ENCODER.sub("", one.video), one.crop, one.stream)) for one in parts]
    return [FeatureName(without_suffix(one.video), one.crop, one.stream) for one in parts]


def _stem(name: str) -> str:
    return without_suffix(composed(PurePosixPath(posix(name)).name), (*ARRAY_SUFFIXES, *VIDEO_SUFFIXES))


def _in_groups(stems: Sequence[str]) -> bool:
    groups: dict[str, set[int]] = defaultdict(set)
    for stem in stems:
        match = _NUMBER.search(stem)
        if match is None:
            return False
        groups[stem[: match.start()]].add(int(match[1]))
    sizes = {len(group) for group in groups.values()}
    return (
        len(groups) > 1
        and len(sizes) == 1
        and all(group in (set(range(5)), set(range(10))) for group in groups.values())
    )


def _split(stem: str, numbered: bool) -> FeatureName:
    match = _CROP.search(stem) or (_NUMBER.search(stem) if numbered else None)
    if match is None or match.start() == 0:
        return FeatureName(stem)
    return FeatureName(stem[: match.start()], int(match[1]))


def _stream(name: FeatureName) -> FeatureName:
    match = _STREAM.search(name.video)
    if match is None or match.start() == 0 or name.stream is not None:
        return name
    return FeatureName(name.video[: match.start()], name.crop, match[1].lower())
