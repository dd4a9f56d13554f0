"""Where the feature stores of a folder lie."""

from __future__ import annotations

from pathlib import Path

from kgvad.errors import FeatureError
from kgvad.files import read_json
from kgvad.video.store_staging import MANIFEST

OF_TEXT = "-text"  # ends the name of the encoder of a store of caption embeddings
REMEDY = "make features with 'kgvad extract' or 'kgvad features import'"


def store_folder(root: Path, encoder: str | None = None) -> Path:
    """The folder of the store in ``root``: itself, or its only sub-folder that is one, those of captions left out.

    Parameters
    ----------
    root
        Folder with a manifest, or a folder of such folders.
    encoder
        Which of several stores: the name of its folder, or of the encoder in its manifest.

    Raises
    ------
    FeatureError
        None or several.
    """
    there = [root] if (root / MANIFEST).is_file() else sorted(path.parent for path in root.glob(f"*/{MANIFEST}"))
    if not there:
        raise FeatureError(f"{root} holds no {MANIFEST}", REMEDY)
    found = [path for path in there if not path.name.endswith(OF_TEXT)] or there
    if encoder is not None:
        found = [path for path in there if path.name == encoder] or [
            path for path in there if _encoder_of(path) == encoder
        ]
    if not found:
        names = ", ".join(_encoder_of(path) for path in there)
        raise FeatureError(f"{root} has features of {names}, and none of {encoder}", REMEDY)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise FeatureError(f"{root} holds features of several encoders ({names})", "name one of these folders")
    return found[0]


def _encoder_of(store: Path) -> str:
    """Name of the encoder of a store; that of its folder where the manifest does not say it."""
    manifest = read_json(store / MANIFEST, FeatureError, "delete the folder and extract again")
    return str(manifest.get("encoder", store.name)) if isinstance(manifest, dict) else store.name
