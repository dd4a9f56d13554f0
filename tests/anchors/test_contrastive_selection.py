"""Contrastive selection keeps discriminating concepts and gives its reasons."""

import numpy as np
import pytest
from anchors_samples import TABLE, tiny_bank

from kgvad.anchors.build import build_bank
from kgvad.anchors.contrastive_selection import select
from kgvad.kg.tables import parse_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bank(tmp_path_factory)


def test_selection_drops_concepts_of_the_rival_and_duplicates():
    def row(x, y):
        return np.array([x, y], np.float32) / np.hypot(x, y)

    #                 label        own         twin of it    rival's       label       rival's own
    vectors = np.stack([row(1, 0.2), row(1, 0), row(1, 0.01), row(0.1, 1), row(0, 1), row(0.5, 1)])
    category = np.array([0, 0, 0, 0, 1, 1])
    found = select(vectors, category, ["label", "cue", "cue", "alias", "label", "cue"], [[1], [0]], duplicate=0.99)
    assert [decision.kept for decision in found] == [True, True, False, False, True, True]
    assert "another concept" in found[2].reason and "nearer to another category" in found[3].reason
    assert found == select(
        vectors, category, ["label", "cue", "cue", "alias", "label", "cue"], [[1], [0]], duplicate=0.99
    )


def test_contrast_explains_every_concept(made):
    bank, encoder, store = made
    lines = []
    chosen = build_bank(parse_table(TABLE, "tiny"), store, encoder, contrast=True, log_selection=lines.append)
    assert len(lines) == len(bank.concepts)
    assert len(chosen.concepts) == sum(line.startswith("kept") for line in lines)
    assert {"Robbery", "Arson", "Normal"} == {line.split("\t")[1] for line in lines}
