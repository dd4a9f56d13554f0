"""The commands as a user runs them: real processes of ``python -m kgvad``."""

import os
import subprocess
import sys

import pytest
from anchors_samples import TABLE, checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a tiny encoder, a category table and the bank that the command made of them."""
    folder = tmp_path_factory.mktemp("place")
    checkpoint("bert", folder / "bert")
    (folder / "tiny.toml").write_text(TABLE)
    done = run(folder, "build-anchors", "--dataset", "tiny.toml", "--encoder", "bert", "--output", "tiny.safetensors")
    assert (done.returncode, done.stdout) == (0, "tiny.safetensors\n"), done.stderr
    assert done.stderr.splitlines()[-1].startswith("kgvad: 3 categories") and done.stderr.count("\n") == 2
    return folder


def run(folder, *arguments):
    variables = {**os.environ, "KGVAD_HOME": str(folder / "home"), "KGVAD_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "kgvad", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=100)


def test_a_category_with_few_concepts_is_named_with_what_to_do(tmp_path):
    checkpoint("bert", tmp_path / "bert")
    bare = '\n[[category]]\nname = "Zzxy"\ntext = "zzxy"\ncues = ["zzxy"]\n'
    (tmp_path / "tiny.toml").write_text(TABLE + bare)
    done = run(tmp_path, "build-anchors", "--dataset", "tiny.toml", "--encoder", "bert", "--output", "b.safetensors")
    assert done.returncode == 0
    assert "warning: Zzxy has 1 concept, and a category needs about ten: add items (kgvad kg resolve" in done.stderr


def test_show_export_and_compare(place):
    shown = run(place, "anchors", "show", "tiny.safetensors")
    assert shown.returncode == 0 and "robbery, a kind of theft  [Q2727213 P279]" in shown.stdout
    table = run(place, "anchors", "export", "tiny.safetensors")
    assert table.returncode == 0 and table.stdout.startswith("category,text,prompt,relation,qid")
    written = run(place, "anchors", "export", "tiny.safetensors", "--csv", "tiny.csv")
    assert (written.returncode, written.stdout) == (0, "tiny.csv\n")
    assert (place / "tiny.csv").read_text("utf-8") == table.stdout
    same = run(place, "anchors", "compare", "tiny.safetensors", "tiny.safetensors")
    assert (same.returncode, same.stdout, same.stderr) == (0, "no differences\n", "")


def test_a_bank_is_named_by_its_dataset(place):
    done = run(place, "anchors", "show", "tiny.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tiny.safetensors does not exist; make it with: kgvad build-anchors --dataset tiny.toml" in done.stderr
    built = run(place, "build-anchors", "--dataset", "tiny.toml", "--encoder", "bert")
    assert built.stdout == f"{place}/home/anchors/tiny.safetensors\n"
    assert "robbery, a kind of theft" in run(place, "anchors", "show", "tiny.toml").stdout
    assert "robbery, a kind of theft" in run(place, "anchors", "show", "tiny").stdout


def test_the_configured_device_and_store_are_used(place, tmp_path):
    settings = f'dataset = "{place}/tiny.toml"\nstore = "sqlite:///{tmp_path}/own.sqlite"\ndevice = "nonsense"\n'
    (tmp_path / "kgvad.toml").write_text(settings)
    given = ("build-anchors", "--encoder", str(place / "bert"), "--output", "out.safetensors")
    done = run(tmp_path, *given)
    assert done.returncode == 2 and "device = nonsense" in done.stderr
    done = run(tmp_path, *given, "--device", "cpu")
    assert done.stdout == "out.safetensors\n"
    assert (tmp_path / "own.sqlite").is_file()


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml "), ("a.PNG", b"\x89PNG")])
def test_plot_by_suffix(place, name, start):
    done = run(place, "anchors", "plot", "tiny.safetensors", "--output", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
    assert (place / name).read_bytes().startswith(start)


def test_what_is_wrong_is_one_line(place):
    done = run(place, "anchors", "plot", "tiny.safetensors", "-o", "a.bmp")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and ".svg or .png" in done.stderr
    given = ("--dataset", "tiny.toml", "--encoder", "bert", "--language", "zh", "--output", "zh.safetensors")
    done = run(place, "build-anchors", *given)
    assert (done.returncode, done.stdout, done.stderr.count("error: ")) == (1, "", 1) and "label in zh" in done.stderr
    assert not (place / "zh.safetensors").exists()
