"""A bank with one concept a category, for tests of scorers."""

import numpy as np

from kgvad.anchors.bank import AnchorBank, BankConcept, BankHeader, EncoderInfo

DIM = 64


def toy_bank():
    """A bank with one concept a category, along the axes of :class:`Texts`."""
    concept = {"relation": "label", "qid": None, "property": None, "path": (), "path_text": "", "source": "test"}
    texts = ("walk", "fight", "fire")
    header = BankHeader(
        version=1,
        dataset="toy",
        categories=["Normal", "Fighting", "Arson"],
        normal=0,
        concepts=[BankConcept(text=t, prompt=t, fetched_at=None, **concept) for t in texts],
        encoder=EncoderInfo(name="toy", fingerprint="f", dim=DIM, joint="toy"),
        table_fingerprint="t",
        pooling="mean",
        created="2026-01-01T00:00:00Z",
        facts_date="2026-01-01",
        made_by="test",
    )
    axes = np.eye(DIM, dtype=np.float32)[:3]
    return AnchorBank(
        header,
        {
            "anchors": axes,
            "concept_vectors": axes,
            "concept_category": np.arange(3),
            "concept_weight": np.ones(3, np.float32),
        },
    )
