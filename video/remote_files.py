"""Files in object stores and on other machines, by fsspec.

Videos and feature stores are copied into the cache, where they are files like others. What is written to an address is
written into the cache first, and uploaded when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from glob import has_magic
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from kgvad.console import transfer_progress
from kgvad.errors import KgvadError, UsageError, VideoError
from kgvad.files import replacing, write_json
from kgvad.video.feature_store import check_name
from kgvad.video.video_ids import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

# Kinds of addresses, with the package of fsspec that reads them (None: fsspec itself).
PROTOCOLS: Mapping[str, str | None] = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "sftp": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow", "webhdfs": None, "memory": None,
}  # fmt: skip
BUCKETS = frozenset({"s3", "gs", "gcs", "abfs", "az"})
INDEX = ".remote.json"  # which version of each file was copied
SPARE = 1 << 30  # bytes of the disk that stay free
BLOCK = 4 << 20


def address_of(source: str | PurePath) -> str | None:
    """The address that ``source`` is, where it is of a kind in :data:`PROTOCOLS`; a path has lost one slash of it."""
    text = source if isinstance(source, str) else source.as_posix()
    found = re.match(r"([a-z0-9]+):/+(?=[^/])", text)
    return f"{found[1]}://{text[found.end() :]}" if found and found[1] in PROTOCOLS else None


def fetch_videos(address: str, cache: Path, *, offline: bool = False) -> Path:
    """Copy videos into the cache, and return the file or the folder there; what is there already is not copied again.

    Parameters
    ----------
    address
        A video, a folder with its sub-folders, or a glob. Credentials are those of the tools of the service: its
        environment variables and files.
    cache
        Folder of what can be fetched again.
    offline
        Fetch nothing.

    Raises
    ------
    UsageError
        Offline; the package for this kind of address is missing; no video is there.
    VideoError
        The service refuses or fails, or the videos do not fit on the disk.
    """
    copied = _fetched(address, cache, offline=offline, suffixes=VIDEO_SUFFIXES)
    if copied is None:
        raise UsageError(f"{address} holds no video", f"videos end in {' '.join(VIDEO_SUFFIXES)}")
    return copied


def fetch_files(address: str, cache: Path, *, offline: bool = False) -> Path:
    """Copy a file or a folder with all that is in it into the cache, as :func:`fetch_videos` does, and return it there.

    Raises
    ------
    UsageError
        Offline, a package is missing, or nothing is there.
    VideoError
        As :func:`fetch_videos`.
    """
    copied = _fetched(address, cache, offline=offline)
    if copied is None:
        raise UsageError(f"{address} does not exist, or is empty", "check the address")
    return copied


def working_copy(address: str, cache: Path, *, offline: bool = False) -> Path:
    """A path in the cache for what is written to ``address``: a file, or a folder with what is there already.

    :func:`upload` sends what was written. One writer at a time: the last one's files stay.

    Raises
    ------
    UsageError, VideoError
        As :func:`fetch_files`, but for an address where nothing is yet.
    """
    if PurePosixPath(address).suffix:
        target = _folder(address, cache) / PurePosixPath(address).name
        shutil.rmtree(target.parent, ignore_errors=True)
        _check_online(address, offline)
        _opened(address)
        target.parent.mkdir(parents=True)
        return target
    folder = _fetched(address, cache, offline=offline, remove=False) or _folder(address, cache)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def upload(copy: Path, address: str) -> int:
    """Send the new and changed files of a :func:`working_copy`, manifests last, and return how many there were.

    Raises
    ------
    VideoError
        The service refuses or fails; sent again, what has arrived is left out.
    """
    root = copy if copy.is_dir() else copy.parent
    system, path = _opened(address)
    base = path if copy.is_dir() else str(PurePosixPath(path).parent)
    known = _index(root)
    files = [one for one in root.rglob("*") if one.is_file() and not one.name.startswith(".") and one.suffix != ".lock"]
    changed = [one for one in files if known.get(one.relative_to(root).as_posix(), [None])[1:] != _state(one)]
    try:
        for one in sorted(changed, key=lambda one: (one.suffix == ".json", one)):
            inside = one.relative_to(root).as_posix()
            _send(system, one, f"{base}/{inside}")
            known[inside] = [str(system.ukey(f"{base}/{inside}")), *_state(one)]
            write_json(root / INDEX, known)
    except KgvadError:
        raise
    except Exception as error:  # of the client of the service, which may be any
        raise VideoError(f"{address} cannot be written: {error}", f"try again; it is whole in {copy}") from error
    if changed:
        logger.info("files uploaded to %s: %d", address, len(changed))
    return len(changed)


def _fetched(
    address: str, cache: Path, *, offline: bool, suffixes: Sequence[str] | None = None, remove: bool = True
) -> Path | None:
    """The copy of a file or folder; ``None`` where nothing is. ``remove``: also delete copies of what is gone."""
    _check_online(address, offline)
    system, path = _opened(address)
    try:
        infos = _listed(system, path, suffixes)
        if not infos:
            return None
        folder = _folder(address, cache)
        targets = _targets(list(infos), folder, path)
        known = _index(folder)
        states = {name: str(system.ukey(name)) for name in infos}
        inside = {name: target.relative_to(folder).as_posix() for name, target in targets.items()}
        wanted = {
            name: int(infos[name].get("size") or 0)
            for name, target in targets.items()
            if not (target.is_file() and known.get(inside[name], [None])[0] == states[name])
        }
        _check_space(address, sum(wanted.values()), cache)
        if remove:
            _remove_others(folder, targets.values())
        for name in wanted:
            _copy(system, name, targets[name], wanted[name])
            known[inside[name]] = [states[name], *_state(targets[name])]
            write_json(folder / INDEX, known)
    except KgvadError:
        raise
    except Exception as error:  # of the client of the service, which may be any
        raise VideoError(f"{address} cannot be read: {error}", "check the address and your credentials") from error
    logger.info("files copied from %s: %d of %d", address, len(wanted), len(targets))
    return next(iter(targets.values())) if len(targets) == 1 and path in targets else folder


def _check_online(address: str, offline: bool) -> None:
    if offline:
        raise UsageError(f"{address} is on another machine, and KGVAD_OFFLINE is set", "copy the files here")


def _folder(address: str, cache: Path) -> Path:
    return cache / "remote" / hashlib.sha256(address.encode()).hexdigest()[:16] / _name(address.partition("://")[2])


def _state(path: Path) -> list[int]:
    """Size and time of a copy, to see that it was changed here."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _send(system: Any, source: Path, target: str) -> None:
    kinds = [system.protocol] if isinstance(system.protocol, str) else system.protocol
    if not BUCKETS.intersection(kinds):  # these have no folders
        system.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
    with transfer_progress(f"uploading {source.name}") as transferred:
        size = source.stat().st_size
        with source.open("rb") as data, system.open(target, "wb") as out:
            done = 0
            while block := data.read(BLOCK):
                out.write(block)
                done += len(block)
                transferred(done, size)


def _opened(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    kind = address.partition("://")[0]
    try:
        system, path = url_to_fs(address)
    except ImportError as error:
        package = PROTOCOLS[kind] or "fsspec"
        extra = "pip install 'kgvad[cloud]'" if package in ("s3fs", "gcsfs") else f"pip install {package}"
        raise UsageError(f"{kind}:// needs the package {package}", f"install it with: {extra}") from error
    except Exception as error:  # of the client of the service, which may be any
        raise VideoError(f"{address} cannot be opened: {error}", "check the address and your credentials") from error
    return system, str(path)


def _listed(system: Any, path: str, suffixes: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    """What the service says about each file, by its path there, sorted."""
    if has_magic(path):
        found = system.glob(path, detail=True)
    elif system.isfile(path):
        return {path: system.info(path)}
    else:
        found = system.find(path, detail=True)
    return {
        name: found[name]
        for name in sorted(found)
        if found[name].get("type") == "file"
        and (suffixes is None or PurePosixPath(name).suffix.lower() in suffixes)
        and not PurePosixPath(name).name.startswith(".")
    }


def _targets(names: Sequence[str], folder: Path, path: str) -> dict[str, Path]:
    """Where each file goes; a name that leads out of the folder is refused."""
    root = path
    if path in names or has_magic(path):
        root = os.path.commonpath([str(PurePosixPath(name).parent) for name in names])
    targets = {}
    for name in names:
        inside = os.path.relpath(name, root) if root else name.lstrip("/")
        check_name(inside.replace(os.sep, "/"))
        targets[name] = folder / inside
    return targets


def _name(path: str) -> str:
    """Name of the folder of the copies: the last part of the address without wildcards; it names the dataset."""
    parts = [part for part in path.strip("/").split("/") if part and not has_magic(part)]
    last = parts[-1] if parts else "videos"
    return re.sub(r"[^\w-]+", "_", Path(last).stem)[:80] or "videos"


def _index(folder: Path) -> dict[str, list[Any]]:
    """For each copy its version there, and its state here."""
    try:
        found = json.loads((folder / INDEX).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, list)} if isinstance(found, dict) else {}


def _check_space(address: str, size: int, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if size > free - SPARE:
        raise VideoError(
            f"{address} has {size / 1e9:.1f} GB, and {cache} has {free / 1e9:.1f} GB free",
            "name fewer files, set KGVAD_CACHE to a larger disk, or mount the store as a folder",
        )


def _remove_others(folder: Path, wanted: Any) -> None:
    """Remove copies of files that are no longer there."""
    kept = set(wanted)
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and not path.name.startswith(".") and path not in kept:
            path.unlink()


def _copy(system: Any, name: str, target: Path, size: int) -> None:
    with (
        replacing(target) as temporary,
        system.open(name, "rb") as source,
        temporary.open("wb") as out,
        transfer_progress(f"copying {PurePosixPath(name).name}") as transferred,
    ):
        done = 0
        while block := source.read(BLOCK):
            out.write(block)
            done += len(block)
            transferred(done, size)
        if size and done != size:
            raise VideoError(f"{name} has {size} bytes, and {done} arrived", "try again")
