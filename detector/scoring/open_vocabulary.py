"""New categories for a trained run, without training: words or items of the knowledge graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kgvad.anchors.build import open_vocabulary
from kgvad.anchors.text_encoders import TextEncoder, load_text_encoder
from kgvad.detector.run import Run, make_problem
from kgvad.errors import UsageError
from kgvad.kg.store.cache import GraphStore


def open_run(
    run: Run, queries: Sequence[str], store: GraphStore, device: str = "cpu", encoder: TextEncoder | None = None
) -> Run:
    """The run with one more category for each query; its anomaly scores do not change.

    Parameters
    ----------
    run
        Trained with an anchor bank, of a detector that reads anchors.
    queries
        Words (``"a dog attacks a person"``) or items (``"Q4654740"``).
    store
        Knowledge graph, for queries that are items.
    device
        Torch device of the detector.
    encoder
        Text encoder of the bank; default: loaded by its name.

    Raises
    ------
    UsageError
        The run has no anchor bank, or its detector cannot take categories after training.
    AnchorError
        The text encoder is not the bank's, or an item is unknown.
    """
    if run.bank is None:
        raise UsageError(f"{run.folder} was trained without anchors and cannot take new categories", "leave out --open")
    text = encoder or load_text_encoder(run.bank.encoder.source)
    bank = open_vocabulary(run.bank, text, store, queries)
    config = run.config.model_copy(update={"categories": tuple(bank.categories), "bank_fingerprint": bank.fingerprint})
    detector = run.detector.extended(make_problem(config, bank)).eval().to(device)
    return replace(run, config=config, detector=detector, bank=bank)
