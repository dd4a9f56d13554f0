"""How a detector is trained: one typed configuration, from a TOML or JSON file and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kgvad.detector.api import Recipe
from kgvad.detector.run import TrainConfig
from kgvad.detector.training.options import merged
from kgvad.errors import UsageError, first_fault, place_of
from kgvad.files import read_json
from kgvad.toml import tomllib
from kgvad.types import Fields


def presets() -> dict[str, Fields]:
    """Published settings by name: fields of :class:`kgvad.detector.run.TrainConfig`."""
    return tomllib.loads(files("kgvad.detector.training").joinpath("presets.toml").read_text("utf-8"))


def load_train_config(file: Path | None, overrides: Mapping[str, Any], preset: str | None = None) -> TrainConfig:
    """The configuration in ``file``, with values of the command line in place of its own.

    Parameters
    ----------
    file
        TOML, or JSON by its suffix: the fields of :class:`kgvad.detector.run.TrainConfig`. ``None``: all defaults.
    overrides
        Nested like the file; a field or hyperparameter of ``None`` counts as not given.
    preset
        One of :func:`presets`; ``file`` takes precedence over it.

    Raises
    ------
    UsageError
        The file cannot be read, the preset is unknown, or a value is wrong; the message names the field.
    """
    known = presets()
    if preset is not None and preset not in known:
        raise UsageError(f"unknown preset {preset!r}", f"choose one of {', '.join(known)}")
    values = merged(known[preset] if preset else {}, {} if file is None else _read(file))
    recipe = {name: value for name, value in overrides.get("recipe", {}).items() if value is not None}
    fields = {name: value for name, value in overrides.items() if value is not None}
    given = merged(values, {name: value for name, value in (fields | {"recipe": recipe}).items() if value != {}})
    sources = [*([str(file)] if file else []), *([f"the preset {preset}"] if preset else [])]
    try:
        config = TrainConfig.model_validate(given)
    except ValidationError as error:
        where = "".join(f"{one} or " for one in sources) + "the command line: " if sources else ""
        raise _wrong(error, where) from error
    except UsageError as error:
        where = f"{' with '.join(sources)}: " if sources else ""
        raise UsageError(f"{where}{error.message}", error.remedy) from error
    if "patience" in recipe and not config.recipe.validation_share:
        raise UsageError("--patience needs held-out videos", "add --validation-share 0.1")
    return config


def _wrong(error: ValidationError, where: str) -> UsageError:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        known = Recipe.model_fields if first["loc"][0] == "recipe" else TrainConfig.model_fields
        return UsageError(f"{where}unknown field {place_of(first['loc'])!r}", f"known are {', '.join(known)}")
    return UsageError(f"{where}{first_fault(error)}", "choose another value")


def with_start(given: Mapping[str, Any], start: TrainConfig) -> Fields:
    """What the command line gave, with the detector, the options and the recipe of the run to start from after it.

    Raises
    ------
    UsageError
        Another detector was given.
    """
    if given["detector"] not in (None, start.detector):
        raise UsageError(
            f"{given['detector']} cannot start from a run of {start.detector}", "leave out --detector or --from"
        )
    recipe = {name: value for name, value in given["recipe"].items() if value is not None}
    return {
        **given,
        "detector": start.detector,
        "options": merged(start.options, given["options"]),
        "recipe": start.recipe.model_dump(exclude={"patience"}) | recipe,
    }


def _read(path: Path) -> Fields:
    remedy = "correct the file"
    try:
        if path.suffix.lower() == ".json":
            values = read_json(path, UsageError, remedy)
        else:
            values = tomllib.loads(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", remedy) from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "name a readable file with --config") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not an object with fields such as detector and recipe", remedy)
    return values
