"""Folders with a model in the layout of the Transformers library: what they hold, and loading it without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kgvad.checksums import digest_of
from kgvad.errors import WeightsError, first_line, is_out_of_memory
from kgvad.files import read_json

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # the first that exists is loaded


def is_model_folder(folder: Path) -> bool:
    """Whether ``folder`` has a model configuration."""
    return (folder / "config.json").is_file()


def model_type(folder: Path) -> str:
    """The ``model_type`` of the configuration; empty where it has none.

    Raises
    ------
    WeightsError
        The configuration is missing or damaged.
    """
    path = folder / "config.json"
    config = read_json(path, WeightsError, "copy the folder again")
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is damaged (not a JSON object)", "copy the folder again")
    return str(config.get("model_type") or "")


def weights_file(folder: Path) -> Path:
    """The file of the weights.

    Raises
    ------
    WeightsError
        There is none.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} has no {WEIGHT_FILES[0]}", "copy the whole model folder")


def digest(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 over the weights and the files ``names`` as far as they exist, hexadecimal."""
    return digest_of(folder, weights_file(folder).name, names)


@contextmanager
def loading(folder: Path) -> Iterator[Any]:
    """Give the transformers library for loading from ``folder``, without its progress bar and load report.

    The report lists tensors that are left out on purpose, because only one half of an image-text model is used.

    Raises
    ------
    WeightsError
        Anything failed in the block; the message names the folder.
    """
    import transformers

    log: Any = transformers.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield transformers
    except Exception as error:  # transformers raises many unrelated types for a damaged folder
        if is_out_of_memory(error):
            raise
        said = first_line(error)
        raise WeightsError(f"the model in {folder} cannot be loaded ({said})", "copy the folder again") from error
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()
