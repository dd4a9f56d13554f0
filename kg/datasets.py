"""What a dataset argument names. Every command and package decides it here."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kgvad.errors import UsageError
from kgvad.kg.tables import bundled_tables, is_dataset_name, load_table


@dataclass(frozen=True)
class DatasetRef:
    """A dataset that the user named.

    Attributes
    ----------
    name
        Name by which anchor banks, features and runs of the dataset are stored.
    kind
        ``bundled``: a category table of kgvad. ``table``: a category table of the user. ``folder``: a folder with one
        sub-folder of videos per category. ``prepared``: only a name; its features or anchors were made before.
    path
        The table or the folder.
    """

    name: str
    kind: Literal["bundled", "table", "folder", "prepared"]
    path: Path | None = None

    @property
    def in_shell(self) -> str:
        """What names the dataset in a command, quoted for a shell."""
        return shlex.quote(str(self.path or self.name))


def resolve_dataset(argument: str | Path) -> DatasetRef:
    """Decide what ``argument`` names.

    In this order: a bundled dataset (``ucf``), the path of a category table (``my.toml``), an existing folder, the name
    of a dataset that was prepared before. So a folder ``ucf`` in the working folder does not replace the dataset
    ``ucf``; ``./ucf`` names the folder.

    Raises
    ------
    UsageError
        The argument is none of these, or the table does not exist.
    CategoryTableError
        The table is not a category table.
    """
    text = str(argument)
    if text.casefold() in bundled_tables():
        return DatasetRef(text.casefold(), "bundled")
    path = Path(text).expanduser()
    if text and path.is_dir():
        return DatasetRef(folder_name(path), "folder", path)
    if path.suffix.casefold() == ".toml":
        return DatasetRef(load_table(path).dataset, "table", path)
    if not is_dataset_name(text):
        raise UsageError(
            f"{text!r} is neither a dataset nor a folder", f"known datasets: {', '.join(bundled_tables())}"
        )
    return DatasetRef(text, "prepared")


def folder_name(folder: Path) -> str:
    """Name of the dataset in ``folder``, made from the name of the folder; never that of a bundled dataset.

    Letters that a name cannot have would make datasets of other alphabets the same one, so a part of a hash stands for
    them.
    """
    own = folder.resolve().name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", own).strip("-._")[:56] or "videos"
    if not own.isascii():
        name = f"{name[:49]}-{hashlib.sha256(os.fsencode(own)).hexdigest()[:6]}"
    return f"{name}-folder" if name.casefold() in bundled_tables() else name
