"""Files and folders on the command line, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.errors import KgvadError, UsageError
from kgvad.files import address_like

if TYPE_CHECKING:
    from kgvad.settings import Settings


def run_folder(run: Path | None) -> Path | None:
    """The folder of a run on the command line: ``shipped`` is the run that comes with kgvad."""
    if run != Path("shipped") or run.exists():
        return run
    from kgvad.detector.shipped import UCF_ACTIONS

    return UCF_ACTIONS


def refuse_run_beside_scores(scores: Path | None, run: Path | None) -> None:
    """Refuse a run that was named for scores that are given.

    Raises
    ------
    UsageError
        Both are given.
    """
    if scores is not None and run is not None:
        raise UsageError("given scores are explained as they are, and a run would score anew", "leave out one of them")


def must_exist(paths: Path | Iterable[Path] | None, kind: type[KgvadError], remedy: str) -> None:
    """Check that paths exist; ``None``: the option was not given.

    Raises
    ------
    KgvadError
        Of ``kind``, for the first path that does not exist.
    """
    for path in [paths] if isinstance(paths, Path) else paths or ():
        if path.exists():
            continue
        if address := address_like(path):
            known = "only videos and feature stores are read from addresses, and only in object stores such as s3://"
            raise kind(f"{address} is not a local file; {known}", "download it")
        raise kind(f"{path} does not exist", remedy)


def videos_must_exist(source: Path | None, kind: type[KgvadError]) -> None:
    """Check that a video, folder or list of videos exists; what a glob matches is found out later.

    Raises
    ------
    KgvadError
        Of ``kind``: it does not exist.
    """
    if source is not None and not has_magic(str(source)):
        must_exist(source, kind, "name a video or a folder of videos")


def must_be_folder(path: Path | None, option: str) -> None:
    """Check that a folder to write into is no file; ``None``: the option was not given.

    Raises
    ------
    UsageError
        It is one.
    """
    if path is not None and path.exists() and not path.is_dir():
        raise UsageError(f"{option} {path} is not a folder", "give a folder")


def goes_with(option: str, value: object, others: Mapping[str, object]) -> None:
    """Check that options which only change what ``option`` does are not given without it.

    Raises
    ------
    UsageError
        One of ``others`` (option to value) is given, and ``value`` is not.
    """
    for name, other in others.items():
        if other and not value:
            raise UsageError(f"{name} does nothing without {option}", f"add {option}, or leave {name} out")


def videos_here(source: str | Path) -> Path | None:
    """Videos of an object store or another machine, copied into the cache; ``None`` where ``source`` is not there.

    Raises
    ------
    KgvadError
        They cannot be copied, or nothing may be fetched.
    """
    found = remote(source)
    if found is None:
        return None

    from kgvad.video.remote_files import fetch_videos

    address, settings = found
    return fetch_videos(address, settings.cache, offline=settings.offline)


def remote(source: str | Path) -> tuple[str, Settings] | None:
    """The address that ``source`` is, and the settings to copy it with; ``None`` for a path."""
    if address_like(source) is None:
        return None

    from kgvad.settings import load_settings
    from kgvad.video.remote_files import address_of

    address = address_of(source)
    return None if address is None else (address, load_settings())
