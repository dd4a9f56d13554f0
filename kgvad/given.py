"""Files and folders on the command line, checked before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kgvad.errors import KgvadError


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
