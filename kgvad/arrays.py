"""Arrays of npy and npz files, read so that a file cannot claim more memory than it is large."""

from __future__ import annotations

import os
import zipfile
from tokenize import TokenError
from typing import IO

from numpy import asarray, dtype, generic
from numpy.lib import format as npy

from kgvad.errors import FeatureError, KgvadError
from kgvad.files import reading
from kgvad.types import AnyArray

LARGEST_ARRAY = 4 << 30  # bytes of one array of an archive, unpacked


def numbers(array: object, name: str) -> AnyArray:
    """``array`` in NumPy: an array stays as it is, a list or a torch tensor, wherever it lies, is converted.

    Raises
    ------
    FeatureError
        It does not hold numbers, or is ragged; the message begins with ``name``.
    """
    if hasattr(array, "detach"):  # a tensor of torch, which is not imported for this
        array = array.detach().cpu().float().numpy()
    try:
        found: AnyArray = asarray(array)
    except (TypeError, ValueError) as error:
        raise FeatureError(f"{name} are not an array: {error}", "give one, float [T, D]") from error
    if found.dtype.kind not in "fiub":
        raise FeatureError(f"{name} are of type {type(array).__name__}, not numbers", "give an array, float [T, D]")
    return found


class Archive:
    """The arrays of an npz file by name; get one with ``archive[name]``."""

    def __init__(self, path: str | os.PathLike[str], bundle: zipfile.ZipFile, kind: type[KgvadError], remedy: str):
        self._path, self._bundle, self._kind, self._remedy = path, bundle, kind, remedy
        self._members = {info.filename.removesuffix(".npy"): info for info in bundle.infolist()}
        self.names = list(self._members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._bundle.close()

    def __getitem__(self, name: str) -> AnyArray:
        with reading(f"{self._path}: {name}", self._kind, self._remedy):
            member = self._members[name]
            with self._bundle.open(member) as file:
                check_claim(file, member.file_size)
            with self._bundle.open(member) as file:
                array: AnyArray = npy.read_array(file, allow_pickle=False)
            return array

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, from its header."""
        with reading(f"{self._path}: {name}", self._kind, self._remedy), self._bundle.open(self._members[name]) as file:
            return read_header(file)[0]


def open_npz(path: str | os.PathLike[str], kind: type[KgvadError], remedy: str) -> Archive:
    """Open an npz file; errors, also of reading arrays later, are of ``kind``: one line with ``remedy``."""
    with reading(path, kind, remedy):
        bundle = zipfile.ZipFile(path)
    return Archive(path, bundle, kind, remedy)


def check_claim(file: IO[bytes], size: int) -> None:
    """Refuse an npy header that claims more bytes than the ``size`` of its file, or more than 4 GiB.

    Raises
    ------
    ValueError
        It does, or holds Python objects.
    """
    shape, kind = read_header(file)
    if kind.hasobject:
        raise ValueError("it is pickled: it holds Python objects, which are never loaded")
    claimed = kind.itemsize
    for length in shape:
        claimed *= length
    if min(shape, default=0) < 0 or claimed > size - file.tell():
        raise ValueError(f"it claims {claimed} bytes of numbers and has fewer")
    if claimed > LARGEST_ARRAY:
        raise ValueError(f"an array of {claimed} bytes is larger than {LARGEST_ARRAY >> 30} GB")


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], dtype[generic]]:
    """Shape and type that an npy header declares; a damaged one is a ``ValueError``."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, _, kind = read(file)
    except (SyntaxError, TokenError, MemoryError, RecursionError) as error:  # of the Python literal in it
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    return tuple(shape), kind
