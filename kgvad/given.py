"""Files and folders on the command line, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kgvad.errors import KgvadError


def run_folder(run: Path | None) -> Path | None:
    """The folder of a run on the command line: ``shipped`` is the run that comes with kgvad."""
    from kgvad.detector.shipped import UCF_ACTIONS

    return UCF_ACTIONS if run == Path("shipped") and not run.exists() else run


def must_exist(paths: Path | Iterable[Path] | None, kind: type[KgvadError], remedy: str) -> None:
    """Check that paths exist; ``None``: the option was not given.

    Raises
    ------
    KgvadError
        Of ``kind``, for the first path that does not exist.
    """
    for path in [paths] if isinstance(paths, Path) else paths or ():
        if not path.exists():
            raise kind(f"{path} does not exist", remedy)
