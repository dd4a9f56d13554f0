"""Published checkpoints as safetensors: converted on first use, checked by hash on every use."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kgvad import weights
from kgvad.checksums import CONVERTED
from kgvad.errors import WeightsError
from kgvad.files import replacing
from kgvad.settings import cache_dir

if TYPE_CHECKING:  # torch is imported only by what needs it: its import takes longer than reading the weights
    from torch import nn

State = Mapping[str, NDArray[np.float32]]
"""The tensors of a network by their names in its state dict."""


def state_of(network: nn.Module) -> State:
    """The tensors of a network."""
    return {name: value.detach().cpu().contiguous().numpy() for name, value in network.state_dict().items()}


def converted(name: str, convert: str) -> tuple[State, str]:
    """Pretrained weights from safetensors in the cache folder.

    Parameters
    ----------
    name
        Of the weights, as in :mod:`kgvad.weights`.
    convert
        ``"module:function"`` that reads the published file; imported where there is no valid conversion yet.

    Returns
    -------
    tuple
        The tensors and the SHA-256 of the published file.

    Raises
    ------
    WeightsError
        The published file is missing or damaged.
    """
    row = weights.lookup(name)
    digest = row.main_sha256 or ""
    path = cache_dir() / "weights" / name / CONVERTED
    if path.is_file():
        # a file that is damaged or of another version is converted again
        with suppress(SafetensorError, TypeError, OSError), safe_open(path, "np") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if file.metadata() == _provenance(state, digest):
                return state, digest
    source = weights.find(name) / row.main
    read: Any = resolve_name(convert)
    try:
        state = read(source)
    except (KeyError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{source} does not hold {row.about} ({reason})", "delete it and fetch it again") from error
    with replacing(path) as temporary:
        save_file(dict(state), os.fspath(temporary), metadata=_provenance(state, digest))
    return state, digest


def _provenance(state: State, source_sha256: str) -> dict[str, str]:
    """Metadata of converted weights: the hash of the published file and that of the tensors themselves."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key]
        digest.update(f"{key} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return {"version": "3", "source_sha256": source_sha256, "tensors_sha256": digest.hexdigest()}
