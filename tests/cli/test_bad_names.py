"""A bad file name costs that video and no other."""

import json
import os
from threading import Event

import numpy as np
import pytest
from brightness import Brightness
from captioner_samples import Brightness as Grey
from typer.testing import CliRunner
from watch_samples import watch

from kgvad.cli import app
from kgvad.explainers import ExplainRequest
from kgvad.inbox.serve import Server
from kgvad.session import Session
from kgvad.video.cameras import parse_cameras
from kgvad.video.captioners.caption_folder import caption_folder
from kgvad.video.extract_folder import extract_folder
from kgvad.video.feature_store import FeatureStore
from kgvad.video.write import write_video
from kgvad.watch.companion import Done, explain_clips
from kgvad.watch.messages import to_line

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


def test_captioning_goes_on(folder, tmp_path):
    done = caption_folder(folder, tmp_path / "captions.json", Grey())
    assert (done.made, len(done.failed)) == (["good"], 3)
    assert list(json.loads((tmp_path / "captions.json").read_text())["videos"]) == ["good"]


def test_watching_goes_on(folder):
    messages = watch(parse_cameras([f"yard={folder}"]), once=True)
    assert [message.state for message in messages].count("connected") == 1
    lost = [message.detail for message in messages if message.state == "lost"]
    assert len(lost) == 3 and all("rename the file" in detail for detail in lost)
    assert all(to_line(message) for message in messages)


def test_the_companion_goes_on(folder, tmp_path):
    class Explaining:
        def explain(self, clip, name, camera, now):
            return name

    found, done = [], Done(tmp_path / "done")
    explain_clips(folder, Explaining(), done, found.append, stop=Event(), once=True)
    assert found == ["good"]
    assert list(Done(tmp_path / "done").names) == ["good"]


def test_the_inbox_goes_on(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kgvad.inbox.serve.SETTLED_S", -1.0)
    with Session(explaining=True) as session:
        server = Server(session, ExplainRequest(actions=False), tmp_path / "inbox", [folder])
        server.look()
        server.look()
        assert [video.name for video in server.library.videos()] == ["good"]
        server.library.close()
    assert capsys.readouterr().err.count("rename the file") == 3
