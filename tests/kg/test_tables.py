"""Category tables: the bundled ones against the graph and the reviewed list, and errors of wrong ones."""

import csv

import pytest

from kgvad.errors import CategoryTableError, UsageError
from kgvad.kg.graph.abstract_items import ABSTRACT
from kgvad.kg.sources.subgraphs import check_labels, require
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.tables import bundled_tables, is_qid, load_table, parse_table

UCF = [
    "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting", "RoadAccidents", "Robbery",
    "Shooting", "Shoplifting", "Stealing", "Vandalism", "Normal",
]  # fmt: skip
TITLES = {
    "ucf": "UCF-Crime", "xd": "XD-Violence", "shanghaitech": "ShanghaiTech", "ubnormal": "UBnormal", "msad": "MSAD",
    "ped2": "UCSD Ped2", "avenue": "CUHK Avenue",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with GraphStore.open(f"sqlite:///{tmp_path_factory.mktemp('kg')}/kg.sqlite") as opened:
        yield opened


def test_bundled_tables():
    assert bundled_tables() == sorted(TITLES)
    assert load_table("ucf").names == UCF
    assert [load_table(name).normal.name for name in TITLES] == ["Normal"] * 7


@pytest.mark.parametrize("name", TITLES)
def test_every_category_has_cues_and_normal_has_many(name):
    table = load_table(name)
    for category in table.categories:
        assert len(category.cues) >= 2, category.name
        assert len(set(category.cues)) == len(category.cues)
        if not category.normal:
            assert len(category.cues) <= 6
            assert category.primary or category.note, f"{category.name} has no item and does not say so"
    assert len(table.normal.cues) + len(table.normal.items) >= 15


@pytest.mark.parametrize("name", TITLES)
def test_every_label_matches_the_bundled_facts(name, store):
    table = load_table(name)
    require(store, table, name)
    rows = check_labels(store, table)
    assert len(rows) == sum(len(category.items) for category in table.categories)
    for category in table.categories:
        for item in category.items:
            assert item.verified_by, f"{category.name} {item.qid}: nobody verified it"


def test_labels_of_abstract_items_match_the_bundled_facts(store):
    labels = store.labels(ABSTRACT)
    assert {qid: ABSTRACT[qid] for qid in labels} == labels


@pytest.mark.parametrize("name", TITLES)
def test_items_agree_with_the_reviewed_list(name, shared):
    with (shared / "kg" / "categories.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["dataset"] == TITLES[name] and row["qid"]]
    wanted = {row["qid"]: row["label"].removeprefix("(enwiki title) ").split(" (")[0].casefold() for row in rows}
    table = load_table(name)
    used = {item.qid: item.label.casefold() for category in table.categories for item in category.items}
    assert {qid: used[qid] for qid in used if qid in wanted} == {qid: wanted[qid] for qid in used if qid in wanted}
    for row in rows:  # the primary item of each class is in the table
        if row["role"] == "primary" and not row["class"].startswith("(scene)"):
            assert row["qid"] in used, row["class"]
    if name == "ucf":
        for row in rows:
            category = table.category(row["class"])
            roles = {item.qid: item.role for item in category.items}
            if row["role"] == "primary":
                assert roles.get(row["qid"]) == "primary", row["class"]


def test_names_and_aliases_of_the_datasets_lists():
    ucf, xd = load_table("ucf"), load_table("XD")
    assert ucf.category("road_accidents").name == ucf.category("Road Accidents").name == "RoadAccidents"
    assert ucf.category("Normal_Videos_event").normal and ucf.category("Testing_Normal_Videos_Anomaly").normal
    codes = {"A": "Normal", "B1": "Fighting", "B2": "Shooting", "B4": "Riot", "B5": "Abuse", "B6": "CarAccident"}
    assert {code: xd.category(code).name for code in codes} == codes
    assert xd.category("g").name == "Explosion"
    with pytest.raises(UsageError, match="ucf has no category 'Parade'; its categories are Abuse, Arrest"):
        ucf.category("Parade")


GOOD = """
dataset = "mine"
title = "Mine"
[[category]]
name = "Dog attack"
text = "dog attack"
cues = ["a dog biting a person"]
[[category]]
name = "Normal"
text = "ordinary"
normal = true
cues = ["people walking"]
"""


def test_a_users_own_table(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, "utf-8")
    table = load_table(path)
    assert table.names == ["Dog attack", "Normal"] and table.qids == []
    other = parse_table(GOOD.replace("biting", "chasing"), "x")
    assert table.fingerprint != other.fingerprint
    assert table.fingerprint == load_table(str(path)).fingerprint
    assert parse_table("version = 1\n" + GOOD, "x").fingerprint == table.fingerprint  # the version is not content


def with_items(items):
    return GOOD.replace('cues = ["a dog', f'items = [{items}]\ncues = ["a dog')


WRONG = {
    "not TOML": ("dataset = ", "is not valid TOML"),
    "empty": ("", "dataset"),
    "a newer version": ("version = 2\n" + GOOD, "version 2 of the format is unknown; this kgvad reads version 1"),
    "a version that is not a number": ('version = "1"\n' + GOOD, "version"),
    "an unknown key": (GOOD.replace("text = \"dog attack\"", 'text = "x"\ncolour = "red"'), "colour"),
    "a wrong type": (GOOD.replace('cues = ["people walking"]', "cues = 5"), "cues"),
    "a number as a cue": (GOOD.replace('"people walking"', "5"), "cues"),
    "no QID": (with_items('{qid = "Q1} UNION {", label = "x"}'), "qid"),
    "Q0": (with_items('{qid = "Q0", label = "x"}'), "qid"),
    "a wrong role": (with_items('{qid = "Q1", label = "x", role = "so"}'), "role"),
    "an item twice": (with_items('{qid = "Q1", label = "x"}, {qid = "Q1", label = "x"}'), "lists an item twice"),
    "no normal one": (GOOD.replace("normal = true", ""), "exactly one category"),
    "two normal ones": (GOOD.replace('text = "dog attack"', 'text = "x"\nnormal = true'), "exactly one category"),
    "only one category": (GOOD[: GOOD.rindex("[[category]]")], "category"),
    "the same name twice": (GOOD.replace('"Dog attack"', '"normal"'), "share the name"),
    "neither items nor cues": (GOOD.replace('cues = ["people walking"]', ""), "neither items nor cues"),
    "confused with nobody": (GOOD.replace("normal = t", 'confused_with = ["Cat"]\nnormal = t'), "names 'Cat'"),
    "an empty name": (GOOD.replace('"Dog attack"', '" "'), "name"),
    "a line break in a cue": (GOOD.replace("a dog biting", "a dog\\nbiting"), "cues"),
    "a control character": (GOOD.replace("a dog biting", "a dog\\u001b[31m biting"), "cues"),
    "a dataset name that is a path": (GOOD.replace('"mine"', '"../mine"'), "dataset"),
    "deep nesting": ("a = " + "[" * 5000 + "]" * 5000, "x.toml"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_error_of_a_wrong_table_names_the_place(name):
    text, message = WRONG[name]
    with pytest.raises(CategoryTableError) as caught:
        parse_table(text, "x.toml")
    assert message in str(caught.value) and "x.toml" in str(caught.value)


def test_a_missing_table(tmp_path):
    with pytest.raises(
        UsageError, match=r"unknown dataset 'nope'; choose one of avenue, msad, ped2, shanghaitech, ubnormal, ucf, xd,"
    ):
        load_table("nope")
    with pytest.raises(UsageError, match=r"no category table .*mine\.toml; kgvad datasets init"):
        load_table(tmp_path / "mine.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(CategoryTableError, match="cannot read"):
        load_table(tmp_path / "folder.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CategoryTableError, match="not UTF-8"):
        load_table(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('qid = "Q53706"', 'qid = "Q0"', r"items\.0\.qid: must be the number of a Wikidata item, such as Q53706"),
        ('label = "robbery"', 'label = "a\\nb"', r"items\.0\.label: must be one line of text"),
        ('dataset = "mine"', 'dataset = "my own"', "dataset: must be up to 64 letters, digits"),
    ],
)
def test_a_text_of_the_wrong_form_is_described_in_words(right, wrong, said):
    table = with_items('{qid = "Q53706", label = "robbery"}')
    assert right in table and parse_table(table, "mine.toml")
    with pytest.raises(CategoryTableError, match=said):
        parse_table(table.replace(right, wrong), "mine.toml")


def test_a_wrong_label_shows_both_labels(store):
    wrong = with_items('{qid = "Q53706", label = "dog attack"}')
    with pytest.raises(CategoryTableError, match="Q53706 is 'robbery' in Wikidata, not 'dog attack'"):
        check_labels(store, parse_table(wrong, "mine.toml"))


def test_an_alias_is_accepted_with_a_warning(store, capsys):
    mugging = with_items('{qid = "Q53706", label = "Mugging"}')
    assert check_labels(store, parse_table(mugging, "mine.toml"))[0]["label"] == "robbery"
    assert "'Mugging' is an alias" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "Q", "Q0", "Q01", "q1", "Q1 ", "Q1\n", "Q1} UNION {", "P31", "Q-1", "Q1.5", "Q" + "9" * 30]
)
def test_invalid_item_ids(text):
    assert not is_qid(text)


def test_no_item_has_its_id_as_label(store):
    for name in TITLES:
        for qid, terms in store.terms(load_table(name).qids).items():
            assert label_of(terms) not in (None, qid)
