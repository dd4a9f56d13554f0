from pathlib import Path

import pytest

from kgvad.errors import UsageError
from kgvad.kg.datasets import DatasetRef, folder_name, resolve_dataset
from kgvad.kg.tables import is_dataset_name

TABLE = """dataset = "shops"
title = "Shops"
[[category]]
name = "Theft"
text = "theft"
cues = ["a person hides goods"]
[[category]]
name = "Normal"
text = "normal"
normal = true
cues = ["people shop"]
"""


def test_each_kind():
    Path("my.toml").write_text(TABLE)
    Path("clips").mkdir()
    assert resolve_dataset("UCF") == DatasetRef("ucf", "bundled")
    assert resolve_dataset("my.toml") == DatasetRef("shops", "table", Path("my.toml"))
    assert resolve_dataset("clips/") == resolve_dataset(Path("clips")) == DatasetRef("clips", "folder", Path("clips"))
    assert resolve_dataset("dams") == DatasetRef("dams", "prepared")


def test_a_bundled_name_wins_over_a_folder_of_that_name():
    Path("xd").mkdir()
    assert resolve_dataset("xd").kind == "bundled"
    assert resolve_dataset("./xd") == DatasetRef("xd-folder", "folder", Path("xd"))


@pytest.mark.parametrize("argument", ["missing/videos", "", "..hidden"])
def test_what_is_neither(argument):
    with pytest.raises(UsageError, match=r"is neither a dataset nor a folder; known datasets: avenue"):
        resolve_dataset(argument)


@pytest.mark.parametrize(
    ("folder", "name"), [("a b&c", "a-b-c"), ("--", "videos"), ("ucf", "ucf-folder"), ("x" * 90, "x" * 56)]
)
def test_names_of_folders(folder, name, tmp_path):
    (tmp_path / folder).mkdir()
    assert folder_name(tmp_path / folder) == name


def test_folders_in_other_alphabets_are_different_datasets(tmp_path):
    names = {folder_name(tmp_path / folder) for folder in ("视频", "数据", "видео", "é" * 60, "è" * 60, "videos")}
    assert len(names) == 6 and all(is_dataset_name(name) for name in names)
