"""Globs and list files."""

import pytest

from kgvad.errors import UsageError
from kgvad.video.extract import find_videos
from kgvad.video.inputs import files_below


@pytest.fixture
def folder(tmp_path):
    for name in ("in/a/1.mp4", "in/a/2.mp4", "in/b/1.mp4", "in/b/1.avi", "in/b/[x].mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def test_glob(folder, monkeypatch):
    assert sorted(find_videos(folder / "*/1.mp4")) == ["a/1", "b/1"]
    assert sorted(find_videos(folder / "b" / "1.*")) == ["1.avi", "1.mp4"]
    assert list(find_videos(folder / "b" / "[x].mp4")) == ["[x]"]  # it exists, so it is no pattern
    monkeypatch.chdir(folder)
    assert len(find_videos("**/*.mp4")) == 4
    with pytest.raises(UsageError, match="no file matches"):
        find_videos("*.webm")


def test_links_to_folders_are_followed_but_not_in_a_circle(folder):
    (folder / "c").symlink_to("a")
    (folder / "a" / "up").symlink_to("..")
    (folder / "nowhere").symlink_to("none")
    (folder / "round").symlink_to("round")
    assert sorted(find_videos(folder)) == ["a/1", "a/2", "b/1.avi", "b/1.mp4", "b/[x]", "c/1", "c/2"]
    assert files_below(folder)[0] == folder / "a" / "1.mp4"


def test_a_detour_through_a_link_keeps_its_meaning(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / "a")
    (tmp_path / "list.txt").write_text("link/../b/1.mp4\nin/a/1.mp4\n")
    assert list(find_videos(tmp_path / "list.txt")) == ["b/1", "a/1"]


def test_list(folder):
    path = folder / "list.txt"
    path.write_text("\ufeff# mine\n a/1.mp4 \n\nb/1.mp4\na/1.mp4\n", "utf-8")
    assert {name: video.name for name, video in find_videos(path).items()} == {"a/1": "1.mp4", "b/1": "1.mp4"}
    (folder / "a" / "list.txt").write_text("1.mp4\n../b/1.mp4\n../a/1.mp4\n")
    assert list(find_videos(folder / "a" / "list.txt")) == ["a/1", "b/1"]
    path.write_text(f"{folder / 'a/2.mp4'}\n")
    assert list(find_videos(path)) == ["2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a/1.mp4\nnone.mp4\n", "line 2: none.mp4 does not exist"),
        (b"# a\n", "names no video"),
        (b"\xff\xfe\0", "list.txt"),
    ],
)
def test_wrong_lists(folder, content, message):
    path = folder / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        find_videos(path)
