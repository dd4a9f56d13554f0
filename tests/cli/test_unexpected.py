"""What a user sees of an exception that nobody raised on purpose."""

import importlib
import logging
import sys

import numpy as np
import pytest
import torch
from detector_samples import fail_or_die

from kgvad import cli, session
from kgvad.detector.training.process_pool import run_in_parallel
from kgvad.errors import RunError, is_out_of_memory, unexpected


def run(monkeypatch, capsys, failure, *options):
    """``kgvad train`` where reading the settings fails with ``failure``; exit code and stderr."""

    def broken(**_):
        raise failure

    monkeypatch.setattr(session, "load_settings", broken)
    monkeypatch.setattr(sys, "argv", ["kgvad", "train", *options])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, capsys.readouterr().err


def test_a_bug_is_one_line_that_says_so(monkeypatch, capsys):
    assert run(monkeypatch, capsys, ZeroDivisionError("division\nby zero")) == (
        1,
        "kgvad: error: ZeroDivisionError: division by zero; this is a bug, run again with --debug\n",
    )


def test_debug_gives_the_traceback(monkeypatch):
    monkeypatch.setattr(session, "load_settings", lambda **_: 1 // 0)
    monkeypatch.setattr(sys, "argv", ["kgvad", "train", "--debug"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: np.zeros(1 << 60, np.uint8),
        lambda: torch.zeros(1 << 60, dtype=torch.uint8),
        lambda: bytearray(1 << 60),
    ],
    ids=["numpy", "torch", "python"],
)
def test_out_of_memory_is_called_that(monkeypatch, capsys, allocate):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    code, said = run(monkeypatch, capsys, caught.value)
    assert code == 1
    assert said.startswith("kgvad: error: out of memory: ") and said.count("\n") == 1
    assert "smaller inputs" in said and "bug" not in said


def test_a_gpu_without_memory_is_out_of_memory():
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert is_out_of_memory(error)
    assert "the GPU cannot hold" in unexpected(error) and "--device cpu" in unexpected(error)


def test_an_ordinary_runtime_error_is_not_out_of_memory():
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("not enough memory of the past"))


def test_too_deep_an_input_is_called_that(monkeypatch, capsys):
    code, said = run(monkeypatch, capsys, RecursionError("maximum recursion depth exceeded"))
    assert code == 1
    assert said.startswith("kgvad: error: an input is nested too deeply") and said.count("\n") == 1


def test_what_the_disk_says_is_no_bug(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError) as caught:
        (tmp_path / "file").mkdir()
    code, said = run(monkeypatch, capsys, caught.value)
    assert code == 1 and said.startswith(f"kgvad: error: {tmp_path / 'file'}: File exists; check") and "bug" not in said


def test_a_message_is_one_line_whatever_a_file_is_called(capsys):
    logging.getLogger("kgvad").error("failed: %s", "new\nline \x1b[31mred")
    assert capsys.readouterr().err == "kgvad: error: failed: new\\nline \\x1b[31mred\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with a broken detector, and a helper of it in a second module."""
    site = tmp_path / "site"
    (site / "theirs-1.dist-info").mkdir(parents=True)
    (site / "theirs-1.dist-info/METADATA").write_text("Name: theirs\nVersion: 1\n")
    points = "[kgvad.sinks]\nother = theirs.sink:Other\n\n[kgvad.detectors]\nbroken = theirs.detector:Broken\n"
    (site / "theirs-1.dist-info/entry_points.txt").write_text(points)
    (site / "theirs").mkdir()
    (site / "theirs/__init__.py").touch()
    (site / "theirs/detector.py").write_text(
        "from theirs.maths import divide\nfrom kgvad.errors import RunError\n"
        "def inside():\n    divide(1)\ndef here():\n    raise LookupError()\n"
        "def disk():\n    raise OSError(28, 'No space left on device')\n"
    )
    (site / "theirs/maths.py").write_text("def divide(n):\n    return n / 0\n")
    monkeypatch.syspath_prepend(str(site))
    yield importlib.import_module("theirs.detector")
    for name in [name for name in sys.modules if name.partition(".")[0] == "theirs"]:
        del sys.modules[name]


def line_about(work):
    try:
        work()
    except Exception as error:
        return unexpected(error)


def test_an_error_in_the_code_of_a_plugin_names_the_plugin(plugin):
    remedy = "repair its package, and see the traceback with --debug"
    name = "the plug-in 'broken' (theirs.detector:Broken) failed"
    assert line_about(plugin.here) == f"{name}: LookupError: no message; {remedy}"
    assert "(theirs." in (line := line_about(plugin.inside)) and "failed: ZeroDivisionError: division" in line
    assert line_about(plugin.disk).startswith("No space left on device; free space")
    assert "this is a bug" in line_about(lambda: 1 // 0)


def test_an_error_in_a_worker_process_is_one_line(capfd):
    with pytest.raises(RunError, match=r"^ZeroDivisionError: .*this is a bug, run again with --debug$") as caught:
        list(run_in_parallel(fail_or_die, ["divide"], 1))
    assert "fail_or_die" in str(caught.value.__cause__)  # the traceback, for --debug
    assert not capfd.readouterr().err
