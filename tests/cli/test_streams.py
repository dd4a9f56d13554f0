"""Standard streams that are closed, full or no longer read: no traceback, and an exit code that tells."""

import subprocess
import sys

import pytest

KGVAD = f"{sys.executable} -m kgvad"


def shell(command):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd="/")


@pytest.mark.parametrize("target", [">/dev/full", ">&-"])
def test_results_that_cannot_be_written_are_one_line(target):
    done = shell(f"{KGVAD} weights list {target}")
    assert done.returncode == 1
    assert done.stderr.startswith("kgvad: error: cannot write the results: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("target", ["2>/dev/full", "2>&-"])
def test_messages_that_cannot_be_written_change_nothing(target):
    done = shell(f"{KGVAD} weights list {target}")
    assert done.returncode == 0
    assert "minilm-l6" in done.stdout
    assert shell(f"{KGVAD} weights fetch nothing {target}").returncode == 1


def test_a_reader_that_went_away_ends_the_command_as_sigpipe_does():
    done = shell(f"{KGVAD} weights list | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "141\n"
    assert done.stderr == ""
