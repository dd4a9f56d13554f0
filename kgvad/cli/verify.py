"""``kgvad verify`` and ``kgvad prune``: reports that were handed over, and how long they are kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import OPERATE, example

logger = logging.getLogger(__name__)


def verify(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="Report with a manifest next to it, or the manifest itself.")
    ],
) -> None:
    """Check which files of a report are unchanged: video, inputs, reports, pictures, clips."""
    from kgvad.errors import ReportError
    from kgvad.explain import manifest
    from kgvad.given import must_exist

    must_exist(report, ReportError, "check the name")
    found = manifest.verify(manifest.manifest_of(report))
    for one in found:
        print(f"{one.state}\t{one.role}\t{one.name}")
    if any(one.state != "ok" for one in found):
        raise typer.Exit(1)


def prune(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of reports with manifests.")],
    keep: Annotated[str, typer.Option("--keep", help="How long reports are kept: 30d, 12h or 4w.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be deleted, and delete nothing.")
    ] = False,
) -> None:
    """Delete old reports and clips that kgvad wrote according to their manifests; print what is deleted."""
    from kgvad.errors import UsageError
    from kgvad.explain.batch import forget_reports
    from kgvad.explain.manifest import age, expired

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "give a folder of reports")
    found = expired(folder, age(keep))
    if not (found.delete or found.stay):
        logger.info("nothing to delete: %s has no manifest older than %s; reports without one are kept", folder, keep)
    for path in found.stay:
        logger.warning("%s stays: it is not as kgvad wrote it", path)
    for path in found.delete:
        if not dry_run:
            path.unlink(missing_ok=True)
        print(path)
    if not dry_run:
        forget_reports(folder, found.delete)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=OPERATE, epilog=example("kgvad verify report.html"))(verify)
    app.command(rich_help_panel=OPERATE, epilog=example("kgvad prune reports/ --keep 30d --dry-run"))(prune)
