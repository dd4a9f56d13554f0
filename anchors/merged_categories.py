"""One category in place of all abnormal ones, for datasets whose labels say only whether a video is abnormal."""

from __future__ import annotations

import numpy as np

from kgvad.anchors.bank import AnchorBank


def merge_abnormal(bank: AnchorBank, name: str) -> AnchorBank:
    """``bank`` with one abnormal category ``name``, which has the concepts of all the abnormal ones.

    Its anchor is the mean of theirs, so each kind of anomaly weighs the same whatever its number of concepts. Concepts
    keep their provenance: an explanation can still cite a bicycle.

    Returns
    -------
    AnchorBank
        Categories ``name`` and Normal, in this order.
    """
    abnormal = [index for index in range(len(bank.categories)) if index != bank.normal]
    mean = bank.anchors[abnormal].mean(axis=0)
    anchors = np.stack([mean / max(float(np.linalg.norm(mean)), 1e-12), bank.anchors[bank.normal]])
    header = bank.header.model_copy(update={"categories": [name, bank.categories[bank.normal]], "normal": 1})
    return AnchorBank(
        header,
        {
            "anchors": anchors.astype(np.float32),
            "concept_vectors": bank.concept_vectors,
            "concept_category": (bank.concept_category == bank.normal).astype(np.int64),
            "concept_weight": bank.concept_weight,
        },
    )
