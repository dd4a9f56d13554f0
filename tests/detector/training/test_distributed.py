"""Several processes train one run: their gradients are those of one process, and one of them writes."""

import os
import subprocess
import sys

import pytest
import torch
from detector_samples import kgvad, make_archive, train
from safetensors.torch import load_file

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture
def features(tmp_path):
    (tmp_path / "data").mkdir()
    kgvad("features", "import", make_archive(tmp_path / "data"), "--dataset", "ucf", "--output", tmp_path / "features")
    return tmp_path / "features"


def together(*arguments):
    """Run a command in two processes; stdout, and stderr without what the launcher says."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*LAUNCH, "-m", "kgvad", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)


@pytest.mark.slow
def test_two_processes_train_the_run_of_one(features, tmp_path):
    options = ["--set", "dropout=0", "--micro-batch", 5]  # three rounds of five videos in each process
    train(features, tmp_path / "one", *options)
    arguments = ["--dataset", "ucf", "--features", features, "-r", tmp_path / "two", "--epochs", 2]
    done = together("train", *arguments, "--set", "anchors=false", "--set", "width=8", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "two")]
    assert done.stderr.count("12 training videos") == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
