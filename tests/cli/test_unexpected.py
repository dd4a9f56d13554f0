"""What a user sees of an exception that nobody raised on purpose."""

import logging
import sys

import numpy as np
import pytest
import torch

from kgvad import cli, session
from kgvad.errors import is_out_of_memory, unexpected


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
