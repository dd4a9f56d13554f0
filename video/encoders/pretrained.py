"""Published checkpoints as safetensors: converted on first use, checked by hash on every use."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kgvad import weights
from kgvad.checksums import CONVERTED
from kgvad.errors import WeightsError
from kgvad.files import replacing
from kgvad.settings import cache_dir

N = TypeVar("N", bound=nn.Module)


def load_converted(name: str, architecture: Callable[[], N], convert: Callable[[N, Path], None]) -> tuple[N, str]:
    """A network with pretrained weights, from safetensors in the cache folder.

    Parameters
    ----------
    name
        Of the weights, as in :mod:`kgvad.weights`.
    architecture
        Makes the network without weights.
    convert
        Copies the tensors of the published file into the network; used where there is no valid conversion yet.

    Returns
    -------
    tuple
        The network and the SHA-256 of the published file.

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
        with suppress(SafetensorError, RuntimeError, OSError), safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if file.metadata() == _provenance(state, digest):
                network = architecture()
                network.load_state_dict(state)
                return network, digest
    source = weights.find(name) / row.main
    network = architecture()
    try:
        convert(network, source)
    except (KeyError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{source} does not hold {row.about} ({reason})", "delete it and fetch it again") from error
    state = network.state_dict()
    with replacing(path) as temporary:
        save_file(state, os.fspath(temporary), metadata=_provenance(state, digest))
    return network, digest


def _provenance(state: Mapping[str, Tensor], source_sha256: str) -> dict[str, str]:
    """Metadata of converted weights: the hash of the published file and that of the tensors themselves."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return {"version": "2", "source_sha256": source_sha256, "tensors_sha256": digest.hexdigest()}
