import os
import subprocess
import sys
from pathlib import Path

import pytest

KGVAD = Path(sys.executable).with_name("kgvad")


def kgvad(*arguments, **environment):
    """Run the installed program as a user does."""
    return subprocess.run(
        [KGVAD, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "120", **environment},
        cwd=environment.get("PWD", "/"),
        capture_output=True,
        text=True,
    )


def test_help_lists_every_command():
    done = kgvad("--help")
    assert done.returncode == 0
    for command in ("build-anchors", "extract", "train", "evaluate", "explain", "kg", "weights", "doctor", "demo"):
        assert f" {command} " in done.stdout, command


def test_help_imports_nothing_heavy():
    """What makes `--help` quick; the time itself is in docs/performance.md."""
    code = (
        "import sys\nsys.argv = ['kgvad', '--help']\nfrom kgvad.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'sqlalchemy', 'av', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version():
    assert kgvad("--version").stdout.startswith("kgvad 0.")


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["weights", "fetch"], ["explain"], ["train", "--epochs", "x"]]
)
def test_wrong_use_exits_2_and_leaves_stdout_empty(arguments):
    done = kgvad(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("kgvad: error: ")
    assert done.stderr.count("\n") == 1


def test_an_error_is_one_line_and_debug_adds_the_traceback():
    done = kgvad("weights", "fetch", "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("kgvad: error: no weights are called 'nothing'; known: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" in kgvad("--debug", "weights", "fetch", "nothing").stderr
    assert "Traceback" in kgvad("weights", "fetch", "nothing", "--debug").stderr


def test_weights_list_says_what_is_missing(tmp_path):
    done = kgvad("weights", "list", KGVAD_CACHE=str(tmp_path), KGVAD_WEIGHTS="")
    assert done.returncode == 0
    assert "minilm-l6: all-MiniLM-L6-v2" in done.stdout
    assert done.stdout.count("not on this machine: kgvad weights fetch") == 5


def test_doctor_on_a_healthy_and_on_a_broken_folder(tmp_path):
    done = kgvad("doctor", PWD=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "torch computes on" in done.stdout
    assert "missing run of ucf: kgvad train --dataset ucf" in done.stdout
    (tmp_path / "kgvad.toml").write_text("colour = 1")
    done = kgvad("doctor", PWD=str(tmp_path))
    assert done.returncode == 1
    assert "WRONG" in done.stdout and "colour" in done.stdout


def test_wrong_settings_file_stops_a_command(tmp_path):
    (tmp_path / "kgvad.toml").write_text("colour = 1")
    done = kgvad("train", PWD=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"kgvad: error: {tmp_path}/kgvad.toml: colour: Extra inputs are not permitted")
