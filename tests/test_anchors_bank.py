"""The anchor bank: built from real facts, written, read, compared; damaged files are one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from kgvad.anchors.bank import AnchorBank, build_bank, open_vocabulary
from kgvad.anchors.describe import as_csv, describe, differences
from kgvad.anchors.plot import picture
from kgvad.anchors.pool import POOLINGS, balanced, pooling
from kgvad.anchors.prompts import prompt
from kgvad.anchors.select import select
from kgvad.anchors.text import load_text_encoder
from kgvad.errors import AnchorError, UsageError
from kgvad.kg.graph import Concept
from kgvad.kg.store import Store
from kgvad.kg.tables import parse_table

sys.path.append(str(Path(__file__).parent))
from anchors_samples import TABLE, checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    encoder = load_text_encoder(str(checkpoint("bert", tmp_path_factory.mktemp("bert"))))
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('kg')}/kg.sqlite")
    return build_bank(parse_table(TABLE, "tiny"), store, encoder), encoder, store


def test_concepts_keep_prompt_and_provenance(made):
    bank, encoder, _ = made
    assert bank.categories == ["Robbery", "Arson", "Normal"] and bank.normal == 2
    theft = next(concept for concept in bank.of("Robbery") if concept.text == "theft")
    assert theft.prompt == "robbery, a kind of theft" and (theft.qid, theft.property) == ("Q2727213", "P279")
    assert theft.path and theft.fetched_at and "theft" in theft.path_text
    assert np.abs(bank.concept_vectors - encoder.encode([c.prompt for c in bank.concepts])).max() < 1e-5
    assert np.allclose(np.linalg.norm(bank.anchors, axis=1), 1, atol=1e-5)


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
    assert differences(bank, again) == "the two say the same\n"


def test_damaged_missing_and_newer_files_are_one_line(made, tmp_path):
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
        made[0]._header,
        {
            "anchors": made[0].anchors,
            "concept_vectors": made[0].concept_vectors,
            "concept_category": made[0].concept_category,
            "concept_weight": made[0].concept_weight,
        },
    )
    bad.anchors = bad.anchors * np.nan
    bad.save(path)
    with pytest.raises(AnchorError, match="not numbers"):
        AnchorBank.load(path)


def test_templates_and_hostile_labels():
    def concept(relation, text):
        return Concept("X", text, relation, None, None, (), "", None, 1.0)

    assert prompt(concept("cause", "a fault"), "fire") == "fire caused by a fault"
    assert prompt(concept("subclass", "car theft"), "theft") == "car theft, a kind of theft"
    assert prompt(concept("related", "handgun"), "robbery") == "handgun at a scene of robbery"
    assert prompt(concept("never heard of", "x"), "fire") == "fire, x"
    assert prompt(concept("superclass", "{category} {0} %s"), "fire") == "fire, a kind of {category} {0} %s"


def test_balanced_counts_many_facts_of_one_kind_as_one():
    vectors = np.eye(6, dtype=np.float32)
    relations = ["cue", "label", "related", "subclass", "superclass", "alias"]
    weights = np.array([1, 1, 0.7, 0.5, 0, 0.6], np.float32)  # the superclass is quiet
    # cue 1.0 to axis 0; label 0.3 to axis 1; two facts 0.8 to the middle of axes 2 and 3; the alias does not count
    raw = np.array([1, 0.3, 0.8 / 2**0.5, 0.8 / 2**0.5, 0, 0])
    assert np.allclose(balanced(vectors, weights, relations), raw / np.linalg.norm(raw), atol=1e-6)
    # without a cue the label counts as much as the facts
    raw = np.array([0, 1, 1 / 2**0.5, 1 / 2**0.5, 0, 0])
    assert np.allclose(balanced(vectors[1:], weights[1:], relations[1:]), raw / 2**0.5, atol=1e-6)
    assert np.allclose(balanced(vectors[5:], weights[5:], ["alias"]), vectors[5])


def test_what_a_related_item_leads_to_is_said_of_that_item(made):
    _, encoder, store = made
    table = parse_table(
        TABLE.replace(
            'role = "primary" }]\ncues = ["a burning',
            'role = "primary" },\n'
            '{ qid = "Q34493", label = "motorcycle", role = "related" }]\nquiet = ["Q857984"]\ncues = ["a burning',
        ),
        "tiny",
    )
    bank = build_bank(table, store, encoder)
    prompts = {concept.prompt for concept in bank.of("Arson")}
    assert "motorcycle, a kind of motor vehicle" in prompts and "arson, a kind of property damage" in prompts
    weight = {c.text: w for c, w in zip(bank.concepts, bank.concept_weight, strict=True)}
    assert weight["property crime"] == 0 < weight["property damage"]  # it stays there to be cited


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_gives_a_unit_vector_and_one_concept_is_itself(name):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(6, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relations = ["label", "cue", "cue", "alias", "superclass", "related"]
    anchor = pooling(name)(vectors, np.full(6, 0.5, np.float32), relations)
    assert anchor.shape == (8,) and abs(np.linalg.norm(anchor) - 1) < 1e-5
    assert np.allclose(pooling(name)(vectors[:1], np.ones(1, np.float32), ["label"]), vectors[0], atol=1e-6)
    with pytest.raises(UsageError, match="balanced"):
        pooling("median")


def test_selection_drops_what_belongs_to_the_rival_and_what_is_said_twice():
    def row(x, y):
        return np.array([x, y], np.float32) / np.hypot(x, y)

    #                 label        own         twin of it    rival's       label       rival's own
    vectors = np.stack([row(1, 0.2), row(1, 0), row(1, 0.01), row(0.1, 1), row(0, 1), row(0.5, 1)])
    category = np.array([0, 0, 0, 0, 1, 1])
    found = select(vectors, category, ["label", "cue", "cue", "alias", "label", "cue"], [[1], [0]], alike=0.99)
    assert [decision.kept for decision in found] == [True, True, False, False, True, True]
    assert "another concept" in found[2].reason and "nearer to another category" in found[3].reason
    assert found == select(vectors, category, ["label", "cue", "cue", "alias", "label", "cue"], [[1], [0]], alike=0.99)


def test_contrast_explains_every_concept(made):
    bank, encoder, store = made
    lines = []
    chosen = build_bank(parse_table(TABLE, "tiny"), store, encoder, contrast=True, explain=lines.append)
    assert len(lines) == len(bank.concepts)
    assert len(chosen.concepts) == sum(line.startswith("kept") for line in lines)
    assert {"Robbery", "Arson", "Normal"} == {line.split("\t")[1] for line in lines}


def test_open_vocabulary_adds_categories_by_words_and_by_item(made):
    bank, encoder, store = made
    wider = open_vocabulary(bank, encoder, store, ["a dog attacks a person", "Q6160"])
    assert wider.categories == ["Robbery", "Arson", "Normal", "a dog attacks a person", "vandalism"]
    assert wider.normal == 2 and np.array_equal(wider.anchors[:3], bank.anchors) and len(bank.categories) == 3
    assert np.allclose(wider.anchors[3], encoder.encode(["a dog attacks a person"])[0], atol=1e-5)
    assert any(concept.qid == "Q6160" for concept in wider.of("vandalism"))
    with pytest.raises(AnchorError, match="no item Q99999999999"):
        open_vocabulary(bank, encoder, store, ["Q99999999999"])
    for query in ("", "  ", "robbery"):
        with pytest.raises(UsageError):
            open_vocabulary(bank, encoder, store, [query])


def test_views_name_what_is_there(made, tmp_path):
    bank, encoder, store = made
    assert "robbery, a kind of theft  [Q2727213 P279]" in describe(bank)
    rows = as_csv(bank).splitlines()
    assert len(rows) == len(bank.concepts) + 1 and rows[0].startswith("category,text,prompt,relation,qid")
    drawn = picture(open_vocabulary(bank, encoder, store, ["<script>alert(1)</script>"]))
    assert "<script" not in drawn and drawn.count("<circle") == len(bank.concepts) + 1 + 4
    told = differences(bank, open_vocabulary(bank, encoder, store, ["a dog"]))
    assert told == "a dog: only in the second\n"
