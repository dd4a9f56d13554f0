"""A small dataset of the official form, and the command line, for tests of the detector room."""

import numpy as np
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.errors import KgvadError

DIM = 12


def kgvad(*arguments):
    """Run a command; its errors are raised, its stdout is returned."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, KgvadError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def make_archive(folder):
    """A small archive in ``folder`` with the official form: lists, annotations, frame counts, 4-segment features."""
    random = np.random.default_rng(0)
    kinds = ["Arson", "Fighting", "Normal"]
    arrays, train, test, notes, counts = {}, [], [], [], ["video,n_frames"]
    for number in range(18):
        kind = kinds[number % 3]
        name = f"{kind}{number:03d}_x264"
        rows = random.uniform(size=(4, DIM)).astype(np.float32)
        if kind != "Normal":
            rows[1:3, number % 3] += 2
        scale = rows.max(1)
        arrays[f"{name}|q"] = (np.sqrt(rows / scale[:, None]) * 255).round().astype(np.uint8)
        arrays[f"{name}|s"] = scale.astype(np.float16)
        place = "Training_Normal_Videos_Anomaly" if kind == "Normal" else kind
        if number < 12:
            train.append(f"{place}/{name}.mp4")
        else:
            test.append(f"{place}/{name}.mp4")
            notes.append(f"{name}.mp4  {kind}  {'-1 -1' if kind == 'Normal' else '20 70'}  -1  -1")
        counts.append(f"{name},135")
    np.savez(folder / "c3d.npz", **arrays)
    (folder / "Anomaly_Train.txt").write_text("\n".join(train))
    (folder / "Anomaly_Test.txt").write_text("\n".join(test))
    (folder / "Temporal_Anomaly_Annotation.txt").write_text("\n".join(notes))
    (folder / "gt_ucf_index_rebuilt.csv").write_text("\n".join(counts))
    return folder / "c3d.npz"


def train(features, run, *more):
    """Train a tiny run without anchors."""
    options = ["--set", "anchors=false", "--set", "width=8", "--epochs", 2]
    return kgvad("train", "--dataset", "ucf", "--features", features, "--run", run, *options, *more)
