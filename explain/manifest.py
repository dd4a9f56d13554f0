"""A manifest: the hashes of everything that a report was made from and written to, so that it can be verified later."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kgvad.detector.run import CONFIG
from kgvad.errors import ReportError, UsageError, first_fault
from kgvad.explain.analysis.build_report import run_name
from kgvad.explain.parts import ReportPart
from kgvad.explain.report import Report
from kgvad.files import reading, sha256, write_text

logger = logging.getLogger(__name__)

SUFFIX = ".manifest.json"
BANK = ".safetensors"  # suffix of anchor banks
WRITTEN = ("report", "clip")  # roles of files that kgvad wrote
_PICTURE = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")
_AGE = re.compile(r"(\d{1,6})\s*([dhw])")
_HOURS = {"h": 1, "d": 24, "w": 168}

Role = Literal["video", "input", "report", "clip"]
State = Literal["ok", "changed", "missing"]


class ManifestFile(ReportPart):
    """A file and its hash."""

    role: Role
    path: str = Field(pattern=r"^[^\x00]+$")  # relative to the manifest
    sha256: str
    bytes: int


class Manifest(ReportPart):
    """What one report was made from and written to."""

    schema_version: Literal["1.0"] = "1.0"
    kgvad_version: str
    created: str  # ISO 8601, UTC
    video: str
    run: str | None = None
    run_fingerprint: str | None = None
    bank_fingerprint: str | None = None
    pictures: dict[int, str] = Field(default_factory=dict)  # frame to SHA-256 of the JPEG on the page
    files: tuple[ManifestFile, ...] = Field(min_length=1)  # a list of nothing would verify whatever happened

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises
        ------
        ReportError
            Missing, or not a manifest.
        """
        with reading(path, ReportError, "give the manifest of a report"):
            data = path.read_bytes()
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise ReportError(f"{path} is not a manifest ({first_fault(error)})", "write it again") from error


def write_manifest(
    path: Path,
    report: Report,
    pictures: dict[int, bytes],
    *,
    video: Path | None,
    inputs: Iterable[Path],
    reports: Sequence[Path],
    clips: Sequence[Path],
) -> None:
    """Write the manifest of a report whose files exist.

    Parameters
    ----------
    path
        The manifest.
    report, pictures
        The report, and its key frames as JPEG.
    video
        The video; ``None`` where only scores were given.
    inputs
        Scores, captions, run, anchor bank: files and folders. A run or bank that the report was not made with, such as
        a default one that does not fit, is left out.
    reports, clips
        Files that were written.
    """
    roles: list[tuple[Role, Path]] = [] if video is None else [("video", video)]
    roles += [("input", file) for one in inputs if _made_with(one, report) for file in _files(one)]
    roles += [("report", file) for file in reports] + [("clip", file) for file in clips]
    manifest = Manifest(
        kgvad_version=version("kgvad"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        video=report.video.name,
        run=report.method.run,
        run_fingerprint=report.method.run_fingerprint,
        bank_fingerprint=report.method.bank_fingerprint,
        pictures={frame: hashlib.sha256(picture).hexdigest() for frame, picture in pictures.items()},
        files=tuple(_entry(role, file, path.parent) for role, file in dict.fromkeys(roles)),
    )
    write_text(path, manifest.model_dump_json(indent=2) + "\n")
    logger.info("%s: keep its SHA-256 elsewhere: %s", path, sha256(path))


def _made_with(path: Path, report: Report) -> bool:
    """Whether a report was made with an input; only runs and banks can be inputs by default."""
    method = report.method
    if (path / CONFIG).is_file():
        return method.run == run_name(str(path))
    if path.suffix == BANK:
        return method.knowledge is not None and (method.run is None or method.scores_file is not None)
    return True


def manifest_of(path: Path) -> Path:
    """The manifest beside a report: ``report.manifest.json`` of ``report.html``; a manifest is its own.

    Raises
    ------
    ReportError
        There is none, or it does not list the report.
    """
    if path.is_dir():
        raise ReportError(f"{path} is a folder", "name a report in it, or a manifest")
    if path.name.endswith(SUFFIX):
        return path
    found = path.with_name(path.stem + SUFFIX)
    if not found.is_file():
        raise ReportError(
            f"{path} has no manifest {found.name}",
            f"name a report; its manifest is written with: kgvad explain VIDEO -o report.html -o report{SUFFIX}",
        )
    listed = [(found.parent / one.path).resolve() for one in Manifest.read(found).files]
    if path.resolve() not in listed:
        raise ReportError(
            f"{found} does not list {path.name} and proves nothing about it",
            f"write both in one command: kgvad explain VIDEO -o {path.name} -o {found.name}",
        )
    return found


@dataclass(frozen=True)
class Checked:
    """What became of one part of a report."""

    state: State
    role: str
    name: str


def verify(path: Path) -> list[Checked]:
    """Compare every file of a manifest with its hash, and the pictures of the page with theirs."""
    manifest = Manifest.read(path)
    found = [Checked(_state(path.parent / one.path, one), one.role, one.path) for one in manifest.files]
    pages = [one.path for one in manifest.files if one.role == "report" and Path(one.path).suffix in (".html", ".htm")]
    for page in pages if manifest.pictures else ():
        shown = _pictures(path.parent / page)
        for frame, digest in manifest.pictures.items():
            found.append(Checked("ok" if digest in shown else "missing", "picture", f"{page}, frame {frame}"))
    return found


def age(text: str) -> timedelta:
    """``30d``, ``12h`` or ``4w`` as a duration.

    Raises
    ------
    UsageError
        It is none of these.
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"--keep {text!r} is not a duration", "use for example 30d, 12h or 4w")
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


@dataclass(frozen=True)
class Expired:
    """Files of old reports: those to delete, and those that stay because they are not as kgvad wrote them."""

    delete: tuple[Path, ...]
    stay: tuple[Path, ...]


def expired(folder: Path, keep: timedelta, now: datetime | None = None) -> Expired:
    """Reports and clips below ``folder`` whose manifests are older than ``keep``, and these manifests.

    A file is deleted only if a manifest lists it as written by kgvad, it lies below ``folder``, is no link, and still
    has the hash that it was written with. A manifest goes when all that it lists as written has gone.
    """
    now = now or datetime.now(timezone.utc)
    first = datetime.min.replace(tzinfo=timezone.utc)
    limit = now - min(keep, now - first)  # no date lies before the first
    delete: list[Path] = []
    stay: list[Path] = []
    root = folder.resolve()
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        if path.is_symlink() or not path.resolve().is_relative_to(root):
            continue
        try:
            manifest = Manifest.read(path)
            is_old = datetime.fromisoformat(manifest.created) < limit
        except (ReportError, ValueError, TypeError):
            stay.append(path)
            continue
        if not is_old:
            continue
        own = [(path.parent / one.path, one) for one in manifest.files if one.role in WRITTEN]
        for file, one in own:
            is_ours = not file.is_symlink() and file.resolve().is_relative_to(root) and _state(file, one) == "ok"
            if file.exists() or file.is_symlink():
                (delete if is_ours else stay).append(file)
        if not any(file in stay for file, _ in own):
            delete.append(path)
    return Expired(tuple(dict.fromkeys(delete)), tuple(dict.fromkeys(stay)))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_file())


def _entry(role: Role, file: Path, folder: Path) -> ManifestFile:
    try:
        name = os.path.relpath(file.absolute(), folder.absolute())
    except ValueError:  # another drive
        name = str(file.absolute())
    return ManifestFile(role=role, path=Path(name).as_posix(), sha256=sha256(file), bytes=file.stat().st_size)


def _state(file: Path, expected: ManifestFile) -> State:
    try:
        if file.stat().st_size != expected.bytes:
            return "changed"
        return "ok" if sha256(file) == expected.sha256 else "changed"
    except (OSError, ValueError):
        return "missing"


def _pictures(page: Path) -> set[str]:
    """Hashes of the pictures on a page."""
    try:
        text = page.read_text("utf-8")
    except (OSError, ValueError):
        return set()
    return {hashlib.sha256(base64.b64decode(one)).hexdigest() for one in _PICTURE.findall(text)}
