"""The anchor bank that a report compares with: the named one, the default one, or one that is built now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.detector.scoring.scores import Scores
from kgvad.kg.tables import load_table
from kgvad.settings import default_bank

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank

logger = logging.getLogger(__name__)


def find_bank(named: Path | None, dataset: str, joint: str | None, device: str) -> AnchorBank:
    """The bank at ``named``, else the default one of the dataset, which is built from the bundled facts where missing.

    Parameters
    ----------
    named
        What the user chose.
    dataset
        Name of a category table, or path to one.
    joint
        Visual encoder that the default bank must share a space with; ``None``: any bank will do.
    device
        Of the text encoder, where a bank is built.
    """
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.build import build_bank
    from kgvad.anchors.text_encoders import load_text_encoder
    from kgvad.kg.store.cache import GraphStore

    if named is not None:
        return AnchorBank.load(named)
    stem = Path(dataset).stem
    path = default_bank(stem)
    if path.is_file():
        bank = AnchorBank.load(path)
        if joint is None or bank.encoder.joint == joint:
            return bank
        path = default_bank(f"{stem}-{joint}")
        if path.is_file():
            return AnchorBank.load(path)
    logger.info(f"there is no anchor bank for {dataset} yet; building {path} from the bundled facts")
    bank = build_bank(load_table(dataset), GraphStore.open(None), load_text_encoder(joint, device))
    bank.save(path)
    return bank


def open_bank(bank: AnchorBank, queries: Sequence[str], device: str) -> AnchorBank:
    """The bank with one more category for each query; the bank itself without any."""
    from kgvad.anchors.build import open_vocabulary
    from kgvad.anchors.text_encoders import load_text_encoder
    from kgvad.kg.store.cache import GraphStore

    if not queries:
        return bank
    return open_vocabulary(bank, load_text_encoder(bank.encoder.source, device), GraphStore.open(None), queries)


def tell_opened(scores: Scores, count: int) -> Scores:
    """``scores`` with a note that the last ``count`` categories were asked for and not learned."""
    if not count:
        return scores
    names = ", ".join(f"“{name}”" for name in (scores.categories or [])[-count:])
    notes = [*scores.origin.notes, f"Asked for, and not learned from any video: {names}."]
    return replace(scores, origin=scores.origin.model_copy(update={"notes": notes}))
