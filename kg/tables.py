"""Category tables: which categories a dataset has, which Wikidata items they stand for, what a camera would see.

A table is a TOML file; the bundled ones lie in ``kg/categories``, and a user's own has the same form::

    dataset = "shop"
    title = "My shop"

    [[category]]
    name = "Shoplifting"            # as the dataset's lists spell it
    text = "shoplifting"            # in words
    aliases = ["shop lifting"]      # other spellings in lists
    confused_with = ["Stealing"]
    cues = ["a person hiding goods under a coat"]

    [[category.item]]
    qid = "Q383906"
    label = "shoplifting"           # checked against the fetched label
    role = "primary"                # or "related"
    verified_by = "who or what bound the category to this item"

    [[category]]
    name = "Normal"
    text = "normal"
    normal = true                   # exactly one category
    cues = ["people walking past"]
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from kgvad.errors import CategoryTableError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Qid = Annotated[str, StringConstraints(pattern=r"^Q[1-9][0-9]{0,11}$")]


class ItemRef(BaseModel):
    """A Wikidata item that a category stands on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    qid: Qid
    label: Words
    role: Literal["primary", "related"] = "primary"
    verified_by: str = ""


class Category(BaseModel):
    """One category of a dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: Words
    text: Words
    normal: bool = False
    aliases: tuple[Words, ...] = ()
    confused_with: tuple[Words, ...] = ()
    cues: tuple[Words, ...] = ()
    items: tuple[ItemRef, ...] = Field(default=(), alias="item")
    note: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    title: str = ""
    category: list[Category]


@dataclass(frozen=True)
class CategoryTable:
    """The categories of a dataset in a fixed order; exactly one of them is Normal."""

    dataset: str
    title: str
    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        names = [category.name for category in self.categories]
        spellings = [name.casefold() for c in self.categories for name in {c.name, *c.aliases}]
        for spelling in spellings:
            if spellings.count(spelling) > 1:
                raise CategoryTableError(f"{self.dataset}: two categories are called {spelling!r}", "rename one")
        normal = [category.name for category in self.categories if category.normal]
        if len(normal) != 1 or len(names) < 2:
            raise CategoryTableError(
                f"{self.dataset}: exactly one category must have normal = true, and at least one other must stand "
                f"beside it (normal: {', '.join(normal) or 'none'}; all: {', '.join(names) or 'none'})",
                "correct the table",
            )
        for category in self.categories:
            for other in category.confused_with:
                if other not in names:
                    raise CategoryTableError(
                        f"{self.dataset}: {category.name} is confused with {other!r}, which is no category",
                        f"use one of {', '.join(names)}",
                    )

    @property
    def names(self) -> list[str]:
        """Names of the categories, in order."""
        return [category.name for category in self.categories]

    @property
    def normal(self) -> Category:
        """The category of everything ordinary."""
        return next(category for category in self.categories if category.normal)

    @property
    def qids(self) -> list[str]:
        """Items of all categories, without repetition, in order."""
        return list(dict.fromkeys(item.qid for category in self.categories for item in category.items))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the table's content; changes whenever a name, item or cue does."""
        content = [self.dataset, [category.model_dump(mode="json") for category in self.categories]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def category(self, name: str) -> Category:
        """The category of that name or alias, whatever its case.

        Raises
        ------
        CategoryTableError
            There is none; the message lists the known names.
        """
        wanted = name.casefold()
        for category in self.categories:
            if wanted in {spelling.casefold() for spelling in (category.name, *category.aliases)}:
                return category
        raise CategoryTableError(f"{self.dataset} has no category {name!r}", f"known: {', '.join(self.names)}")


def bundled_tables() -> list[str]:
    """Names of the tables that come with kgvad."""
    folder = files("kgvad.kg") / "categories"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_table(name_or_path: str | Path) -> CategoryTable:
    """Read a bundled table by name (``"ucf"``) or a user's table by path (``"my.toml"``).

    Raises
    ------
    UsageError
        No such name or file.
    CategoryTableError
        The file is not TOML or breaks the form; the message names the category and the key.
    """
    name = str(name_or_path)
    if name in bundled_tables():
        return parse_table((files("kgvad.kg") / "categories" / f"{name}.toml").read_bytes(), f"{name}.toml")
    path = Path(name).expanduser()
    if path.suffix != ".toml" or not path.is_file():
        raise UsageError(
            f"no dataset is called {name!r} and there is no such table file",
            f"known: {', '.join(bundled_tables())}, or the path of a .toml",
        )
    try:
        return parse_table(path.read_bytes(), str(path))
    except OSError as error:
        raise CategoryTableError(f"cannot read {path}: {error.strerror}") from error


def parse_table(content: bytes, origin: str) -> CategoryTable:
    """Make a table from TOML; ``origin`` is what errors call it."""
    try:
        table = _File.model_validate(tomllib.loads(content.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CategoryTableError(f"{origin} is not valid TOML: {error}", "correct the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise CategoryTableError(f"{origin}: {key}: {first['msg']}", "see `kgvad.kg.tables` for the form") from error
    try:
        return CategoryTable(table.dataset, table.title or table.dataset, tuple(table.category))
    except CategoryTableError as error:
        raise CategoryTableError(f"{origin}: {error.message}", error.remedy) from None
