"""Settings: the command line over the environment over ``kgvad.toml`` over the defaults, resolved in one place.

Every key of :class:`Settings` can stand in ``kgvad.toml`` in the working folder, or in the environment as ``KGVAD_``
and the key in capitals. Commands pass what was typed, which wins over both.
"""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableValueError

from kgvad.errors import SettingsError, place_of
from kgvad.toml import tomllib
from kgvad.types import Fields

SETTINGS_FILE = "kgvad.toml"
PATHS = ("anchors", "features", "run", "cameras", "home", "cache", "weights")
DEFAULT_DATASET = "ucf"
_IN_TOML = {"tuple_type": "Input should be a list", "path_type": "Input should be a path"}  # pydantic says Python types


class Settings(BaseSettings):
    """Keys of ``kgvad.toml``. Relative paths in the file are relative to the file."""

    model_config = SettingsConfigDict(env_prefix="KGVAD_", extra="forbid", frozen=True)

    dataset: str | None = Field(
        None, description="Dataset: a bundled name such as `ucf`, a category table (`my.toml`) or a folder of videos."
    )
    anchors: Path | None = Field(None, description="Anchor bank.")
    features: Path | None = Field(None, description="Root of the feature stores of the dataset.")
    run: Path | None = Field(None, description="Folder of the trained run.")
    device: str = Field("auto", description="Torch device. `auto` takes CUDA, then MPS, then the CPU.")
    hardware_decoding: str | None = Field(
        None,
        description="FFmpeg's name of a hardware decoder for `kgvad extract`: `cuda`, `vaapi`, `videotoolbox`, `qsv`. "
        "The CPU decodes what it cannot.",
    )
    store: str | None = Field(None, description="SQLAlchemy URL of the knowledge-graph cache.")
    endpoint: str | None = Field(None, description="SPARQL 1.1 service. Default: Wikidata's query service.")
    contact: str | None = Field(None, description="E-mail address or web page sent to the SPARQL service.")
    captioner: str = Field(
        "blip", description="Captioner: `blip`, a model on the hub, a folder, or the address of a service."
    )
    caption_model: str = Field("", description="Name of the model, if `captioner` is the address of a service.")
    language: Literal["en", "de"] = Field("en", description="Language of reports.")
    cameras: Path | None = Field(None, description="Folder for camera data: zones and times to ignore, thresholds.")
    sinks: tuple[str, ...] = Field(
        (), description='Where `kgvad watch` sends messages: a list such as `["webhook:https://example.org/alarms"]`.'
    )
    home: Path = Field(
        default_factory=lambda: user_data_path("kgvad"), description="Folder of anchor banks, features and runs."
    )
    cache: Path = Field(
        default_factory=lambda: user_cache_path("kgvad"),
        description="Folder for data that can be fetched again: knowledge graph, pretrained weights.",
    )
    weights: Path | None = Field(None, description="Folder that holds pretrained weights; searched before the cache.")
    redact: bool = Field(
        False, description="Blur faces in every picture and clip of reports. Needs the extra `redact`."
    )
    offline: bool = Field(False, description="Never fetch anything.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was typed and the environment; :func:`load_settings` adds the file, whose folder it knows."""
        return init_settings, EnvSettingsSource(cls, env_ignore_empty=True)

    def bank_path(self, dataset: str) -> Path:
        """Default place of the anchor bank of ``dataset``."""
        return self.home / "anchors" / f"{dataset}.safetensors"

    def cameras_folder(self) -> Path:
        """Place of what is known about cameras."""
        return self.cameras or self.home / "cameras"

    def features_root(self, dataset: str) -> Path:
        """Default root of the feature stores of ``dataset``; one sub-folder per visual encoder."""
        return self.home / "features" / dataset

    def run_folder(self, dataset: str) -> Path:
        """Default place of the run of ``dataset``."""
        return self.home / "runs" / dataset


def load_settings(folder: Path | None = None, **typed: Any) -> Settings:
    """Settings from the command line, the environment and the ``kgvad.toml`` of ``folder``.

    Parameters
    ----------
    folder
        Where ``kgvad.toml`` is looked for; default: the working folder.
    typed
        What the command line gave; ``None`` counts as not given.

    Raises
    ------
    SettingsError
        The file is not TOML; a key is unknown or has a value of the wrong type; so has a variable of the environment.
    """
    path = (folder or Path.cwd()) / SETTINGS_FILE
    values = _read(path)
    from_file = _checked(path, values)
    given = {name: value for name, value in typed.items() if value is not None}
    named = {name for name in Settings.model_fields if os.environ.get(f"KGVAD_{name.upper()}")}
    try:
        return Settings(**({name: value for name, value in from_file.items() if name not in named} | given))
    except ValidationError as error:
        raise _wrong(error, "the options or the environment (KGVAD_...)") from error
    except UnreadableValueError as error:  # of the one key that is a list
        raise SettingsError(
            "KGVAD_SINKS is not a list in JSON", 'write for example ["webhook:https://example.org/alarms"]'
        ) from error


def _read(path: Path) -> Fields:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", "correct the file") from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply", "correct the file") from error
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}", "make it a readable file, or move it away"
        ) from error


class _FileSettings(Settings):
    """The file alone, so that an error is the file's."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _checked(path: Path, values: Fields) -> Fields:
    """The keys that the file sets, paths made relative to the file."""
    try:
        found = _FileSettings(**values)
    except ValidationError as error:
        raise _wrong(error, str(path)) from error
    if "://" in found.captioner:
        raise SettingsError(
            f"{path}: captioner: an address in a file would send videos there without a word",
            "give it with --captioner, or in KGVAD_CAPTIONER",
        )
    given = {name: getattr(found, name) for name in found.model_fields_set}
    for name in PATHS:
        if given.get(name) is not None:
            given[name] = path.parent / given[name].expanduser()
    return given


def _wrong(error: ValidationError, where: str) -> SettingsError:
    first = error.errors()[0]
    key = place_of(first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(Settings.model_fields))
        return SettingsError(f"{where}: unknown key {key!r}", f"known keys are {known}")
    return SettingsError(f"{where}: {key}: {_IN_TOML.get(first['type'], first['msg'])}", "correct the value")


def given_by(name: str, typed: Container[str] = ()) -> str:
    """How an error names a key: the option where it was ``typed``, else the variable that is set, else the key."""
    if name in typed:
        return f"--{name.replace('_', '-')}"
    variable = f"KGVAD_{name.upper()}"
    return variable if os.environ.get(variable) else f"the setting {name} ="


def cache_dir() -> Path:
    """Folder of everything that can be fetched again (``KGVAD_CACHE``)."""
    return load_settings().cache
