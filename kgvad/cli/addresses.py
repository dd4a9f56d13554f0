"""Options that also take an address of an object store or another machine: callbacks put a local path in its place."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import typer

from kgvad.given import remote

Given = TypeVar("Given", Path, None, list[Path])


def read_here(given: Given) -> Given:
    """What the option names, copied into the cache where it is an address."""
    return _replaced(given, None)


def write_there(context: typer.Context, given: Given) -> Given:
    """A path in the cache for an address to write to; what was written is uploaded when the command ends."""
    return _replaced(given, context)


def _replaced(given: Given, context: typer.Context | None) -> Given:
    if isinstance(given, list):
        return [_local(path, context) for path in given]
    return None if given is None else _local(given, context)


def _local(path: Path, context: typer.Context | None) -> Path:
    found = remote(path)
    if found is None:
        return path

    from kgvad.video.remote_files import fetch_files, upload, working_copy

    address, settings = found
    if context is None:
        return fetch_files(address, settings.cache, offline=settings.offline)
    copy = working_copy(address, settings.cache, offline=settings.offline)
    context.call_on_close(lambda: upload(copy, address))
    return copy
