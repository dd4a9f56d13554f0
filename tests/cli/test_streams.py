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


@pytest.mark.parametrize("setting", ["LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", "PYTHONIOENCODING=ascii"])
def test_results_have_their_letters_where_the_locale_has_ascii_only(setting):
    assert (
        "├─ is".encode()
        in subprocess.run(
            ["bash", "-c", f"{setting} {KGVAD} kg show Explosion"], capture_output=True, cwd="/", check=True
        ).stdout
    )


def test_an_encoding_without_the_letters_is_one_line():
    done = shell(f"PYTHONIOENCODING=latin-1 {KGVAD} kg show Explosion")
    assert done.returncode == 1
    assert done.stderr == (
        "kgvad: error: the encoding latin-1 of the output has no '\\u251c'; set PYTHONIOENCODING=utf-8, or name a file "
        "with --output\n"
    )
