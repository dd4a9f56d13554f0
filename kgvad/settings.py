"""Where things are kept, and the ``kgvad.toml`` of a working folder.

Two folders, each set by an environment variable:

``KGVAD_HOME``   what the user made: anchor banks, features, runs. Default: the user data folder.
``KGVAD_CACHE``  what can be fetched again: knowledge graph, weights. Default: the user cache folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, ValidationError

from kgvad.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETTINGS_FILE = "kgvad.toml"


def home_dir() -> Path:
    """Folder of the anchor banks, features and runs that the user makes."""
    return Path(os.environ.get("KGVAD_HOME") or user_data_path("kgvad"))


def cache_dir() -> Path:
    """Folder of everything that can be fetched again."""
    return Path(os.environ.get("KGVAD_CACHE") or user_cache_path("kgvad"))


def default_bank(dataset: str) -> Path:
    """Where ``build-anchors`` writes the anchor bank of ``dataset`` unless told otherwise."""
    return home_dir() / "anchors" / f"{dataset}.safetensors"


def default_features(dataset: str) -> Path:
    """Root of the feature stores of ``dataset``; one sub-folder per visual encoder."""
    return home_dir() / "features" / dataset


def default_run(dataset: str) -> Path:
    """Where ``train`` writes the run of ``dataset`` unless told otherwise."""
    return home_dir() / "runs" / dataset


class Settings(BaseModel):
    """The keys of ``kgvad.toml``. Command-line options win over it, it wins over default places.

    Relative paths are relative to the file.
    """

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = None  # name of a category table, or a path to one
    anchors: Path | None = None  # anchor bank
    features: Path | None = None  # feature store
    run: Path | None = None  # trained run
    store: str | None = None  # SQLAlchemy URL of the knowledge-graph cache
    endpoint: str | None = None  # SPARQL endpoint
    contact: str | None = None  # e-mail address or page sent to the SPARQL service
    device: str | None = None  # torch device


def load_settings(folder: Path | None = None) -> Settings:
    """Read ``kgvad.toml`` from ``folder`` (default: the working folder); all unset if there is none.

    Raises
    ------
    SettingsError
        The file is not TOML, has an unknown key or a value of the wrong type.
    """
    path = (folder or Path.cwd()) / SETTINGS_FILE
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", "correct the file") from error
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}", "make it a readable file, or move it away"
        ) from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply", "correct the file") from error
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(Settings.model_fields))
        raise SettingsError(f"{path}: {key}: {first['msg']}", f"known keys are {known}") from error
    for name in ("anchors", "features", "run"):
        value = getattr(settings, name)
        if value is not None:
            setattr(settings, name, path.parent / value.expanduser())
    return settings
