"""What a download contains: plain files, and the members of zip archives, opened without trusting either.

Nothing is written under a name of an archive: callers choose the names. A member with a path outside, a link, an
encrypted member, a name that occurs twice, and an archive that claims to unpack to far more than its source says are
refused before anything is read.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kgvad.errors import DatasetError
from kgvad.files import reading, replacing

BLOCK = 1 << 20  # bytes
RATIO = 200  # a member that unpacks to more than this many times its packed size is a bomb
SMALL = 1 << 20  # bytes; members up to this size may pack as well as they like


@dataclass(frozen=True)
class Member:
    """A file of a source: its path in the repository (and archive), its size, and how to read it."""

    path: str
    size: int
    open: Callable[[], IO[bytes]]
    file: Path | None = None  # of a plain file

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


@contextmanager
def opened(path: str, file: Path, most: int | None) -> Iterator[list[Member]]:
    """Members of a downloaded file: of a zip archive, otherwise the file itself.

    Parameters
    ----------
    path
        Path of the file in its repository.
    file
        Where it was saved.
    most
        Bytes to which it may unpack; ``None``: as many as ``RATIO`` allows.

    Raises
    ------
    DatasetError
        The archive is damaged or hostile.
    """
    if not path.lower().endswith(".zip"):
        yield [Member(path, file.stat().st_size, lambda: file.open("rb"), file)]
        return
    with reading(path, DatasetError, "download it again"):
        bundle = zipfile.ZipFile(file)
    with bundle:
        yield _checked(path, bundle, most)


def _checked(path: str, bundle: zipfile.ZipFile, most: int | None) -> list[Member]:
    members: dict[str, Member] = {}
    total = 0
    for info in bundle.infolist():
        name = info.filename.replace("\\", "/")
        where = f"{path}: {name[:120]!r}"
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/") or "\0" in name:
            raise _hostile(f"{where} leads outside its folder")
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _hostile(f"{where} is a link or a device, not a file")
        if info.flag_bits & 1:
            raise _hostile(f"{where} is encrypted")
        if name in members:
            raise _hostile(f"{where} occurs twice")
        if info.file_size > max(SMALL, RATIO * info.compress_size):
            raise _hostile(f"{where} would unpack to {info.file_size} bytes from {info.compress_size}")
        total += info.file_size
        if most is not None and total > most:
            raise _hostile(f"{path} would unpack to more than {most} bytes")
        members[name] = Member(f"{path}/{name}", info.file_size, _opener(bundle, info))
    return list(members.values())


def _opener(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: bundle.open(info)


def _hostile(message: str) -> DatasetError:
    return DatasetError(message, "nothing was unpacked; the source is damaged or not what its page says")


def copy(member: Member, target: Path) -> None:
    """Write a member to ``target``.

    Raises
    ------
    DatasetError
        It is damaged, or has another size than it claims.
    """
    with (
        reading(member.path, DatasetError, "download it again"),
        member.open() as stream,
        replacing(target) as temporary,
    ):
        written = 0
        with temporary.open("wb") as out:
            while block := stream.read(BLOCK):
                written += len(block)
                out.write(block)
        if written != member.size:
            raise ValueError(f"{written} bytes instead of {member.size}")
