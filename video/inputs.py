"""What the user named, as files: folders, globs and list files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kgvad.errors import UsageError
from kgvad.files import reading

LISTS = (".txt", ".lst", ".list")  # one video a line
_LARGEST_LIST = 64 << 20  # bytes


def files_below(folder: Path) -> list[Path]:
    """Files of a folder and its sub-folders, sorted; links to folders are followed, but never in a circle.

    Sub-folders that may not be read are passed over.
    """
    return sorted(_below(folder, frozenset()))


def _below(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    with suppress(PermissionError):
        for path in folder.iterdir():
            if path.is_dir():
                yield from _below(path, above | {real})
            elif path.is_file():
                yield path


def is_pattern(source: Path) -> bool:
    """Whether ``source`` is a glob such as ``clips/*.mp4``, and not the name of something that exists."""
    return not source.exists() and glob.has_magic(str(source))


def is_list(source: Path) -> bool:
    """Whether ``source`` is a list of videos, by its suffix."""
    return source.suffix.lower() in LISTS and source.is_file()


def named_files(source: Path) -> list[Path]:
    """The files of a glob or list, in order, each once.

    Raises
    ------
    UsageError
        Nothing matches, the list is empty or no text, or a file of it does not exist.
    """
    files = _listed(source) if is_list(source) else _matched(source)
    return list(dict.fromkeys(files))


def absolute_files(source: Path) -> list[Path]:
    """:func:`named_files` with absolute paths; ``a/../b.mp4`` is ``b.mp4``, so that identifiers hold no ``..``."""
    return list(dict.fromkeys(_without_detours(path.absolute()) for path in named_files(source)))


def _without_detours(path: Path) -> Path:
    if ".." not in path.parts:
        return path
    shorter = Path(os.path.normpath(path))
    return shorter if shorter.exists() and shorter.samefile(path) else path.parent.resolve() / path.name


def common_folder(files: list[Path]) -> Path:
    """The deepest folder that holds all files; identifiers are paths inside it."""
    return Path(os.path.commonpath([path.parent.absolute() for path in files]))


def folder_of(source: Path) -> Path | None:
    """The folder in which the videos of a folder, glob or list are named; ``None`` where ``source`` is one video.

    Raises
    ------
    UsageError
        As :func:`named_files`.
    """
    if is_pattern(source) or is_list(source):
        return common_folder(absolute_files(source))
    return source if source.is_dir() else None


def _matched(pattern: Path) -> list[Path]:
    found = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207  # may be absolute
    files = [path for path in found if path.is_file()]
    if not files:
        raise UsageError(f"no file matches {pattern}", "check the pattern; in the shell, put it in quotes")
    return files


def _listed(path: Path) -> list[Path]:
    remedy = "a list of videos is a text file with one path a line"
    if path.stat().st_size > _LARGEST_LIST:
        raise UsageError(f"{path} is too large for a list of videos", remedy)
    with reading(path, UsageError, remedy):
        lines = path.read_text("utf-8-sig").splitlines()
    files: list[Path] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if "\0" in line or len(line) > 4096:
            raise UsageError(f"{path}, line {number} is not a path", remedy)
        file = path.parent / Path(line).expanduser()
        if not file.is_file():
            raise UsageError(f"{path}, line {number}: {line[:200]} does not exist", "correct the list")
        files.append(file)
    if not files:
        raise UsageError(f"{path} names no video", remedy)
    return files
