"""The command: its address, its errors, and a process that is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

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
        assert process.wait(timeout=60) == 143
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
