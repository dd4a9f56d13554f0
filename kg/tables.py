"""Category tables: the classes of a dataset as data.

A table is a TOML file. It gives each category the names that the dataset's own lists use, its Wikidata items, and
visual cues. The bundled tables are in ``categories/``; a user's own has the same format.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from kgvad.errors import CategoryTableError, UsageError, first_fault, place_of
from kgvad.toml import tomllib

VERSION = 1  # of the file format; a table without a version has this one
QID = re.compile(r"Q[1-9][0-9]{0,18}")
DATASET_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"

# One line of text: something visible, no control characters, no line break, no lone surrogate.
_KEPT = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
_SEEN = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029]"
_LINE = f"^{_KEPT}*{_SEEN}{_KEPT}*$"
_WHOLE_QID, _WHOLE_NAME = f"^{QID.pattern}$", f"^{DATASET_NAME}$"
Line = Annotated[str, StringConstraints(pattern=_LINE, max_length=300)]
Qid = Annotated[str, StringConstraints(pattern=_WHOLE_QID)]
_IN_WORDS = {
    _LINE: "must be one line of text without control characters, and not blank",
    _WHOLE_QID: "must be the number of a Wikidata item, such as Q53706",
    _WHOLE_NAME: "must be up to 64 letters, digits, dots, hyphens and underscores, the first a letter or digit",
}


def is_qid(text: str) -> bool:
    """Whether the whole of ``text`` is a Wikidata item id."""
    return QID.fullmatch(text) is not None


def parse_qids(texts: Sequence[str]) -> list[str]:
    """Item ids as a user wrote them, in capitals, each once.

    Raises
    ------
    UsageError
        A text is no item id.
    """
    for text in texts:
        if not is_qid(text.upper()):
            raise UsageError(f"{text!r} is not an item", "give an id such as Q53706; kgvad kg resolve finds it by name")
    return list(dict.fromkeys(text.upper() for text in texts))


def is_dataset_name(text: str) -> bool:
    """Whether a dataset may be called so: letters, digits, ``_``, ``.`` and ``-``, the first a letter or digit."""
    return re.fullmatch(DATASET_NAME, text) is not None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ItemRef(_Record):
    """A Wikidata item of a category."""

    qid: Qid
    label: Line
    role: Literal["primary", "related"] = "primary"
    verified_by: str = ""


class Category(_Record):
    """One class of a dataset."""

    name: Line  # as the dataset's lists spell it: "RoadAccidents"
    text: Line  # in words: "road accident"
    items: Annotated[tuple[ItemRef, ...], Field(strict=False)] = ()
    cues: Annotated[tuple[Line, ...], Field(strict=False)] = ()  # short phrases for what a fixed camera shows
    aliases: Annotated[tuple[Line, ...], Field(strict=False)] = ()  # other names in the dataset's lists
    confused_with: Annotated[tuple[Line, ...], Field(strict=False)] = ()  # names of other categories
    exclude: Annotated[tuple[Qid, ...], Field(strict=False)] = ()  # items left out of the subgraph: misleading here
    # Items that reports may cite but that are not pooled into the anchor, because they make it less specific.
    exclude_from_anchor: Annotated[tuple[Qid, ...], Field(strict=False)] = ()
    normal: bool = False
    note: str = ""

    @property
    def primary(self) -> tuple[ItemRef, ...]:
        """The items that are the category itself."""
        return tuple(item for item in self.items if item.role == "primary")

    def in_anchor(self, qid: str | None) -> bool:
        """Whether a concept about this item is pooled into the anchor."""
        return qid not in self.exclude_from_anchor


class CategoryTable(_Record):
    """The categories of one dataset; exactly one of them is the normal one."""

    version: Annotated[int, Field(exclude=True)] = VERSION  # of the file format

    dataset: Annotated[str, StringConstraints(pattern=_WHOLE_NAME)]
    title: Line
    categories: Annotated[tuple[Category, ...], Field(alias="category", strict=False, min_length=2)]

    @model_validator(mode="after")
    def _consistent(self) -> CategoryTable:
        if self.version != VERSION:
            raise ValueError(f"version {self.version} of the format is unknown; this kgvad reads version {VERSION}")
        owner: dict[str, str] = {}
        for category in self.categories:
            if not category.items and not category.cues:
                raise ValueError(f"{category.name} has neither items nor cues")
            for name in {name_key(name) for name in (category.name, *category.aliases)}:
                if name in owner:
                    raise ValueError(f"{category.name} and {owner[name]} share the name {name!r}")
                owner[name] = category.name
            qids = [item.qid for item in category.items]
            if len(qids) != len(set(qids)):
                raise ValueError(f"{category.name} lists an item twice")
        if sum(category.normal for category in self.categories) != 1:
            raise ValueError("exactly one category must have normal = true")
        for category in self.categories:
            for other in category.confused_with:
                if other not in self.names or other == category.name:
                    raise ValueError(f"{category.name}: confused_with names {other!r}, which is not another category")
        return self

    @property
    def names(self) -> list[str]:
        """Names of the categories in the order of the table."""
        return [category.name for category in self.categories]

    @property
    def normal(self) -> Category:
        """The category of everything ordinary."""
        return next(category for category in self.categories if category.normal)

    @property
    def qids(self) -> list[str]:
        """Every item of the table once, sorted by number."""
        return sorted({item.qid for category in self.categories for item in category.items}, key=qid_number)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a hash of the content."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def category(self, name: str) -> Category:
        """The category called ``name``, by its name or an alias; case, spaces and underscores do not matter.

        Raises
        ------
        UsageError
            No category has that name.
        """
        for category in self.categories:
            if name_key(name) in {name_key(known) for known in (category.name, *category.aliases)}:
                return category
        raise UsageError(f"{self.dataset} has no category {name!r}", f"its categories are {', '.join(self.names)}")


def qid_number(qid: str) -> int:
    """Number of an item id, to sort by."""
    return int(qid[1:])


def name_key(name: str) -> str:
    """``name`` without case, spaces, hyphens and underscores, and with accents encoded as one form (NFC)."""
    return unicodedata.normalize("NFC", re.sub(r"[\s_\-]+", "", name).casefold())


def bundled_tables() -> list[str]:
    """Names of the tables that come with kgvad."""
    folder = files("kgvad.kg") / "categories"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_table(name_or_path: str | Path) -> CategoryTable:
    """Load a bundled table by name (``"ucf"``) or any table by its path (``.toml``).

    Raises
    ------
    UsageError
        No such table or file.
    CategoryTableError
        The file is not a category table; the message names the place.
    """
    name = str(name_or_path)
    if name.casefold() in bundled_tables():
        name = name.casefold()
        return parse_table((files("kgvad.kg") / "categories" / f"{name}.toml").read_text("utf-8"), f"{name}.toml")
    path = Path(name_or_path)
    if path.suffix.casefold() != ".toml":
        known = ", ".join(bundled_tables())
        raise UsageError(f"unknown dataset {name!r}", f"choose one of {known}, or give the path of a .toml table")
    try:
        return parse_table(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError:
        remedy = "kgvad datasets init writes a first table"
        raise UsageError(f"there is no category table {path}", remedy) from None
    except OSError as error:
        message = f"cannot read the category table {path}: {error.strerror}"
        raise CategoryTableError(message, "name a .toml file") from error
    except UnicodeDecodeError as error:
        raise CategoryTableError(f"{path} is not UTF-8 text", "save the table as UTF-8") from error


def parse_table(text: str, where: str) -> CategoryTable:
    """Read a table from TOML text; ``where`` names it in messages.

    Raises
    ------
    CategoryTableError
        Not TOML, an unknown key or version, a wrong type, or categories that contradict each other.
    """
    try:
        return CategoryTable.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CategoryTableError(f"{where} is not valid TOML: {error}", "correct the file") from error
    except RecursionError as error:
        raise CategoryTableError(f"{where} is nested too deeply", "correct the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        known = _IN_WORDS.get(first.get("ctx", {}).get("pattern", ""))
        fault = first_fault(error) if known is None else f"{place_of(first['loc'])}: {known}"
        raise CategoryTableError(f"{where}: {fault}", "correct the table") from error
