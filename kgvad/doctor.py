"""``kgvad doctor``: what is installed, what was made, and what is missing with the command that makes it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from kgvad import weights
from kgvad.errors import KgvadError
from kgvad.inventory import holdings
from kgvad.session import Session, unknown_dataset

OK, MISSING, WRONG = "ok", "missing", "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    state
        ``ok``; ``missing``: can be made or fetched; ``wrong``: kgvad does not work without a repair.
    text
        What was found, and the remedy.
    """

    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<8}{self.text}"


def examine(session: Session) -> Iterator[Finding]:
    """Findings about libraries, device, folders, settings, pretrained weights and the session's dataset."""
    yield Finding(OK, f"kgvad {version('kgvad')}, Python {platform.python_version()}, {platform.platform()}")
    yield from _libraries()
    yield _device(session)
    yield from _folders(session)
    yield _settings(session)
    yield from _weights()
    yield from _dataset(session)


def _libraries() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in requires("kgvad") or ()]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = 0
    for one in needed:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            wrong += 1
            yield Finding(WRONG, f"library {one.name} is not installed: pip install '{one}'")
            continue
        if not one.specifier.contains(found, prereleases=True):
            wrong += 1
            yield Finding(WRONG, f"library {one.name} {found} is the wrong version: pip install '{one}'")
    if not wrong:
        yield Finding(OK, f"all {len(needed)} required libraries are installed")


def _device(session: Session) -> Finding:
    try:
        import torch

        device = session.device
    except (ImportError, OSError) as error:
        return Finding(WRONG, f"torch cannot be imported: {error}; install it again")
    except KgvadError as error:
        return Finding(WRONG, str(error))
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} CPU threads"
    return Finding(OK, f"torch {torch.__version__} computes on {device} ({name})")


def _folders(session: Session) -> Iterator[Finding]:
    for name, folder in (("home", session.settings.home), ("cache", session.settings.cache)):
        existing = folder
        while not existing.exists():
            existing = existing.parent
        if os.access(existing, os.W_OK) and existing.is_dir():
            free = shutil.disk_usage(existing).free / 1e9
            yield Finding(OK, f"{name} folder {folder}, {free:.1f} GB free")
        else:
            yield Finding(WRONG, f"{name} folder {folder} is not writable: set KGVAD_{name.upper()} to another folder")


def _settings(session: Session) -> Finding:
    given = session.settings.model_dump(mode="json", exclude_unset=True)
    text = ", ".join(f"{name} = {value}" for name, value in given.items())
    return Finding(OK, f"settings: {text or 'all at their defaults'}")


def _weights() -> Iterator[Finding]:
    for name in weights.TABLE:
        try:
            where: Path | None = weights.available(name)
        except KgvadError as error:
            yield Finding(WRONG, f"pretrained weights {name}: {error}")
            continue
        if where is None:
            yield Finding(MISSING, f"pretrained weights {name}: kgvad weights fetch {name}")
        else:
            yield Finding(OK, f"pretrained weights {name}: {where}")


def _dataset(session: Session) -> Iterator[Finding]:
    try:
        there = holdings(session)
    except KgvadError as error:
        yield Finding(WRONG, str(error))
        return
    dataset, named = session.dataset, session.dataset_ref.in_shell
    if session.dataset_ref.kind == "prepared" and not (there.has_bank or there.stores or there.has_run):
        yield Finding(MISSING, f"{unknown_dataset(dataset)}, or: kgvad features import FILES --dataset {named}")
        return
    for what, path, found, command in (
        ("anchor bank", there.bank, there.has_bank, f"kgvad build-anchors --dataset {named}"),
        ("features", there.features, bool(there.stores), f"kgvad extract VIDEOS --dataset {named}"),
        ("run", there.run, there.has_run, f"kgvad train --dataset {named}"),
    ):
        yield (
            Finding(OK, f"{what} of {dataset}: {path}")
            if found
            else Finding(MISSING, f"{what} of {dataset}: {command}")
        )
