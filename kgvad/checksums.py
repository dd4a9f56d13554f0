"""Hashes of every file of a model folder: recorded when it is fetched, checked each time it is used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kgvad import files
from kgvad.errors import WeightsError

RECORD = "sha256.json"
RECORD_VERSION = 1
CONVERTED = "converted.safetensors"  # ours, beside the published file; it carries its own hash
# What Transformers reads beside the weights, text side and image side: each file changes the vectors.
TEXT_FILES = (
    "config.json",
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
IMAGE_FILES = ("config.json", "preprocessor_config.json")

_known: dict[tuple[str, int, int, int], str] = {}  # of this process, so that no file is read twice in one command


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; read once a process unless the file changes."""
    status = path.stat()
    key = (os.fspath(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _known:
        _known[key] = files.sha256(path)
    return _known[key]


def check_file(path: Path, expected: str | None) -> None:
    """Raise unless the file's SHA-256 is ``expected``; ``None`` accepts any."""
    if expected is not None and (found := sha256(path)) != expected:
        raise WeightsError(
            f"{path} is damaged or not the expected file: sha256 {found[:16]}… instead of {expected[:16]}…",
            "delete it and fetch it again",
        )


def check_folder(folder: Path, expected: Mapping[str, str], *, exclusive: bool) -> None:
    """Check every file of a model folder.

    Parameters
    ----------
    folder
        The folder.
    expected
        File name to SHA-256.
    exclusive
        Whether other files are refused; a loader may prefer one that was put beside the expected ones.

    Raises
    ------
    WeightsError
        A file is missing, differs or should not be there.
    """
    for name, digest in expected.items():
        if not (folder / name).is_file():
            raise WeightsError(f"{folder} has no {name}", "copy the whole folder, or fetch the weights again")
        check_file(folder / name, digest)
    if exclusive and (other := sorted(set(_names(folder)) - expected.keys())):
        raise WeightsError(f"{folder / other[0]} does not belong to these weights", "delete it")


def _names(folder: Path) -> Iterable[str]:
    """Files of the folder and its sub-folders, without hidden ones, the record and what kgvad converted."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if path.is_file() and not hidden and name not in (RECORD, CONVERTED):
            yield name


def record(folder: Path, source: str) -> None:
    """Write the hashes of all files of ``folder`` and where they come from into its :data:`RECORD`."""
    hashes = {name: sha256(folder / name) for name in sorted(_names(folder))}
    files.write_json(folder / RECORD, {"version": RECORD_VERSION, "source": source, "files": hashes})


def recorded(folder: Path, source: str | None = None) -> dict[str, str] | None:
    """What :func:`record` wrote, file name to SHA-256; ``None`` without a record, or with one of another source.

    Raises
    ------
    WeightsError
        The record is damaged.
    """
    path = folder / RECORD
    try:
        found = json.loads(path.read_bytes())
        hashes = {str(name): str(digest) for name, digest in found["files"].items()}
        known = found["version"] == RECORD_VERSION
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged ({type(error).__name__})", f"delete {folder} and fetch again") from error
    return hashes if known and source in (None, found.get("source")) else None


def digest_of_all(folder: Path) -> str:
    """One SHA-256 over the names and contents of all files of ``folder``."""
    present = {name: sha256(folder / name) for name in _names(folder)}
    return hashlib.sha256(json.dumps(present, sort_keys=True).encode()).hexdigest()


def digest_of(folder: Path, main: str, names: Iterable[str]) -> str:
    """One SHA-256 over the weights ``main`` and those of the files ``names`` that are in ``folder``."""
    present = {name: sha256(folder / name) for name in (main, *names) if (folder / name).is_file()}
    return hashlib.sha256(json.dumps(present, sort_keys=True).encode()).hexdigest()
