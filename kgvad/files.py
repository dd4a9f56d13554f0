"""Files: written so that a kill leaves the old file or the new one, read so that a damaged one is one line."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import json
import math
import os
import re
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Union

from safetensors import SafetensorError

from kgvad.errors import KgvadError, UsageError

PathLike = Union[str, "os.PathLike[str]"]

_TEMPORARY = ".kgvad-"  # stands in the names of temporary files
_DATA_SUFFIXES = (".npy", ".safetensors", ".jsonl")
_DATA_NAMES = ("config.json", "manifest.json", "dataset.json")
_MOST_LINKS = 40
_OPENED = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # pipes that a shell passes to a command

LARGEST_TEXT = 1 << 30  # bytes of a JSON file, also once a gzipped one is unpacked
# What opening, unpacking and parsing a damaged or hostile file raises. RuntimeError: an encrypted zip member, too deep
# nesting (RecursionError), an unknown compression (NotImplementedError); ArithmeticError: numbers beyond any type.
DAMAGED = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError,
    csv.Error, struct.error, zipfile.BadZipFile, zlib.error, SafetensorError,
)  # fmt: skip
AS_UTF8 = "save it as UTF-8; spreadsheets call that CSV UTF-8"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    The folder is created. If the block raises, the temporary file is removed and ``path`` stays as it was. A symbolic
    link stays: its target is replaced. What is written to a device or pipe (``/dev/stdout``) is sent there at the end.

    Raises
    ------
    KgvadError
        An ``OSError`` (full disk, no permission), as one line.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        target, is_stream = _target(path)
        if target.is_dir():
            raise KgvadError(f"{path} is a folder, not a file", "choose another name")
        if not is_stream:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=None if is_stream else target.parent,
            prefix=f".{_shortened(target.stem, 60)}{_TEMPORARY}",
            suffix=_shortened(target.suffix, 30),
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if is_stream:
            _send(temporary, target)
            return
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except (OSError, SafetensorError) as error:  # safetensors wraps what the disk says
        reason = getattr(error, "strerror", None) or str(error)
        raise KgvadError(f"cannot write {path}: {reason}", "free space or choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` when the block ends well, else remove it.

    Raises
    ------
    UsageError
        ``path`` exists, or its folder cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists", "choose a new folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{_shortened(path.name, 60)}{_TEMPORARY}", dir=path.parent))
        try:
            yield folder
            folder.chmod(0o777 & ~_umask())
            folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}", "choose another place") from error


def is_temporary(path: Path) -> bool:
    """Whether a killed process left this file behind while it wrote another."""
    return path.name.startswith(".") and _TEMPORARY in path.name


def _shortened(name: str, most: int) -> str:
    """The first bytes of ``name``, so that a temporary name is no longer than a file system allows."""
    return name.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def _target(path: Path) -> tuple[Path, bool]:
    """The file that symbolic links lead to, and whether it is a device or pipe, which is written to, not replaced."""
    for _ in range(_MOST_LINKS):
        if _descriptor(path) is not None:
            return path, True
        if not path.is_symlink():
            return path, path.exists() and not (path.is_file() or path.is_dir())
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor(path: Path) -> int | None:
    """The file descriptor of this process that a name such as ``/dev/stdout`` stands for."""
    name = os.path.normpath(path.absolute())
    if name in _STANDARD:
        return _STANDARD[name]
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", name)
    return int(match[1]) if match and os.name == "posix" else None


_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2} if os.name == "posix" else {}


def _send(source: Path, target: Path) -> None:
    """Copy the content of ``source`` to a device, a pipe or an open file descriptor."""
    descriptor = _descriptor(target)
    if descriptor == 1 and sys.stdout is not None:  # by way of sys.stdout, to keep the order of what is printed there
        sys.stdout.flush()
        sys.stdout.buffer.write(source.read_bytes())
        sys.stdout.flush()
        return
    handle = os.open(target, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
    with open(handle, "wb") as out, source.open("rb") as file:
        shutil.copyfileobj(file, out)


def refuse_inputs(
    outputs: Mapping[str, PathLike | Sequence[PathLike] | None],
    inputs: Iterable[PathLike | None],
) -> None:
    """Raise where writing the outputs would destroy an input, or one output another.

    Parameters
    ----------
    outputs
        Files and folders to write by what names them: an option such as ``--output``.
    inputs
        Files and folders that are read; ``kgvad.toml`` of the working folder always is. In a folder, the data files
        that kgvad itself keeps (features, runs, banks) count too.

    Raises
    ------
    UsageError
        The message names the option and the file.
    """
    for name, given in outputs.items():
        for output in [given] if isinstance(given, str | os.PathLike) else given or ():
            if address := address_like(output):
                raise UsageError(
                    f"{name} {address} is an address of a kind that nothing is written to", "write a file and copy it"
                )
    read = [Path(path) for path in (*inputs, "kgvad.toml") if path is not None]
    identities = {_identity(path) for path in read} - {None}
    folders = [path.resolve() for path in read if path.is_dir()]
    written = set()
    for name, given in outputs.items():
        for output in map(Path, [given] if isinstance(given, str | os.PathLike) else given or ()):
            identity = _identity(output)
            if identity is None:
                continue
            if identity in identities or _is_data_in(output, folders):
                raise UsageError(f"{name} {output} is one of the inputs", "choose another name")
            if identity in written:
                raise UsageError(f"{name} {output} names an output that another option writes", "give each its own")
            written.add(identity)


def address_like(path: PathLike) -> str | None:
    """The address that a path was meant to be (``s3://bucket/x``, of which a path keeps one slash); else ``None``."""
    found = re.match(r"([a-z][a-z0-9+]+):/+(?=[^/])", Path(path).as_posix())
    return f"{found[1]}://{Path(path).as_posix()[found.end() :]}" if found else None


def _identity(path: Path) -> tuple[int, int] | str | None:
    """Equal for two names of one file; ``None`` for a device or pipe, which loses nothing when it is written to."""
    try:
        target, is_stream = _target(path)
        if is_stream:
            return None
        status = Path(os.path.realpath(target)).stat()  # "sub/../r.md" too where there is no sub
        return status.st_dev, status.st_ino
    except OSError:
        return os.path.realpath(path)


def _is_data_in(path: Path, folders: Sequence[Path]) -> bool:
    """Whether ``path`` is a data file of kgvad in one of the folders."""
    real = Path(os.path.realpath(path))
    is_data = real.suffix in _DATA_SUFFIXES or real.name in _DATA_NAMES
    return is_data and real.exists() and any(real.is_relative_to(folder) for folder in folders)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` in one piece or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, in one piece or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write indented JSON; NaN and infinity are refused because JSON has neither."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append a line of UTF-8 text to a file; what a full disk or a kill left of an earlier line is dropped first."""
    try:
        with open(path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(f"{line}\n".encode())
    except OSError as error:
        raise KgvadError(f"cannot write {path}: {error.strerror}", "free space or choose another place") from error


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    _refuse_pipe(Path(path))
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def reading(path: str | os.PathLike[str], kind: type[KgvadError], remedy: str) -> Iterator[None]:
    """Turn what a missing, damaged or hostile file raises in the block into one line of ``kind``."""
    try:
        if Path(path).is_dir():
            raise kind(f"{path} is a folder, not a file", remedy)
        _refuse_pipe(Path(path))
        yield
    except DAMAGED as error:
        raise kind(f"{path} cannot be read: {_reason(error)}", _remedy(error, remedy)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {'UTF-16' if 'utf-16' in error.encoding else 'UTF-8'} text"
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(str(said).split())[:160] or type(error).__name__


def _remedy(error: Exception, usual: str) -> str:
    return AS_UTF8 if isinstance(error, UnicodeDecodeError) else usual


def _refuse_pipe(path: Path) -> None:
    """Raise ``OSError`` for a pipe or device that has a name: reading it may never end. What a shell opened is read."""
    if path.exists() and not (path.is_file() or path.is_dir() or path.as_posix().startswith(_OPENED)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


def read_json(path: str | os.PathLike[str], kind: type[KgvadError], remedy: str) -> Any:
    """The value of a JSON file, which may be gzipped and begin with a byte order mark.

    Parameters
    ----------
    kind
        What is raised when the file cannot be read.
    remedy
        What the reader of the error can do.

    Raises
    ------
    KgvadError
        Of ``kind``: no such file, or not JSON; see :func:`parse_json`.
    """
    return parse_json(read_data(path, kind, remedy), path, kind, remedy)


def read_data(path: str | os.PathLike[str], kind: type[KgvadError], remedy: str) -> bytes:
    """Content of a file, which may be gzipped.

    Raises
    ------
    KgvadError
        Of ``kind``: no such file, a damaged one, or more than 1 GiB.
    """
    with reading(path, kind, remedy):
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            with gzip.open(plain) if packed else plain as file:
                data = file.read(LARGEST_TEXT + 1)
        if len(data) > LARGEST_TEXT:
            raise kind(f"{path} is larger than {LARGEST_TEXT >> 20} MB", remedy)
    return data


def decode_text(data: bytes) -> str:
    """A text in UTF-16 where it has the byte order mark, else in UTF-8."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def parse_json(data: bytes | str, name: object, kind: type[KgvadError], remedy: str) -> Any:
    """The value of a JSON text; ``name`` tells in errors where it stands.

    Raises
    ------
    KgvadError
        Of ``kind``: not UTF-8 or UTF-16, not JSON, a key twice in one object,
        nested too deeply, NaN or infinity, or half a surrogate pair.
    """
    try:
        raw = data.encode() if isinstance(data, str) else data
        text = decode_text(raw)
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_repeated)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # escapes of surrogates: halves of them cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise kind(f"{name} is not valid JSON: {_reason(error)}", _remedy(error, remedy)) from error
    return value


def _no_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0][:60]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def check_version(data: object, name: object, known: int, kind: type[KgvadError], remedy: str) -> None:
    """Refuse the content of a file whose ``version`` is missing, older or newer than the one that is ``known``.

    Raises
    ------
    KgvadError
        Of ``kind``; the remedy of a newer file is to update kgvad, of another one ``remedy``.
    """
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and version > known:
        raise kind(f"{name} is of a newer version ({version}; this kgvad reads {known})", "update kgvad")
    if version != known or isinstance(version, bool):
        said = "has no version" if version is None else f"is of version {str(version)[:40]!r}, not {known}"
        raise kind(f"{name} {said}", remedy)
