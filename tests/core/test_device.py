"""Where to compute, found without torch where that is possible."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kgvad import device
from kgvad.device import cores, cpu_threads, resolve_device


@pytest.mark.parametrize(
    ("libraries", "driver", "found"),
    [
        (["libtorch_cpu.so", "libc10.so", "libshm.so"], True, "cpu"),
        (["libtorch_cpu.so", "libtorch_cuda.so"], True, "asked"),
        (["libtorch_cpu.so", "libtorch_cuda.so"], False, "cpu"),
        (["torch_cuda.dll"], True, "asked"),
        (["libtorch_hip.so"], False, "asked"),
        (None, False, "asked"),
    ],
)
def test_torch_is_asked_only_where_it_may_have_a_gpu(tmp_path, monkeypatch, libraries, driver, found):
    if libraries is not None:
        (tmp_path / "lib").mkdir()
        for name in libraries:
            (tmp_path / "lib" / name).touch()
    monkeypatch.setattr(device, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    monkeypatch.setattr(device, "_has_cuda_driver", lambda: driver)
    monkeypatch.setattr(device, "_found_by_torch", lambda: "asked")
    monkeypatch.setattr(sys, "platform", "linux")
    assert resolve_device("auto") == found
    monkeypatch.setattr(sys, "platform", "darwin")  # MPS is in every build for it
    assert resolve_device("auto") == "asked"


def test_without_asking_torch_the_answer_is_torchs():
    assert resolve_device("auto") == device._found_by_torch()


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("2,1", 2), ("", cores()), ("0", cores()), ("many", cores())])
def test_threads_without_torch(monkeypatch, asked, threads):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cpu_threads() == threads


def test_one_thread_before_and_after_torch_is_imported():
    code = (
        "from kgvad.device import cpu_threads, use_one_thread\nuse_one_thread()\nfound = [cpu_threads()]\n"
        "import torch\nfound.append(cpu_threads())\ntorch.set_num_threads(2)\nfound.append(cpu_threads())\n"
        "use_one_thread()\nprint(found, torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1, 1, 2] 1"


@pytest.mark.skipif(sys.platform != "linux", reason="the OpenMP library of torch for Linux shows its settings")
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "GOMP_SPINCOUNT = '1000'"),
        ({"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT = '7'"),
        ({"OMP_WAIT_POLICY": "active"}, "OMP_WAIT_POLICY = 'ACTIVE'"),
    ],
)
def test_threads_of_torch_spin_for_microseconds_unless_the_user_says_otherwise(chosen, expected):
    usual = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = usual | {"OMP_DISPLAY_ENV": "verbose"} | chosen
    done = subprocess.run(
        [sys.executable, "-c", "import kgvad, torch"], env=environment, capture_output=True, text=True, check=True
    )
    assert expected in done.stderr
    assert ("GOMP_SPINCOUNT = '1000'" in done.stderr) == (not chosen)
