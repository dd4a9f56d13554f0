"""What other packages register through entry points: found, loaded and checked in one place."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from traceback import walk_tb
from typing import TypeVar

from kgvad.errors import KgvadError, one_line

T = TypeVar("T")
REMEDY = "repair its package"


def registered(group: str, own: Mapping[str, str] | None = None) -> dict[str, EntryPoint]:
    """Entry points by name: kgvad's own, in their order, then those of other packages, in the order of the alphabet.

    Parameters
    ----------
    group
        Group of the entry points.
    own
        Name to value of what kgvad brings; no other package can take these names.
    """
    found = {name: EntryPoint(name, value, group) for name, value in (own or {}).items()}
    for point in installed(group, tuple(sys.path)):
        found.setdefault(point.name, point)
    return found


@cache
def installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of the packages on ``path`` (``sys.path``), in the order of the alphabet; read once."""
    return tuple(sorted(entry_points(group=group), key=lambda point: point.name))


def load(point: EntryPoint, kind: str) -> object:
    """What an entry point names; ``kind`` says what it should be, for messages.

    Raises
    ------
    KgvadError
        Its package cannot be imported.
    """
    try:
        value: object = point.load()
    except Exception as error:  # a plugin may raise anything while it is imported
        raise _not_loaded(point, kind, error) from error
    return value


def load_factory(point: EntryPoint, kind: str) -> object:
    """The callable that an entry point names.

    Raises
    ------
    KgvadError
        Its package cannot be imported, or it names something else.
    """
    factory = load(point, kind)
    if not callable(factory):
        raise KgvadError(f"{kind} {point.name!r} ({point.value}) is not a factory", REMEDY)
    return factory


def make(point: EntryPoint, kind: str, protocol: type[T], *arguments: object) -> T:
    """What the factory of an entry point makes of ``arguments``.

    Parameters
    ----------
    protocol
        What it must be; ``runtime_checkable``.

    Raises
    ------
    KgvadError
        Its package cannot be imported or fails, or what it makes lacks a part of the protocol. An error of kgvad that
        the factory raises is passed on as it is.
    """
    factory = load_factory(point, kind)
    try:
        value: object = factory(*arguments)  # type: ignore[operator]
    except KgvadError:
        raise
    except Exception as error:  # code of another package
        raise _not_loaded(point, kind, error) from error
    if not isinstance(value, protocol):
        parts = {**vars(protocol), **vars(protocol).get("__annotations__", {})}
        missing = [part for part in parts if not part.startswith("_") and not hasattr(value, part)]
        raise KgvadError(f"{kind} {point.name!r} ({point.value}) has no {', '.join(sorted(missing))}", REMEDY)
    return value


def blamed(error: BaseException) -> EntryPoint | None:
    """The plug-in of another package whose code runs in the traceback of ``error``, the innermost of several."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
    modules = [module for module in modules if module.partition(".")[0] != "kgvad"]
    points = (point for distribution in distributions() for point in distribution.entry_points)
    found = [point for point in points if point.group.startswith("kgvad.") and _package(point) != "kgvad"]
    for module in reversed(modules):
        own = [point for point in found if _package(point) == module.partition(".")[0]]
        if own:
            return max(own, key=lambda point: point.value.partition(":")[0] == module)
    return None


def _package(point: EntryPoint) -> str:
    """Top-level package of the module that an entry point names."""
    return re.split("[.:]", point.value, maxsplit=1)[0].strip()


def _not_loaded(point: EntryPoint, kind: str, error: Exception) -> KgvadError:
    return KgvadError(f"{kind} {point.name!r} ({point.value}) cannot be loaded: {one_line(error)}", REMEDY)
