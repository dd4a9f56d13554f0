"""Videos that come as images: a folder of frames, or a zip archive of such folders.

Each folder becomes one file in the cache: JPEG frames as they are, others without loss, in Matroska at the given
rate. From there on it is a video like any other. A later call uses the same file unless the images changed.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from kgvad.console import track
from kgvad.errors import UsageError, VideoError
from kgvad.files import reading, replacing
from kgvad.video.video_ids import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
DEFAULT_FPS = 25.0
FEWEST = 2  # images that make a video
LARGEST = 256 << 20  # bytes of one image


@dataclass(frozen=True)
class _Picture:
    name: str
    state: str  # changes when the file does
    read: Callable[[], bytes]


@dataclass(frozen=True)
class ImageSequence:
    """Images of one video in their natural order: ``2.jpg`` before ``10.jpg``."""

    name: str  # path inside the source
    pictures: tuple[_Picture, ...]

    def digest(self, fps: float) -> str:
        """Hash that changes with the images and the rate."""
        facts = [f"{fps}", *(f"{picture.name}:{picture.state}" for picture in self.pictures)]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def as_videos(source: Path, cache: Path, fps: float | None = None) -> Path:
    """``source``, or where it holds images instead of videos, a video or a folder of videos made of them.

    Parameters
    ----------
    source
        Folder, zip archive or video.
    cache
        Where the videos are kept.
    fps
        Frames per second of images. Default: 25, which is logged.

    Raises
    ------
    UsageError
        ``fps`` was given for a source without images.
    VideoError
        An image is damaged or has another size than the first of its folder.
    """
    with ExitStack() as archives:
        found = _sequences(source, archives)
        if found:
            return _as_videos(source, found, cache, fps)
    if fps is not None:
        raise UsageError(f"--fps is for folders of images, and {source} holds videos", "leave it out")
    return source


def _as_videos(source: Path, found: Sequence[ImageSequence], cache: Path, fps: float | None) -> Path:
    rate = DEFAULT_FPS if fps is None else fps
    if fps is None:
        logger.info("%s holds images: 25 frames a second are assumed; name another rate with --fps", source)
    place = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    root = cache / "frames" / place / (source.stem if source.is_file() else source.resolve().name)
    targets = [root / f"{sequence.name}.mkv" for sequence in found]
    twin = next((target for target in targets if targets.count(target) > 1), None)
    if twin is not None:
        name = twin.relative_to(root).with_suffix("")
        raise VideoError(f"{source} has the images of {name} as a folder and as an archive", "remove one of them")
    for sequence, target in track(zip(found, targets, strict=True), "reading images", len(found)):
        try:
            _write_once(sequence, target, rate)
        except VideoError as error:
            if len(found) == 1:
                raise
            logger.warning("%s: %s", sequence.name, error)
            with replacing(target) as empty:  # an empty video fails alone, wherever the others are read
                empty.touch()
    for old in set(root.rglob("*.mkv")) - set(targets):
        old.unlink()
    return targets[0] if len(targets) == 1 else root


def _sequences(source: Path, archives: ExitStack) -> list[ImageSequence]:
    if source.is_file():
        return _in_archive(source, "", archives) if source.suffix.lower() == ".zip" else []
    if not source.is_dir():
        return []
    files = [
        path
        for path in source.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts)
    ]
    if any(path.suffix.lower() in VIDEO_SUFFIXES for path in files):
        return []
    groups: dict[Path, list[_Picture]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            groups[path.parent].append(_of_file(path))
    found = [
        ImageSequence(
            folder.relative_to(source).as_posix() if folder != source else source.resolve().name, _ordered(own)
        )
        for folder, own in sorted(groups.items())
        if len(own) >= FEWEST
    ]
    for path in sorted(files):
        if path.suffix.lower() == ".zip":
            found += _in_archive(path, path.relative_to(source).with_suffix("").as_posix(), archives)
    return found


def _of_file(path: Path) -> _Picture:
    status = path.stat()
    return _Picture(str(path), f"{status.st_size}:{status.st_mtime_ns}", path.read_bytes)


def _in_archive(path: Path, name: str, archives: ExitStack) -> list[ImageSequence]:
    with reading(path, VideoError, "copy it again"):
        bundle = archives.enter_context(zipfile.ZipFile(path))
    groups: dict[str, list[_Picture]] = defaultdict(list)
    for info in bundle.infolist():
        inside = PurePosixPath(info.filename.replace("\\", "/"))
        hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in inside.parts)
        if inside.suffix.lower() in SUFFIXES and not info.is_dir() and not hidden:
            groups[inside.parent.as_posix()].append(_of_member(path, bundle, info))
    kept = {folder: own for folder, own in sorted(groups.items()) if len(own) >= FEWEST}
    # images of a single folder, or of none, are the video that the archive is named after
    return [
        ImageSequence(
            (name or path.stem) if len(kept) == 1 or folder == "." else f"{name}/{_safe(path, folder)}".lstrip("/"),
            _ordered(own),
        )
        for folder, own in kept.items()
    ]


def _safe(path: Path, folder: str) -> str:
    """A folder of an archive as a relative path."""
    if ".." in folder.split("/") or folder.startswith("/") or ":" in folder:
        raise VideoError(f"{path}: {folder[:80]!r} leads outside the archive", "pack it again")
    return folder


def _of_member(path: Path, bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Picture:
    def read() -> bytes:
        with reading(f"{path}: {info.filename}", VideoError, "copy it again"):
            if info.file_size > LARGEST:
                raise ValueError(f"an image of {info.file_size} bytes is too large")
            data = bundle.read(info)
        return data

    return _Picture(f"{path}: {info.filename}", f"{info.file_size}:{info.CRC}", read)


def _ordered(pictures: Iterable[_Picture]) -> tuple[_Picture, ...]:
    return tuple(sorted(pictures, key=lambda picture: natural(picture.name)))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Key by which ``2.jpg`` comes before ``10.jpg``."""
    parts = [(part, part.lstrip("0")) for part in re.split(r"([0-9]+)", name) if part]
    return [(0, len(digits), digits) if part[0] in "0123456789" else (1, 0, part) for part, digits in parts]


def _write_once(sequence: ImageSequence, target: Path, fps: float) -> None:
    """Write the video of ``sequence`` unless the same one is there."""
    state = target.with_suffix(".txt")
    digest = sequence.digest(fps)
    if target.is_file() and state.is_file() and state.read_text("utf-8") == digest:
        return
    with replacing(target) as temporary:
        _mux(sequence.pictures, temporary, fps)
    state.write_text(digest, "utf-8")


def _mux(pictures: Sequence[_Picture], path: Path, fps: float) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    copied = all(picture.name.lower().endswith((".jpg", ".jpeg")) for picture in pictures)
    first: tuple[int, int] | None = None
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mjpeg" if copied else "ffv1", rate=rate)
        stream.pix_fmt = "yuvj420p" if copied else "bgr0"
        for index, picture in enumerate(pictures):
            image, data = _opened(picture)
            if first is None:
                first = stream.width, stream.height = image.size
            if image.size != first:
                raise VideoError(
                    f"{picture.name} is {image.width} x {image.height}, the first image {first[0]} x {first[1]}",
                    "give one folder for each video",
                )
            if copied and image.format == "JPEG":
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, 1 / rate, True
                packet.pts = packet.dts = index
                container.mux(packet)
                continue
            frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        if not copied:
            container.mux(stream.encode(None))


def _opened(picture: _Picture) -> tuple[Image.Image, bytes]:
    """A picture, decoded where it is not JPEG, and its content."""
    data = picture.read()
    with reading(picture.name, VideoError, "take it out, or copy it again"):
        try:
            try:
                image = Image.open(io.BytesIO(data))
            except UnidentifiedImageError:
                raise ValueError("it is not an image") from None
            if image.format != "JPEG":
                image.load()
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from error
    return image, data
