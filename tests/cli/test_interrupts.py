"""Ctrl-C, SIGTERM and a closed terminal end a command with one line, and leave nothing half-written."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
import kgvad.cli as cli
from kgvad.files import replacing

@cli.app.command("hold")
def hold(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        print("began", flush=True)
        time.sleep(60)

cli.main()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_one_line_and_leaves_nothing_behind(tmp_path, name, code):
    process = start(tmp_path, signal.SIG_DFL)
    process.send_signal(getattr(signal, name))
    message = process.communicate(timeout=30)[1]
    assert message == "kgvad: interrupted; run the same command again to resume\n"
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(tmp_path):
    """``nohup`` ignores that the terminal was closed."""
    process = start(tmp_path, signal.SIG_IGN)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.kill()
    process.communicate()


def start(folder, hangup):
    def prepare():
        signal.signal(signal.SIGHUP, hangup)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [sys.executable, "-c", PROGRAM, "hold", str(folder / "file.txt")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare)
    assert process.stdout.readline() == "began\n"
    return process
