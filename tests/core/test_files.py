import hashlib
import os
import resource
import subprocess
import sys

import pytest

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import KgvadError, UsageError
from kgvad.files import append_line, read_json, replacing, sha256, write_bytes, write_json, write_text
from kgvad.settings import load_settings
from kgvad.video.extract import find_videos


def test_new_file_and_its_folder_are_made(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "größe\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "größe\n".encode()
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="not JSON compliant"), replacing(path):
        write_json(path.with_name("y.json"), float("nan"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_kill_between_write_and_rename_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    code = (
        "import os, sys\nfrom kgvad.files import replacing\n"
        "with replacing(sys.argv[1]) as t:\n    t.write_text('new'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd="/")
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_full_disk_is_one_line_and_loses_nothing(tmp_path):
    """A file-size limit stands in for a full disk: both fail in write() with an OSError."""
    path = tmp_path / "x.bin"
    write_bytes(path, b"old")
    code = (
        "import resource, signal, sys\nfrom kgvad.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_bytes(sys.argv[1], bytes(100000))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd="/", capture_output=True, text=True)
    assert f"KgvadError: cannot write {path}: File too large; free space" in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_a_folder_in_the_way_is_named(tmp_path):
    with pytest.raises(KgvadError, match="is a folder, not a file; choose another name"):
        write_text(tmp_path, "x")


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "y")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 1_000_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_a_line_is_not_appended_to_one_that_was_cut_off(tmp_path):
    file = tmp_path / "journal"
    for line in ("one", "zwei"):
        append_line(file, line)
    assert file.read_text() == "one\nzwei\n"
    file.write_text("one\nzw")
    append_line(file, "drei")
    assert file.read_text() == "one\ndrei\n"
    with pytest.raises(KgvadError, match="cannot write /dev/full: No space left"):
        append_line("/dev/full", "x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_refused_at_once_and_one_that_a_shell_opened_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UsageError, match=r"pipe\.json cannot be read: it is a pipe or a device, not a file; give JSON"):
        read_json(tmp_path / "pipe.json", UsageError, "give JSON")
    with pytest.raises(OSError, match="a pipe or a device"):
        sha256(tmp_path / "pipe.json")
    code = "from kgvad.files import sha256\nprint(sha256('/dev/stdin'))"
    done = subprocess.run([sys.executable, "-c", code], input=b"x", capture_output=True, cwd="/", check=True)
    assert done.stdout.decode().strip() == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("name", ["list.txt", "scores.csv", "scores.json", "kgvad.toml"])
def test_a_text_that_is_not_utf8_is_said_to_be_saved_as_utf8(tmp_path, monkeypatch, name):
    """The error quoted the codec, and the remedy was to write the file again."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes('{"time": "score", "caf\xe9"}'.encode("cp1252"))
    read = {
        "list.txt": lambda: find_videos(path),
        "scores.csv": lambda: Scores.load(path),
        "scores.json": lambda: Scores.load(path),
        "kgvad.toml": load_settings,
    }
    with pytest.raises(KgvadError, match=rf"{name}.* is not UTF-8 text; save it as UTF-8") as error:
        read[name]()
    assert "codec" not in str(error.value)
