"""Where to compute, found without torch where that is possible."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kgvad import device
from kgvad.device import cores, cpu_threads, resolve_device


@pytest.mark.parametrize(
    ("libraries", "alone"),
    [
        (["libtorch_cpu.so", "libc10.so", "libshm.so"], True),
        (["libtorch_cpu.so", "libtorch_cuda.so"], False),
        (["torch_cuda.dll"], False),
        (["libtorch_hip.so"], False),
        (None, False),
    ],
)
def test_a_torch_for_cpus_only_is_told_by_its_libraries(tmp_path, monkeypatch, libraries, alone):
    if libraries is not None:
        (tmp_path / "lib").mkdir()
        for name in libraries:
            (tmp_path / "lib" / name).touch()
    monkeypatch.setattr(device, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    monkeypatch.setattr(sys, "platform", "linux")
    asked = []
    monkeypatch.setattr(device, "_found_by_torch", lambda: asked.append(1) or "cuda")
    assert resolve_device("auto") == ("cpu" if alone else "cuda")
    assert bool(asked) is not alone
    monkeypatch.setattr(sys, "platform", "darwin")  # MPS is in every build for it
    assert resolve_device("auto") == "cuda"


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
