"""Arrays of other programs as [crops, T, D]: .npy, text and members of archives, in one orientation per source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from kgvad.arrays import Archive, check_claim, open_npz, read_header
from kgvad.errors import FeatureError
from kgvad.files import decode_text, reading
from kgvad.hdf5_arrays import SUFFIXES, Hdf5Archive
from kgvad.types import AnyArray
from kgvad.video.feature_arrays import check_finite
from kgvad.video.feature_sources import Piece, names_of, pickle_refused

Axes = Literal["TD", "DT", "TCD", "CTD"]
CROPS = (1, 5, 10)  # of the programs that are in use


class Arrays:
    """Reads pieces; an archive stays open."""

    def __init__(self) -> None:
        self._archives: dict[Path, Archive | Hdf5Archive] = {}

    def shape(self, piece: Piece) -> tuple[int, ...] | None:
        """Shape from the header; ``None`` where only reading tells it. Pickled arrays are refused."""
        if piece.member is not None:
            bundle = self._archive(piece.file)
            return _squeezed(bundle.shape(f"{piece.member}|q" if f"{piece.member}|q" in bundle.names else piece.member))
        if piece.file.suffix.lower() != ".npy":
            return None
        with reading(piece.file, FeatureError, "copy it again"), piece.file.open("rb") as file:
            shape, kind = read_header(file)
        if kind.hasobject:
            raise pickle_refused(piece.file)
        return _squeezed(shape)

    def read(self, piece: Piece) -> AnyArray:
        """The array, two or three axes, finite.

        Raises
        ------
        FeatureError
            Damaged, pickled, not numbers, or not finite; the message names file, array and row.
        """
        self.shape(piece)
        with reading(piece.where, FeatureError, "copy it again, or leave it out"):
            array = self._member(piece) if piece.member is not None else _file(piece.file)
        if array.dtype.kind != "f" or array.ndim < 2 or 0 in array.shape:
            raise FeatureError(
                f"{piece.where} holds {array.dtype} {list(array.shape)}, not features [T, D] or [T, crops, D]",
                "leave it out, or save it as floating-point rows",
            )
        array = array.reshape(_squeezed(array.shape))
        if array.ndim > 3:
            raise FeatureError(
                f"{piece.where} has {array.ndim} axes {list(array.shape)}", "save it as [T, D] or [T, crops, D]"
            )
        check_finite(array, piece.where)
        return array

    def is_quantised(self, piece: Piece) -> bool:
        """Whether an archive keeps the array as ``NAME|q`` uint8 [N, D] and ``NAME|s``: C3D of 32 segments."""
        if piece.member is None:
            return False
        bundle = self._archive(piece.file)
        return f"{piece.member}|q" in bundle.names and bundle[f"{piece.member}|q"].dtype == np.uint8

    def _archive(self, file: Path) -> Archive | Hdf5Archive:
        if file not in self._archives:
            opened = Hdf5Archive if file.suffix.lower() in SUFFIXES else open_npz
            self._archives[file] = opened(file, FeatureError, "copy the archive again")
        return self._archives[file]

    def _member(self, piece: Piece) -> AnyArray:
        bundle, name = self._archive(piece.file), str(piece.member)
        if f"{name}|q" not in bundle.names:
            return bundle[name]
        small, scale = bundle[f"{name}|q"], bundle[f"{name}|s"].astype(np.float32)
        if small.dtype == np.uint8:
            return np.asarray((small.astype(np.float32) / 255) ** 2 * scale[:, None], dtype=np.float32)
        return np.asarray(small.astype(np.float32) * scale[:, None], dtype=np.float32)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without axes of length one behind the second, where there are more than three."""
    if len(shape) <= 3:
        return shape
    kept = [length for length in shape[1:-1] if length != 1]
    return (shape[0], *kept, shape[-1]) if shape[-1] != 1 else (shape[0], *kept)


def _file(path: Path) -> AnyArray:
    if path.suffix.lower() == ".txt":
        lines = [line.replace(",", " ").split() for line in decode_text(path.read_bytes()).splitlines()]
        rows = [row for row in lines if row]
        if odd := next((number for number, row in enumerate(lines, 1) if row and len(row) != len(rows[0])), None):
            raise ValueError(f"line {odd} has {len(lines[odd - 1])} numbers, the first has {len(rows[0])}")
        return np.array(rows, dtype=np.float32)
    if path.suffix.lower() == ".npz":
        with open_npz(path, FeatureError, "copy it again") as bundle:
            if len(bundle.names) != 1:
                raise FeatureError(
                    f"{path} holds {len(bundle.names)} arrays ({names_of(bundle.names)}), not one",
                    "save each as a file of its own, such as NAME_rgb.npy and NAME_flow.npy",
                )
            return bundle[bundle.names[0]]
    with path.open("rb") as file:
        check_claim(file, path.stat().st_size)
    array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def orientation(shapes: Sequence[tuple[int, ...]], source: str) -> Axes:
    """Order of the axes of the arrays of one source.

    The axis of the crops is 1, 5 or 10 long; where that fits both axes or none, it has the same length in all arrays.

    Raises
    ------
    FeatureError
        The order is ambiguous; the message names the shapes.
    """
    solid = {shape for shape in shapes if len(shape) == 3}
    remedy = "say it with --axes: TD, DT, TCD or CTD (T rows, C crops, D dimensions)"
    if not solid:
        flat = set(shapes)
        if len({shape[1] for shape in flat}) > 1 and len({shape[0] for shape in flat}) == 1:
            raise FeatureError(f"{source}: the last axis differs ({names_of(map(str, sorted(flat)))})", remedy)
        return "TD"
    first, second = ({shape[axis] for shape in solid} for axis in (0, 1))
    shown = names_of(str(list(shape)) for shape in sorted(solid))
    likely = [lengths <= set(CROPS) for lengths in (first, second)]
    if len(first) == len(second) == 1 and (first == {1}) != (second == {1}):
        return "CTD" if first == {1} else "TCD"
    if likely[0] != likely[1]:
        return "CTD" if likely[0] else "TCD"
    if (len(first) > 1) == (len(second) > 1):
        raise FeatureError(f"{source}: the axis of the crops is ambiguous in {shown}", remedy)
    return "TCD" if len(first) > 1 else "CTD"


def oriented(array: AnyArray, axes: Axes) -> AnyArray:
    """``array`` as [crops, T, D]."""
    if array.ndim == 2:
        return array.T[None] if axes == "DT" else array[None]
    return array if axes == "CTD" else array.transpose(1, 0, 2)
