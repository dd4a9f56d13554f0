"""A disk that fills up while training: one line, and nothing that exists is lost."""

import subprocess
import sys

from detector_samples import kgvad, make_archive


def test_full_disk_in_training_is_one_line_and_the_same_command_goes_on(tmp_path):
    (tmp_path / "data").mkdir()
    features, run = tmp_path / "features", tmp_path / "run"
    kgvad("features", "import", make_archive(tmp_path / "data"), "--dataset", "ucf", "--output", features)
    command = [
        sys.executable,
        "-m",
        "kgvad",
        "train",
        "--dataset",
        "ucf",
        "--features",
        str(features),
        "--run",
        str(run),
    ]
    command += ["--set", "anchors=false", "--set", "width=64", "--epochs", "2"]
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "-", *command]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("kgvad: error: cannot write") and "File too large" in last
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    assert len((run / "history.jsonl").read_text().splitlines()) == 2
