"""Configurations to try: one table for every detector, the same rule for ours and for published ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kgvad.detector.run import TrainConfig
from kgvad.detector.training.options import merged
from kgvad.errors import UsageError, place_of
from kgvad.toml import tomllib
from kgvad.types import Fields

REMEDY = "write tables such as [[sultani]] with a line such as recipe = { epochs = [3, 10] }"
FIXED = {"detector", "seed", "data_seed"}  # the same in all trials: a search is for one detector, not for a lucky seed


@dataclass(frozen=True)
class Trial:
    """A configuration to try.

    Attributes
    ----------
    changes
        What differs from the settings that the search starts from, ``recipe.epochs=3``; empty for these themselves.
    config
        The complete configuration.
    """

    changes: tuple[str, ...]
    config: TrainConfig


def read_grid(detector: str, file: Path | None = None) -> list[Fields]:
    """Changes to try for a detector, in the order of ``file``; default: the bundled grid.

    Raises
    ------
    UsageError
        The file cannot be read, or names nothing to try for the detector.
    """
    where = file or "the bundled grid"
    try:
        if file is None:
            text = files("kgvad.detector.training").joinpath("grids.toml").read_text("utf-8")
        else:
            text = file.read_text("utf-8-sig")
        grids = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", "name a readable file with --grid") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}", REMEDY) from error
    entries = grids.get(detector)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        remedy = REMEDY if file else f"name a TOML file of such tables with --grid; {REMEDY}"
        raise UsageError(f"{where} has no tables [[{detector}]]", remedy)
    changes = [choice for entry in entries for choice in combinations(entry)]
    if not changes:
        raise UsageError(f"{where} has no configuration of {detector}: a list of choices is empty", REMEDY)
    return changes


def combinations(entry: Mapping[str, object]) -> Iterator[Fields]:
    """Every combination of the choices (lists) in nested ``entry``."""
    leaves = list(_leaves(entry))
    for values in product(*(value if isinstance(value, list) else [value] for _, value in leaves)):
        found: Fields = {}
        for (names, _), value in zip(leaves, values, strict=True):
            nested: Any = value
            for name in reversed(names):
                nested = {name: nested}
            found = merged(found, nested)
        yield found


def make_trials(base: TrainConfig, changes: Sequence[Mapping[str, object]]) -> list[Trial]:
    """A trial for each of ``changes`` to ``base``; equal configurations are one trial.

    Raises
    ------
    UsageError
        A change is not a valid configuration; the message names it.
    """
    start = base.model_dump()
    found: dict[str, Trial] = {}
    for change in changes:
        words = tuple(f"{'.'.join(names)}={value}" for names, value in _leaves(change))
        if FIXED.intersection(change):
            raise UsageError(f"the grid entry {', '.join(words)}: only options and recipe are chosen", REMEDY)
        try:
            config = TrainConfig.model_validate(merged(start, change))
        except ValidationError as error:
            first = error.errors()[0]
            what = f"unknown field {place_of(first['loc'])!r}" if first["type"] == "extra_forbidden" else first["msg"]
            raise UsageError(f"the grid entry {', '.join(words)}: {what}", REMEDY) from error
        except UsageError as error:
            raise UsageError(f"the grid entry {', '.join(words)}: {error.message}", error.remedy) from error
        found.setdefault(config.model_dump_json(), Trial(words, config))
    return list(found.values())


def _leaves(values: Mapping[str, object], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value
