"""A recipe says where published data lies and what it must look like; nothing else about a source is code.

Bundled recipes are the TOML files beside this module. A package adds its own through the entry-point group
``kgvad.datasets``: the value is a :class:`SourceRecipe`, or a callable that returns one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kgvad import plugins
from kgvad.errors import DatasetError, UsageError
from kgvad.toml import tomllib

GROUP = "kgvad.datasets"
Split = Literal["train", "test"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Download(_Model):
    """Files of one repository of datasets on the Hugging Face hub.

    ``match`` is a pattern of the paths in the repository, in which ``*`` also stands for slashes. ``save_as`` names a
    single file that the importer needs beside the features: an official list, an annotation, a table of frames.
    """

    repository: str
    revision: str = "main"
    match: str
    save_as: str | None = None
    several: bool = False  # whether the pattern may stand for more than one file
    counts_frames: bool = False  # the file is {video: [label of each frame]}: its lengths are frame counts


class Part(_Model):
    """Arrays of one split or stream, by a pattern of their paths (inside the archive, or in the repository)."""

    match: str
    split: Split | None = None  # None: the official lists decide
    stream: str = "features"  # arrays of one video in several streams are joined along their last axis
    count: int | None = None  # arrays of a complete copy
    rows: int | None = None  # rows of every array; None: they vary with the video


class SourceArrays(_Model):
    """What the arrays of a source look like."""

    encoder: str  # name of the feature store
    dim: int | None = None  # of one stream; None: its page does not say
    crops: int | None = None  # None: its page does not say, but all have as many
    part: tuple[Part, ...]


class Videos(_Model):
    """How videos are packed: a pattern of their paths in the archives, and the folders to drop before the category."""

    match: str
    count: int | None = None


class Manual(_Model):
    """A source that no program may fetch: what to save where, and the command that then reads it."""

    save: str  # what to save from the page
    command: str  # {folder}: the place it was saved to


class SourceRecipe(_Model):
    """One published source of a dataset."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    dataset: str  # bundled dataset whose labels and categories it has
    about: str
    page: str
    licence: str  # as its page states it
    megabytes: int | None = None  # to download, as its page states it
    unpacked_megabytes: int | None = None
    tried: bool = False  # whether the recipe was run against the real source
    download: tuple[Download, ...] = ()
    features: SourceArrays | None = None
    videos: Videos | None = None
    manual: Manual | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SourceRecipe:
        if sum(part is not None for part in (self.features, self.videos, self.manual)) != 1:
            raise ValueError("a recipe has one of features, videos and manual")
        if self.manual is None and not self.download:
            raise ValueError("a recipe that is not manual downloads something")
        return self

    @property
    def kind(self) -> str:
        """``features``, ``videos`` or ``manual``."""
        return "features" if self.features else "videos" if self.videos else "manual"


@cache
def recipes() -> dict[str, SourceRecipe]:
    """Every recipe by name: the bundled ones, then those of other packages.

    Raises
    ------
    DatasetError
        A package registers something else than a recipe.
    """
    return _load()


def _load() -> dict[str, SourceRecipe]:
    folder = files("kgvad.sources") / "recipes"
    found: dict[str, SourceRecipe] = {}
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            for entry in tomllib.loads(file.read_text("utf-8"))["source"]:
                recipe = SourceRecipe.model_validate(entry)
                found[recipe.name] = recipe
    for point in plugins.registered(GROUP).values():
        value = plugins.load(point, "recipe")
        if callable(value):
            value = plugins.make(point, "recipe", object)
        try:
            recipe = SourceRecipe.model_validate(value)
        except ValidationError as error:
            raise DatasetError(f"recipe {point.name!r} ({point.value}) is wrong: {error}", "repair it") from error
        found.setdefault(recipe.name, recipe)
    return found


def find_recipe(name: str, *, videos: bool = False) -> SourceRecipe:
    """The recipe called ``name``, or the first one of the dataset called so.

    Parameters
    ----------
    name
        Name of a source or of a dataset.
    videos
        Take the videos of a dataset instead of its features.

    Raises
    ------
    UsageError
        There is none; the message lists what there is.
    """
    known = recipes()
    recipe = known.get(name)
    if recipe is not None and (recipe.kind == "videos" or not videos):
        return recipe
    dataset = recipe.dataset if recipe is not None else name
    wanted = ("videos",) if videos else ("features", "manual")
    for kind in wanted:
        for one in known.values():
            if one.dataset == dataset and one.kind == kind:
                return one
    what = "videos" if videos else "published source"
    raise UsageError(f"no {what} of {name!r} is known", f"known sources: {', '.join(known)}")


def first_source(dataset: str) -> SourceRecipe | None:
    """The first recipe of ``dataset`` whose features can be downloaded."""
    return next((one for one in recipes().values() if one.dataset == dataset and one.kind == "features"), None)


def table_rows(sources: Iterable[SourceRecipe]) -> list[tuple[str, ...]]:
    """A header, then one row for each source."""
    rows: list[tuple[str, ...]] = [("source", "dataset", "kind", "megabytes", "licence", "tried", "about")]
    for one in sources:
        size = "-" if one.megabytes is None else str(one.megabytes)
        rows.append((one.name, one.dataset, one.kind, size, one.licence, "yes" if one.tried else "no", one.about))
    return rows


def describe(recipe: SourceRecipe) -> list[str]:
    """What is known about a source before anything is downloaded, and the command that gets it."""
    size = "not stated" if recipe.megabytes is None else f"{recipe.megabytes} MB"
    lines = [
        f"{recipe.name}: {recipe.about}",
        f"dataset: {recipe.dataset}",
        f"kind: {recipe.kind}",
        f"page: {recipe.page}",
        f"licence, as its page states it: {recipe.licence}",
    ]
    if recipe.manual is not None:
        return [*lines, f"no program may fetch it; what to do by hand: kgvad datasets get {recipe.name}"]
    repositories = dict.fromkeys(one.repository for one in recipe.download)
    return [
        *lines,
        f"repositories: {', '.join(repositories)}",
        f"to download: {size}",
        f"tried on the real source: {'yes' if recipe.tried else 'no'}",
        f"get it with: kgvad datasets get {recipe.name}",
    ]
