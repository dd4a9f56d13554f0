"""``docs/reference/odd-inputs.md``: every input of the table is made and tried, and gives what the table says."""

import io
import logging
import os
import re

import av
import numpy as np
import pytest
from odd_videos import INPUTS
from pages import ROOT
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.errors import KgvadError
from kgvad.session import Session
from kgvad.video.feature_store import FeatureStore
from kgvad.video.sampling import Sampling

PAGE = ROOT / "docs" / "reference" / "odd-inputs.md"


class Grey:
    """A real encoder of one number a snippet, which needs no weights."""

    name, dim, weights, columns, batch, fingerprint = "grey", 1, "none", None, 4, "g"
    sampling = Sampling(temporal="first")

    def decode_size(self, width, height):
        return 8, 8

    def encode(self, clips):
        return clips.mean((1, 2, 3, 4), dtype=np.float32)[:, None]


def tried(name, folder, caplog):
    """What ``kgvad extract`` gives for an input: snippets of each video, then warnings or the error, no remedies."""
    try:
        source = INPUTS[name](folder)
    except av.codec.codec.UnknownCodecError as error:
        pytest.skip(f"this build of FFmpeg does not encode {error}")
    caplog.clear()
    caplog.set_level(logging.WARNING, "kgvad")
    result = CliRunner().invoke(app, ["extract", "--output", "out", "--workers", "1", "--", source], input="")
    said = [record.getMessage() for record in caplog.records if "labels of these" not in record.getMessage()]
    if isinstance(result.exception, KgvadError):
        said.append(str(result.exception))
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    rows = []
    if result.stdout.strip():
        store = FeatureStore.open(result.stdout.strip())
        rows = [f"{video}: {store.info(video).rows}" for video in store.ids()]
    if len(rows) == 1:
        rows = [rows[0].rpartition(": ")[2]]
    snippets = f"snippets: {', '.join(rows)}" if rows else ""
    errors = [one.partition("; ")[0] for one in dict.fromkeys(said) if not one.startswith("failed: ")]
    text = "; ".join(filter(None, [snippets, *errors])).replace("Invalid data found when processing input", "...")
    text = re.sub(r"\S*/recordings/\S*", "FILE", text).replace(f"{folder}{os.sep}", "")
    return re.sub(r"n{246}", "n...", " ".join(text.split()))


def table():
    """Input and outcome of each row."""
    rows = re.findall(r"^\| (?!input \|)([^|-][^|]*) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: outcome.replace(r"\|", "|") for name, outcome in rows}


def test_the_table_has_every_input():
    assert list(table()) == list(INPUTS) and len(INPUTS) >= 40


@pytest.mark.skipif(os.name != "posix", reason="there are no POSIX links, pipes and devices")
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_gives_what_the_table_says(name, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Session, "visual_encoder", lambda self, *_, **__: Grey())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert tried(name, tmp_path, caplog) == table()[name]


@pytest.mark.parametrize(
    "name", ["empty file", "text", "photograph with the suffix .mp4", "sound only", "no such file"]
)
def test_explain_says_the_same_before_it_loads_a_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["explain", INPUTS[name](tmp_path), "--output", "r.html"])
    assert isinstance(result.exception, KgvadError)
    said = str(result.exception).partition("; ")[0].replace("Invalid data found when processing input", "...")
    assert said == table()[name]
