"""An encoder of another package is found by its entry point and extracts like ours."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from brightness import Brightness

from kgvad.errors import KgvadError, UsageError
from kgvad.video.encoders import base
from kgvad.video.feature_store import FeatureStore
from kgvad.video.write import write_video

MODULE = """
from kgvad.errors import UsageError
from kgvad.video.sampling import Sampling


class Brightness:
    name, dim, weights, columns, batch, fingerprint = "brightness", 1, "none", ("mean",), 4, "brightness-1"

    def __init__(self, sampling):
        self.sampling = sampling

    def decode_size(self, width, height):
        return width, height

    def encode(self, clips):
        return clips.mean((1, 2, 3, 4), dtype="float32")[:, None]


def load(options, device):
    if options.crop != "plain":
        raise UsageError("brightness sees whole frames", "use --crop plain")
    return Brightness(options.frame_sampling("brightness", default="first"))
"""
PROJECT = """
[project]
name = "brightness"
version = "1"
[project.entry-points."kgvad.visual_encoders"]
brightness = "brightness:load"
[tool.setuptools]
py-modules = ["brightness"]
"""


def test_a_package_registers_an_encoder(tmp_path):
    package, site = tmp_path / "package", tmp_path / "site"
    package.mkdir()
    (package / "brightness.py").write_text(MODULE)
    (package / "pyproject.toml").write_text(PROJECT)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, package]
    subprocess.run([sys.executable, *map(str, install)], check=True, capture_output=True)
    videos = tmp_path / "videos"
    for name, level in (("dark", 20), ("light", 200)):
        write_video(videos / f"{name}.mp4", [np.full((48, 64, 3), level, np.uint8)] * 33, 25)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "kgvad", "extract", str(videos), "-e", "brightness", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            cwd=tmp_path,
        )

    done = run("-o", str(tmp_path / "out"), "--workers", "2")  # worker processes find it too
    assert done.returncode == 0, done.stderr
    store = FeatureStore.open(tmp_path / "out")
    assert store.manifest.columns == ["mean"]
    assert store.load("light").shape == (2, 1)
    assert store.load("light").min() > store.load("dark").max() + 100
    refused = run("-o", str(tmp_path / "two"), "--crop", "ten")
    assert refused.returncode == 2
    assert "brightness sees whole frames" in refused.stderr


class Point:
    name, value = "broken", "broken:load"

    def __init__(self, result):
        self.result = result

    def load(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (RuntimeError("no such library"), "cannot be loaded: no such library"),
        (3, "is not a factory"),
        (lambda options, device: {}["weights"], "cannot be loaded: 'weights'"),
        (lambda options, device: SimpleNamespace(name="broken", batch=4), "has no columns, decode_size, dim, encode"),
    ],
)
def test_a_broken_package_is_named(monkeypatch, result, message):
    monkeypatch.setattr("kgvad.plugins.installed", lambda group, path: [Point(result)])
    assert base.visual_encoder_names()[-1] == "broken"
    with pytest.raises(KgvadError, match=f"'broken' .broken:load. {message}.*; repair its package"):
        base.load_visual_encoder("broken")


def test_bf16_is_refused_where_an_encoder_does_not_know_it(monkeypatch):
    monkeypatch.setattr(base, "_factory", lambda name: lambda options, device: Brightness())
    assert base.load_visual_encoder("brightness").fingerprint == "b"
    with pytest.raises(UsageError, match="brightness does not compute in bf16"):
        base.load_visual_encoder("brightness", precision="bf16")
