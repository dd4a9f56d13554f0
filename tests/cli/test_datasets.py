"""``kgvad datasets``, and what a dataset argument names."""

from pathlib import Path

import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.errors import UsageError
from kgvad.kg.tables import bundled_tables
from kgvad.sources.recipe import recipes


def rows(text):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    return {line[0]: dict(zip(header, line, strict=True)) for line in lines}


def test_list_shows_bundled_and_prepared_datasets_with_what_was_made(tmp_path):
    assert rows(kgvad("datasets", "list"))["ucf"] == {
        "name": "ucf", "kind": "bundled", "categories": "14", "anchors": "-", "features": "-", "run": "-",
    }  # fmt: skip
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf")
    kgvad("train", "--dataset", "ucf", "--set", "anchors=false", "--set", "width=8", "--epochs", 1)
    found = rows(kgvad("datasets", "list"))["ucf"]
    assert (found["features"], found["run"]) == ("imported", "yes")
    page = kgvad("datasets", "show", "ucf")
    assert "features: " in page and page.count("none yet") == 1  # the anchors


def test_show_prints_categories_with_items():
    page = kgvad("datasets", "show", "xd")
    assert "CarAccident" in page and "Q9687" in page and "kgvad build-anchors --dataset xd" in page
    with pytest.raises(UsageError, match="unknown dataset 'nothing'; known are avenue"):
        kgvad("datasets", "show", "nothing")


def test_commands_that_are_shown_can_be_pasted_into_a_shell(monkeypatch):
    folder = Path("my videos")
    for category in ("Normal", "Robbery"):
        (folder / category).mkdir(parents=True)
        (folder / category / "a.mp4").write_bytes(b"x")
    page = kgvad("datasets", "show", folder)
    assert "anchors: none yet; make them with: kgvad build-anchors --dataset 'my videos'" in page
    assert "run: none yet; make it with: kgvad train --dataset 'my videos'" in page
    monkeypatch.setenv("KGVAD_DATASET", "my videos")
    assert "run of my videos: kgvad train --dataset 'my videos'" in kgvad("doctor")


def test_show_tells_about_published_sources():
    assert "published sources: ucf-rgb-flow, " in kgvad("datasets", "show", "ucf")
    page = kgvad("datasets", "show", "ucf-rgb-flow").splitlines()
    assert "dataset: ucf" in page and "to download: 499 MB" in page and "tried on the real source: no" in page
    assert page[-1] == "get it with: kgvad datasets get ucf-rgb-flow"
    assert "what to do by hand: kgvad datasets get shanghaitech-clip" in kgvad("datasets", "show", "shanghaitech-clip")


def test_no_source_has_the_name_of_a_dataset():
    assert not set(recipes()) & set(bundled_tables())


def test_init_writes_a_table_that_other_commands_take():
    assert kgvad("datasets", "init", "mine", "-c", "Robbery", "-c", "dog attack", "--offline") == "mine.toml\n"
    assert "robbing" in Path("mine.toml").read_text() or "robber" in Path("mine.toml").read_text()  # bundled cues
    assert "robbery (Q53706)" in kgvad("kg", "show", "robbery", "--dataset", "mine.toml")
    assert "mine: mine\nkind: table, mine.toml" in kgvad("datasets", "show", "mine.toml")
    with pytest.raises(UsageError, match=r"mine\.toml exists; name another --output, or replace it with --force"):
        kgvad("datasets", "init", "mine", "-c", "Robbery", "--offline")
    assert kgvad("datasets", "init", "mine", "-c", "Arson", "--offline", "--force") == "mine.toml\n"
    with pytest.raises(UsageError, match="'UCF' is the name of a bundled dataset; choose another name"):
        kgvad("datasets", "init", "UCF", "-c", "Arson", "--offline")


def test_a_folder_does_not_replace_the_bundled_dataset_of_its_name(tmp_path):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    Path("ucf").mkdir()
    assert "kind: bundled" in kgvad("datasets", "show", "ucf")
    assert train(tmp_path / "features", tmp_path / "run") == f"{tmp_path / 'run'}\n"
    with pytest.raises(UsageError, match="ucf holds no video"):
        kgvad("datasets", "show", "./ucf")


def test_the_configured_dataset_is_the_default():
    Path("kgvad.toml").write_text('dataset = "msad"\n')
    assert kgvad("datasets", "show").startswith("msad: ")
