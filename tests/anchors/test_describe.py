"""Descriptions of banks as text and CSV."""

import pytest
from anchors_samples import tiny_bank

from kgvad.anchors.build import open_vocabulary
from kgvad.anchors.describe import as_csv, describe, differences


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bank(tmp_path_factory)


def test_descriptions_list_concepts_and_differences(made):
    bank, encoder, store = made
    assert "robbery, a kind of theft  [Q2727213 P279]" in describe(bank)
    assert "not in the anchor" not in describe(bank)
    bank.concept_weight[5] = 0
    assert describe(bank).count("(not in the anchor)") == 1
    bank.concept_weight[5] = 0.5
    rows = as_csv(bank).splitlines()
    assert len(rows) == len(bank.concepts) + 1 and rows[0].startswith("category,text,prompt,relation,qid")
    text = differences(bank, open_vocabulary(bank, encoder, store, ["a dog"]))
    assert text == "a dog: only in the second\n"


def test_a_label_of_a_graph_does_not_reach_the_terminal_as_a_command(made):
    """`kgvad kg show` wrote it without its control characters, `kgvad anchors show` with them."""
    bank, _, _ = made
    own = bank.concepts[0]
    bank.concepts[0] = own.model_copy(update={"prompt": "red \x1b[31m\u202ealarm"})
    try:
        assert "red [31m alarm" in describe(bank) and "\x1b" not in describe(bank)
    finally:
        bank.concepts[0] = own
