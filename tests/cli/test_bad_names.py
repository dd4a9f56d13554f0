"""A bad file name costs that video and no other."""

import json
import os

import numpy as np
import pytest
from brightness import Brightness
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.video.extract_folder import extract_folder
from kgvad.video.feature_store import FeatureStore
from kgvad.video.write import write_video

BAD = (b"caf\xe9.mp4", b"two\nlines.mp4", b"back\\slash.mp4")


@pytest.fixture
def folder(tmp_path):
    videos = tmp_path / "videos"
    good = write_video(videos / "good.mp4", np.zeros((32, 48, 64, 3), np.uint8), 25)
    for name in BAD:
        (videos / os.fsdecode(name)).write_bytes(good.read_bytes())
    return videos


def test_extraction_goes_on(folder, tmp_path):
    done = extract_folder(folder, tmp_path / "features", Brightness(), workers=1)
    assert (done.made, len(done.failed)) == (["good"], 3)
    assert all("cannot be the name of a video; rename the file" in reason for reason in done.failed.values())
    assert FeatureStore.open(tmp_path / "features").ids() == ["good"]


def test_explaining_goes_on(folder, tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "good.json").write_text('{"scores": [0.1, 0.9]}')
    command = ["explain", folder, "--scores", tmp_path / "scores", "-o", tmp_path / "out", "--no-actions"]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 1, result.output
    entries = json.loads((tmp_path / "out" / "index.json").read_text())["entries"]
    assert {entry["video"] for entry in entries if entry["page"]} == {"good"}
    assert len(entries) == 4
