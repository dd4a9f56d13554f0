"""Arrays of HDF5 files, read so that a file neither names other files nor claims more memory than allowed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.arrays import LARGEST_ARRAY
from kgvad.errors import KgvadError
from kgvad.files import reading
from kgvad.types import AnyArray

SUFFIXES = (".h5", ".hdf5")


def import_h5py() -> Any:
    """The package h5py.

    Raises
    ------
    KgvadError
        It is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise KgvadError("HDF5 files need h5py", "install it with: pip install 'kgvad[hdf5]'") from None
    return h5py


class Hdf5Archive:
    """The numeric datasets of an HDF5 file by their path inside it; get one with ``archive[name]``.

    Links, external storage and virtual datasets, which lead to other files, are passed over.
    """

    def __init__(self, path: str | os.PathLike[str], kind: type[KgvadError], remedy: str):
        self._path, self._kind, self._remedy = path, kind, remedy
        h5py = import_h5py()
        with reading(path, kind, remedy):
            self._file = h5py.File(path, "r", locking=False)
            self._sets = _datasets(self._file, h5py)
        self.names = list(self._sets)

    def __enter__(self) -> Hdf5Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getitem__(self, name: str) -> AnyArray:
        with reading(f"{self._path}: {name}", self._kind, self._remedy):
            found = self._sets[name]
            if found.nbytes > LARGEST_ARRAY:
                raise ValueError(f"an array of {found.nbytes} bytes is larger than {LARGEST_ARRAY >> 30} GB")
            return np.asarray(found[()])

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        return tuple(self._sets[name].shape)

    def attributes(self, name: str) -> Mapping[str, str | float]:
        """Texts and numbers that are attributes of an array."""
        with reading(f"{self._path}: {name}", self._kind, self._remedy):
            items = {str(key): _scalar(value) for key, value in self._sets[name].attrs.items()}
        return {key: value for key, value in items.items() if value is not None}


def _datasets(file: Any, h5py: Any) -> dict[str, Any]:
    """Datasets by path; each object once, over hard links only."""
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and not (item.external or item.is_virtual):
            found[name] = item

    file.visititems(note)
    return found


def _scalar(value: Any) -> str | float | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    return float(value) if isinstance(value, int | float | np.number) else None


def archive_names(path: Path, kind: type[KgvadError], remedy: str) -> dict[str, Mapping[str, str | float]]:
    """Attributes of each dataset of an HDF5 file, by its path."""
    with Hdf5Archive(path, kind, remedy) as archive:
        return {name: archive.attributes(name) for name in archive.names}
