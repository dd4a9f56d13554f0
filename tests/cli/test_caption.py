"""``kgvad caption``, and ``kgvad explain --captions auto``, with a tiny model."""

import json

import pytest
from captioner_samples import blip, write_greys
from typer.testing import CliRunner

from kgvad.cli import app


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return blip(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_greys(tmp_path_factory.mktemp("video") / "clip.mp4", [40, 40, 40, 40, 200, 200, 40, 40])


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="kgvad")


def test_captions_are_written_and_resumed(video, model, tmp_path, caplog):
    done = run("caption", video, "-o", tmp_path / "c.json", "--captioner", model, "--every", 1)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "c.json")
    assert list(json.loads((tmp_path / "c.json").read_text())["videos"]) == ["clip"]
    assert "the model captioned 3 of 8 clips" in done.stderr
    again = run("caption", video, "-o", tmp_path / "c.json", "--captioner", model, "--every", 1)
    assert "0 videos captioned, 1 reused, 0 failed" in again.stderr


def test_counts_and_prompts(video, model, tmp_path):
    assert "1 video captioned" in run("caption", video, "-o", tmp_path / "c.json", "--captioner", model).stderr
    (tmp_path / "prompt.txt").write_bytes(b"\xff\xfa\x00")
    done = run("caption", video, "-o", tmp_path / "d.json", "--prompt", tmp_path / "prompt.txt")
    assert done.exit_code != 0 and "prompt.txt is not UTF-8 text" in str(done.exception)


def test_explain_makes_the_captions_it_needs_once(video, model, tmp_path, weights, monkeypatch):
    for name in ("efficientnet-lite0", "minilm-l6"):
        weights(name)
    monkeypatch.setenv("KGVAD_CAPTIONER", str(model))
    first = run("explain", video, "--captions", "auto", "-o", tmp_path / "a.json")
    assert first.exit_code == 0, first.output
    assert "captions by" in first.stderr
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["method"]["captions_file"]
    second = run("explain", video, "--captions", "auto", "-o", tmp_path / "b.json")
    assert second.exit_code == 0
    assert "captions by" not in second.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["caption", "gone.mp4", "-o", "c.json"], "gone.mp4"),
        (["explain", "--captions", "auto", "--scores", "s.json"], "--captions auto needs the video"),
    ],
)
def test_wrong_use_is_named(words, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.json").write_text("{}")
    done = run(*words)
    assert done.exit_code != 0
    assert named in str(done.exception)
