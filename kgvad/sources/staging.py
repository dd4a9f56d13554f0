"""The arrays of a downloaded source, checked against its recipe and laid out for the importer."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from kgvad.arrays import check_claim
from kgvad.console import track
from kgvad.errors import DatasetError
from kgvad.files import reading, replacing
from kgvad.sources.recipe import Part, SourceArrays
from kgvad.sources.unpack import Member, copy
from kgvad.types import AnyArray

CHANGED = "the source has changed since its recipe was written; nothing was imported"


@dataclass
class Staged:
    """Arrays in ``folder``, one file for each video and crop, streams joined; ``splits`` holds paths by split."""

    folder: Path
    splits: dict[str | None, list[Path]] = field(default_factory=dict)


def stage(features: SourceArrays, members: Sequence[Member], folder: Path) -> Staged:
    """Copy the arrays of a source into ``folder``.

    Raises
    ------
    DatasetError
        The arrays are not those of the recipe: another number, name, shape or type, a stream that lacks a video; or
        one is pickled or damaged.
    """
    found = _by_part(features, members)
    staged = Staged(folder)
    groups: dict[str | None, list[tuple[Part, dict[str, Member]]]] = {}
    for part, files in zip(features.part, found, strict=True):
        groups.setdefault(part.split, []).append((part, files))
    for split, parts in groups.items():
        staged.splits[split] = _stage_split(features, parts, folder / (split or "all"))
    return staged


def _by_part(features: SourceArrays, members: Sequence[Member]) -> list[dict[str, Member]]:
    """Members of each part by file name."""
    found: list[dict[str, Member]] = [{} for _ in features.part]
    for member in members:
        if not member.path.endswith(".npy") or "__MACOSX/" in member.path:
            continue
        for part, files in zip(features.part, found, strict=True):
            if fnmatch.fnmatchcase(member.path, part.match):
                if member.name in files:
                    raise DatasetError(f"{files[member.name].path} and {member.path} have the same name", CHANGED)
                files[member.name] = member
                break
        else:
            raise DatasetError(f"{member.path} is in no folder that the recipe knows", CHANGED)
    for part, files in zip(features.part, found, strict=True):
        if not files or part.count not in (None, len(files)):
            expected = "some" if part.count is None else part.count
            raise DatasetError(f"{len(files)} arrays {part.match!r} where the recipe expects {expected}", CHANGED)
    return found


def _stage_split(features: SourceArrays, parts: list[tuple[Part, dict[str, Member]]], folder: Path) -> list[Path]:
    streams: dict[str, dict[str, tuple[Part, Member]]] = {}
    for part, own in parts:
        streams.setdefault(part.stream, {}).update({name: (part, member) for name, member in own.items()})
    first, *others = streams.items()
    for stream, files in others:
        if lacking := sorted(files.keys() ^ first[1].keys()):
            has, lacks = (stream, first[0]) if lacking[0] in files else (first[0], stream)
            raise DatasetError(f"{lacking[0]} is in the stream {has} and not in {lacks}", CHANGED)
    paths = []
    for name, (part, member) in track(first[1].items(), "checking arrays"):
        target = folder / _safe(name)
        if not others:
            _check(features, part, member)
            _place(member, target)
        else:
            arrays = [_load(features, *files[name]) for files in streams.values()]
            if len({array.shape[:-1] for array in arrays}) > 1:
                raise DatasetError(f"{name} has different shapes in {', '.join(streams)}", CHANGED)
            _save(np.concatenate(arrays, axis=-1), target)
        paths.append(target)
    return paths


def _safe(name: str) -> str:
    """A file name of the source, as the name of a file here."""
    if name.startswith(".") or any(ord(character) < 32 or character in "\\/" for character in name):
        raise DatasetError(f"{name[:80]!r} is not the name of an array", CHANGED)
    return name


def _check(features: SourceArrays, part: Part, member: Member) -> None:
    """Refuse an array of another shape than the recipe's, from its header alone."""
    with reading(member.path, DatasetError, CHANGED):
        with member.open() as file:
            check_claim(file, member.size)
        with member.open() as file:
            shape, dtype = _header(file)
        fault = _fault(features, part, shape, dtype)
    if fault:
        raise DatasetError(f"{member.path} has the shape {list(shape)} of {dtype}, {fault}", CHANGED)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _fault(features: SourceArrays, part: Part, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str | None:
    """What differs from the recipe, in words."""
    if dtype.kind != "f":
        return "not of floating-point numbers"
    if len(shape) not in (2, 3) or 0 in shape:
        return "not [snippets, dimensions] or that with crops"
    if features.dim not in (None, shape[-1]):
        return f"not of {features.dim} dimensions"
    if part.rows is not None and part.rows not in shape[:-1]:
        return f"not of {part.rows} segments"
    if features.crops is not None and features.crops > 1 and (len(shape) != 3 or features.crops not in shape[:-1]):
        return f"not of {features.crops} crops"
    return None


def _load(features: SourceArrays, part: Part, member: Member) -> AnyArray:
    _check(features, part, member)
    with reading(member.path, DatasetError, CHANGED), member.open() as file:
        array: AnyArray = npy.read_array(file, allow_pickle=False)
    return array


def _place(member: Member, target: Path) -> None:
    """Write a member, without a copy where it lies on the same disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.file is not None:
        target.unlink(missing_ok=True)
        try:
            os.link(member.file, target)
            return
        except OSError:  # another disk, or one without links
            pass
    copy(member, target)


def _save(array: AnyArray, target: Path) -> None:
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
