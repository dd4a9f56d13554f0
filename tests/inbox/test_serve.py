"""The command: its address, its errors, and a process that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

from kgvad.explain.report import Report, VideoFacts
from kgvad.files import sha256
from kgvad.inbox.library import Mark
from kgvad.inbox.worker import report_folder

KGVAD = [sys.executable, "-m", "kgvad", "serve", "--port", "0"]


@pytest.fixture
def start(tmp_path):
    started = []

    def run(*arguments):
        environment = os.environ | {"KGVAD_HOME": str(tmp_path / "home"), "KGVAD_OFFLINE": "1"}
        process = subprocess.Popen([*KGVAD, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def status(address):
    with urllib.request.urlopen(address + "status.json", timeout=20) as answer:
        return json.load(answer)


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


def test_a_killed_server_continues_where_it_was(start, tmp_path):
    """A video whose explanation ended with the process is taken up again, and then fails or succeeds like any other."""
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "broken.mp4").write_bytes(b"no video" * 100)
    os.utime(videos / "broken.mp4", (1, 1))
    process, address = start(videos)
    assert re.fullmatch(r"http://localhost:\d+/", address)
    until(lambda: status(address)["finished"] == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, address = start(videos)
    assert status(address)["finished"] == 1  # once is enough
    assert not status(address)["busy"]


def test_one_server_has_an_inbox_and_ends_tidily_when_asked(start, tmp_path):
    process, address = start()
    assert address
    second, nothing = start()
    assert (second.wait(timeout=60), nothing) == (1, "")
    with urllib.request.urlopen(address, timeout=20) as page:  # a connection that is open does not hold the end up
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert b"<!doctype html>" in page.read()
    assert start()[1]


def test_an_address_for_others_has_a_token(start):
    _, address = start("--host", "0.0.0.0")
    assert re.fullmatch(r"http://[^/]+:\d+/\?token=[\w-]{20,}", address)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["--host", "203.0.113.7"], "203.0.113.7"),
        (["--max-upload", "big"], "--max-upload big"),
        (["--captions", "gone.json"], "gone.json"),
    ],
)
def test_wrong_use_is_one_line(arguments, named):
    done = subprocess.run([*KGVAD, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("kgvad: error: ") and named in last


def test_a_replaced_file_is_explained_again_and_a_touched_one_is_not(make, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("kgvad.inbox.serve.SETTLED_S", -1.0)
    server, videos = make(), tmp_path / "videos"
    server.videos = [videos]
    videos.mkdir()
    door = videos / "door.mp4"
    door.write_bytes(b"one")
    server.look()
    server.library.finish(server.library.take().id, {"events": 1}, [("fire", 1.0)])
    report = report_folder(server.library, 1)
    report.mkdir(parents=True)
    facts = VideoFacts(name="door", fps=1, frame_count=1, duration_s=1, sha256=sha256(door))
    monkeypatch.setattr(Report, "read", lambda path: SimpleNamespace(video=facts))
    server.library.mark(1, Mark(8.0, 12.0, "wrong"))
    os.utime(door, (1, 1))
    for _ in range(2):
        server.look()
        assert server.library.take() is None and len(server.library.marks()[1]) == 1
    door.write_bytes(b"another")
    server.look()
    assert [(video.id, video.state) for video in server.library.videos()] == [(2, "waiting")]
    assert server.library.marks() == {} and server.library.mentions() == [] and not report.exists()
    assert "door.mp4 was replaced and is explained again; 1 mark of the earlier file dropped" in caplog.text
    server.look()
    assert server.library.video(2).state == "waiting"
    server.library.remove(2)
    door.write_bytes(b"a third")
    server.look()
    assert server.library.videos() == []  # removed means not wanted


def test_an_inbox_inside_a_followed_folder_does_not_feed_itself(make, monkeypatch, tmp_path):
    """Each video with blurred faces was explained as a new one, and that made another, without end."""
    monkeypatch.setattr("kgvad.inbox.serve.SETTLED_S", -1.0)
    server = make()
    server.videos = [tmp_path]
    for path in ("door.mp4", "inbox/reports/1/redacted.mp4", "inbox/training/Fire/1-door.mp4"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"one")
    server.look()
    assert [video.name for video in server.library.videos()] == ["door"]
