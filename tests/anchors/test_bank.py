"""The anchor bank: built from real facts, saved, loaded, compared; errors of damaged files are one line."""

import json

import numpy as np
import pytest
from anchors_samples import TABLE, tiny_bank
from safetensors import safe_open

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank, open_vocabulary
from kgvad.anchors.describe import differences
from kgvad.errors import AnchorError, UsageError
from kgvad.kg.tables import parse_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bank(tmp_path_factory)


def test_concepts_keep_prompt_and_provenance(made):
    bank, encoder, _ = made
    assert bank.categories == ["Robbery", "Arson", "Normal"] and bank.normal == 2
    theft = next(concept for concept in bank.of("Robbery") if concept.text == "theft")
    assert theft.prompt == "robbery, a kind of theft" and (theft.qid, theft.property) == ("Q2727213", "P279")
    assert theft.path and theft.fetched_at and "theft" in theft.path_text
    assert np.abs(bank.concept_vectors - encoder.encode([c.prompt for c in bank.concepts])).max() < 1e-5
    assert np.allclose(np.linalg.norm(bank.anchors, axis=1), 1, atol=1e-5)
    with pytest.raises(UsageError, match="no category 'Theft'; it has Robbery, Arson, Normal"):
        bank.of("Theft")


def test_saved_bank_is_the_same_and_readable_without_kgvad(made, tmp_path):
    bank, _, _ = made
    path = tmp_path / "tiny.safetensors"
    bank.save(path)
    again = AnchorBank.load(path)
    assert again.fingerprint == bank.fingerprint and again.concepts == bank.concepts
    assert np.array_equal(again.anchors, bank.anchors)
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["kgvad"])
        assert file.get_tensor("anchors").shape == (3, 32) and about["categories"] == bank.categories
    assert differences(bank, again) == "no differences\n"


def test_damaged_missing_and_newer_files_are_refused_in_one_line(made, tmp_path):
    path = tmp_path / "tiny.safetensors"
    with pytest.raises(AnchorError, match=r"no anchor bank .*kgvad build-anchors"):
        AnchorBank.load(path)
    made[0].save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-100], b"not a bank at all", whole[:8] + b"\xff" * 50 + whole[58:]):
        path.write_bytes(content)
        with pytest.raises(AnchorError) as error:
            AnchorBank.load(path)
        assert "\n" not in str(error.value) and "tiny.safetensors" in str(error.value)
    for found, wanted in ((b'\\"version\\":1', b'\\"version\\":9'), (b'\\"normal\\":2', b'\\"normal\\":7')):
        assert found in whole
        path.write_bytes(whole.replace(found, wanted))
        with pytest.raises(AnchorError):
            AnchorBank.load(path)
    bad = AnchorBank(
        made[0].header,
        {
            "anchors": made[0].anchors,
            "concept_vectors": made[0].concept_vectors,
            "concept_category": made[0].concept_category,
            "concept_weight": made[0].concept_weight,
        },
    )
    bad.anchors = bad.anchors * np.nan
    bad.save(path)
    with pytest.raises(AnchorError, match="not finite"):
        AnchorBank.load(path)


def test_concepts_of_a_related_item_are_described_with_it(made):
    _, encoder, store = made
    table = parse_table(
        TABLE.replace(
            'role = "primary" }]\ncues = ["a burning',
            'role = "primary" },\n'
            '{ qid = "Q34493", label = "motorcycle", role = "related" }]\n'
            'exclude_from_anchor = ["Q857984"]\ncues = ["a burning',
        ),
        "tiny",
    )
    bank = build_bank(table, store, encoder)
    prompts = {concept.prompt for concept in bank.of("Arson")}
    assert "motorcycle, a kind of motor vehicle" in prompts and "arson, a kind of property damage" in prompts
    weight = {c.text: w for c, w in zip(bank.concepts, bank.concept_weight, strict=True)}
    assert weight["property crime"] == 0 < weight["property damage"]  # reports may still cite it


def test_open_vocabulary_adds_categories_by_words_and_by_item(made):
    bank, encoder, store = made
    wider = open_vocabulary(bank, encoder, store, ["a dog attacks a person", "Q6160"])
    assert wider.categories == ["Robbery", "Arson", "Normal", "a dog attacks a person", "vandalism"]
    assert wider.normal == 2 and np.array_equal(wider.anchors[:3], bank.anchors) and len(bank.categories) == 3
    assert np.allclose(wider.anchors[3], encoder.encode(["a dog attacks a person"])[0], atol=1e-5)
    assert any(concept.qid == "Q6160" for concept in wider.of("vandalism"))
    with pytest.raises(AnchorError, match="no item Q99999999999"):
        open_vocabulary(bank, encoder, store, ["Q99999999999"])
    with pytest.raises(UsageError, match="--open: 'arson' is a category of the bank already"):
        open_vocabulary(bank, encoder, store, ["arson"])
    with pytest.raises(UsageError, match="--open: 'A dog' is given twice; leave it out"):
        open_vocabulary(bank, encoder, store, ["a dog", "A dog"])
    with pytest.raises(UsageError, match="--open: 'robbery' is a category of the bank"):
        open_vocabulary(bank, encoder, store, ["q53706"])  # not the word "q53706"
    assert open_vocabulary(bank, encoder, store, ["a\nb\x1b\udc80 c"]).categories[-1] == "a b c"  # unprintable input
    for query in ("", "  ", "robbery"):
        with pytest.raises(UsageError):
            open_vocabulary(bank, encoder, store, [query])


def test_languages_without_labels_are_reported(made, capsys):
    bank, encoder, store = made
    mixed = build_bank(parse_table(TABLE, "tiny"), store, encoder, languages=("zh", "en", "mul"))
    told = capsys.readouterr().err
    assert "no label in zh for any item of tiny; the other languages are used" in told and told.count("\n") == 1
    assert [concept.text for concept in mixed.concepts] == [concept.text for concept in bank.concepts]
    with pytest.raises(AnchorError, match=r"no label in xx or zh .*--language en"):
        build_bank(parse_table(TABLE, "tiny"), store, encoder, languages=("xx", "zh", "mul"))
