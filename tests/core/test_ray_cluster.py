"""What ``--engine ray`` says where Ray is missing or the options do not fit."""

import sys

import pytest
from detector_samples import kgvad

from kgvad.errors import UsageError
from kgvad.ray_cluster import RayOptions, connected


def test_without_ray_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"^--engine ray needs Ray; install it with: pip install 'kgvad\[ray\]'$"
    with pytest.raises(UsageError, match=message), connected(RayOptions(), "cpu"):
        pass


@pytest.mark.parametrize("option", [["--address", "auto"], ["--gpus", "0.5"]])
def test_options_of_the_cluster_need_the_engine(option, tmp_path):
    with pytest.raises(UsageError, match="--address and --gpus are for --engine ray"):
        kgvad("extract", tmp_path, *option)


def test_no_cluster_at_the_address():
    pytest.importorskip("ray", reason="Ray is not installed; the extra dev brings it on Linux only")
    with (
        pytest.raises(UsageError, match=r"no Ray cluster at --address 127\.0\.0\.1:9: .*; start one with: ray start"),
        connected(RayOptions("127.0.0.1:9"), "cpu"),
    ):
        pass
