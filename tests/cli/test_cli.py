import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kgvad.cli import global_options_first
from kgvad.reference import commands

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


PANELS = {
    "Main path": ["build-anchors", "train", "explain"],
    "Data": ["extract", "caption", "datasets", "features"],
    "Measure": ["explain-eval", "evaluate", "results", "tune", "score"],
    "Operate": ["watch", "calibrate", "companion", "serve", "check", "verify", "prune"],
    "Look": ["detectors", "doctor", "demo", "anchors", "kg", "weights"],
}


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_every_command_in_its_panel(option):
    done = kgvad(option)
    assert done.returncode == 0
    panels = re.findall(r"^([A-Z][a-z ]+):\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
    found = {name: re.findall(r"^  ([a-z-]+)  ", lines, re.MULTILINE) for name, lines in panels if name != "Options"}
    assert found == PANELS
    assert list(found) == list(PANELS)


@pytest.mark.parametrize("command", [one for one in commands() if not one.is_group], ids=lambda c: " ".join(c.words))
def test_every_command_has_an_example_that_parses_and_groups_its_options(command):
    typed = shlex.split(command.click.epilog.removeprefix("Example: "))
    assert tuple(typed[: len(command.words)]) == command.words
    known = {name for one in command.click.params for name in one.opts}
    assert {one for one in typed if one.startswith("-")} <= known
    options = [one for one in command.click.params if one.param_type_name == "option"]
    assert len(options) < 4 or all(one.rich_help_panel for one in options)
    assert all(one.help for one in command.click.params)


def test_options_are_shown_in_their_panels():
    shown = kgvad("extract", "--help").stdout
    assert re.search(r"^Inputs:\n  -d, --dataset .*^Sampling:\n  --crop .*^Options:\n  -h, --help", shown, re.M | re.S)
    assert shown.endswith("\n  Example: kgvad extract videos/ --dataset ucf --encoder i3d\n")


def test_global_options_may_stand_anywhere(tmp_path):
    assert global_options_first(["kg", "stats", "-q", "--debug"]) == ["-q", "--debug", "kg", "stats"]
    assert global_options_first(["explain", "--", "-q"]) == ["explain", "--", "-q"]
    fact = "<http://www.wikidata.org/entity/Q1> <http://{}> <http://www.wikidata.org/entity/Q2> .\n"
    uris = ("www.wikidata.org/prop/direct/P279", "example.org/unknown")
    (tmp_path / "facts.nt").write_text("".join(map(fact.format, uris)))
    load = ("kg", "import", tmp_path / "facts.nt")
    assert "1 triples with properties that kgvad does not use were skipped" in kgvad(*load).stderr
    assert kgvad(*load, "--quiet").stderr == ""
    assert kgvad("-q", *load).stderr == ""


def test_help_imports_nothing_heavy():
    """What makes `--help` quick."""
    code = (
        "import sys\nsys.argv = ['kgvad', '--help']\nfrom kgvad.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'sqlalchemy', 'av', 'pydantic', 'rich'} & set(sys.modules)))"
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


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train", "--seeds"], "kgvad train"),
        (["-q", "kg", "show", "Robbery", "--svg"], "kgvad kg show"),
        (["features", "import", "--frames"], "kgvad features import"),
    ],
)
def test_an_option_without_its_value_names_the_help_of_its_command(arguments, command):
    line = f"kgvad: error: Option '{arguments[-1]}' requires an argument; see: {command} --help\n"
    assert kgvad(*arguments).stderr == line


def test_weights_list_says_what_is_missing(tmp_path):
    done = kgvad("weights", "list", KGVAD_CACHE=str(tmp_path), KGVAD_WEIGHTS="")
    assert done.returncode == 0
    assert "minilm-l6: all-MiniLM-L6-v2" in done.stdout
    assert done.stdout.count("not on this machine: kgvad weights fetch") == 6


def test_doctor_on_a_healthy_and_on_a_broken_folder(tmp_path):
    done = kgvad("doctor", PWD=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "required libraries are installed" in done.stdout and " computes on " in done.stdout
    assert "missing run of ucf: kgvad train --dataset ucf" in done.stdout
    assert "settings: all at their defaults" not in done.stdout  # KGVAD_HOME is set
    (tmp_path / "kgvad.toml").write_text('dataset = "xd"\ndevice = "nonsense"\n')
    done = kgvad("doctor", PWD=str(tmp_path))
    assert done.returncode == 1
    assert "wrong   the setting device = nonsense" in done.stdout and "missing run of xd" in done.stdout
    (tmp_path / "kgvad.toml").write_text('dataset = "nothing"')
    done = kgvad("doctor", PWD=str(tmp_path))
    assert "missing unknown dataset 'nothing'; known are avenue" in done.stdout
    assert "build-anchors --dataset nothing" not in done.stdout  # it would not know the dataset either
    (tmp_path / "kgvad.toml").write_text("colour = 1")
    done = kgvad("doctor", PWD=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"wrong   {tmp_path}/kgvad.toml: unknown key 'colour'")


def test_wrong_settings_file_stops_a_command(tmp_path):
    (tmp_path / "kgvad.toml").write_text("colour = 1")
    done = kgvad("train", PWD=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"kgvad: error: {tmp_path}/kgvad.toml: unknown key 'colour'")
