"""``kgvad doctor``: what is installed, found and missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from kgvad import settings, weights
from kgvad.errors import KgvadError

OK, MISSING, WRONG = "ok     ", "missing", "WRONG  "


def report() -> tuple[list[str], bool]:
    """Lines to print, and whether everything that kgvad cannot do without is there."""
    lines = [f"{OK} kgvad {version('kgvad')}, Python {platform.python_version()}, {platform.platform()}"]
    healthy = _libraries(lines)
    healthy &= _folders(lines)
    try:
        found = settings.load_settings()
        given = found.model_dump(exclude_none=True)
        lines.append(f"{OK} {settings.SETTINGS_FILE}: {given or 'none in this folder, defaults are used'}")
    except KgvadError as error:
        lines.append(f"{WRONG} {error}")
        return lines, False
    _weights(lines)
    dataset = found.dataset or "ucf"
    for what, path, remedy in (
        ("anchor bank", found.anchors or settings.default_bank(dataset), f"kgvad build-anchors --dataset {dataset}"),
        ("features", found.features or settings.default_features(dataset), "kgvad extract VIDEOS"),
        ("run", found.run or settings.default_run(dataset), f"kgvad train --dataset {dataset}"),
    ):
        lines.append(
            f"{OK} {what} of {dataset}: {path}" if path.exists() else f"{MISSING} {what} of {dataset}: {remedy}"
        )
    return lines, healthy


def _libraries(lines: list[str]) -> bool:
    healthy = True
    for requirement in requires("kgvad") or ():
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split("[")[0]
        for sign in "<>=!~ ":
            name = name.split(sign)[0]
        if "python_version" in requirement and sys.version_info >= (3, 11):
            continue
        try:
            lines.append(f"{OK} {name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{MISSING} {name}: pip install '{requirement}'")
            healthy = False
    try:
        import torch

        device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU only"
        lines.append(f"{OK} torch computes on: {device}, {torch.get_num_threads()} threads")
    except (ImportError, OSError) as error:
        lines.append(f"{WRONG} torch cannot be loaded: {error}")
        healthy = False
    return healthy


def _folders(lines: list[str]) -> bool:
    healthy = True
    for name, folder in (("home", settings.home_dir()), ("cache", settings.cache_dir())):
        existing = folder
        while not existing.exists():
            existing = existing.parent
        if os.access(existing, os.W_OK) and existing.is_dir():
            free = shutil.disk_usage(existing).free / 1e9
            lines.append(f"{OK} {name} folder: {folder} ({free:.1f} GB free)")
        else:
            lines.append(f"{WRONG} {name} folder {folder} cannot be written: set KGVAD_{name.upper()} to another")
            healthy = False
    return healthy


def _weights(lines: list[str]) -> None:
    for name in weights.TABLE:
        try:
            where: Path | None = weights.available(name)
        except KgvadError as error:
            lines.append(f"{WRONG} weights {name}: {error}")
            continue
        lines.append(
            f"{OK} weights {name}: {where}" if where else f"{MISSING} weights {name}: kgvad weights fetch {name}"
        )
