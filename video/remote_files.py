"""Videos in object stores and on other machines, copied into the cache, where they are videos like others."""

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
from kgvad.video.decode import SUFFIXES
from kgvad.video.feature_store import check_name

logger = logging.getLogger(__name__)

# Kinds of addresses, with the package of fsspec that reads them (None: fsspec itself).
PROTOCOLS: Mapping[str, str | None] = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "sftp": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow", "webhdfs": None, "memory": None,
}  # fmt: skip
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
    if offline:
        raise UsageError(f"{address} is on another machine, and KGVAD_OFFLINE is set", "copy the videos here")
    system, path = _opened(address)
    try:
        infos = _listed(system, path)
        if not infos:
            raise UsageError(f"{address} holds no video", f"videos end in {' '.join(SUFFIXES)}")
        folder = cache / "remote" / hashlib.sha256(address.encode()).hexdigest()[:16] / _name(path)
        targets = _targets(list(infos), folder)
        known = _index(folder)
        states = {name: str(system.ukey(name)) for name in infos}
        wanted = {
            name: int(infos[name].get("size") or 0)
            for name, target in targets.items()
            if not (target.is_file() and known.get(str(target.relative_to(folder))) == states[name])
        }
        _check_space(address, sum(wanted.values()), cache)
        _remove_others(folder, targets.values())
        for name in wanted:
            _copy(system, name, targets[name], wanted[name])
            known[str(targets[name].relative_to(folder))] = states[name]
            write_json(folder / INDEX, known)
    except KgvadError:
        raise
    except Exception as error:  # of the client of the service, which may be any
        raise VideoError(f"{address} cannot be read: {error}", "check the address and your credentials") from error
    logger.info("%d of %d videos copied from %s", len(wanted), len(targets), address)
    return next(iter(targets.values())) if len(targets) == 1 and path in targets else folder


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


def _listed(system: Any, path: str) -> dict[str, Mapping[str, Any]]:
    """What the service says about each video, by its path there, sorted."""
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
        and PurePosixPath(name).suffix.lower() in SUFFIXES
        and not PurePosixPath(name).name.startswith(".")
    }


def _targets(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Where each file goes; a name that leads out of the folder is refused."""
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


def _index(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / INDEX).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_space(address: str, size: int, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if size > free - SPARE:
        raise VideoError(
            f"{address} has {size / 1e9:.1f} GB of videos, and {cache} has {free / 1e9:.1f} GB free",
            "name fewer videos, set KGVAD_CACHE to a larger disk, or mount the store as a folder",
        )


def _remove_others(folder: Path, wanted: Any) -> None:
    """Remove copies of videos that are no longer there."""
    kept = set(wanted)
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and path.suffix.lower() in SUFFIXES and path not in kept:
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
