"""Captions beside features: embeddings, their store, and a run that reads both, from the shell to a report."""

import json
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad, make_archive

from kgvad.detector.data.caption_features import embed_captions
from kgvad.errors import FeatureError, RunError, ScoresError, UsageError
from kgvad.video.feature_store import FeatureStore


class Letters:
    """Texts as unit vectors: one direction for each first letter."""

    def encode(self, texts):
        return np.eye(26, dtype=np.float32)[[ord(text[0]) - ord("a") for text in texts]]


def test_a_snippet_has_the_mean_of_its_captions():
    captions = [(0, "a"), (8, "b"), (40, "c"), (41, "c"), (42, "d")]
    spans = np.array([[0, 16], [16, 32], [32, 48], [48, 60]])
    found = embed_captions(captions, spans, Letters())
    expected = np.zeros((4, 26))
    expected[0, :2] = 0.5**0.5  # both captions of the first snippet
    expected[1, 1] = 1  # none of its own: the latest before
    expected[2, 2:4] = np.array([2, 1]) / 5**0.5
    expected[3, 3] = 1
    np.testing.assert_allclose(found, expected, atol=1e-6)
    late = embed_captions([(50, "z")], spans, Letters())
    assert (late[:, 25] == 1).all()  # the first caption serves what is before it


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    """Features of a small dataset, and a file of captions of all but one of its videos."""
    root = tmp_path_factory.mktemp("captioned")
    (root / "data").mkdir()
    kgvad("features", "import", make_archive(root / "data"), "--dataset", "ucf", "--output", root / "features")
    words = {"Arson": "a house is on fire", "Fighting": "two men hit each other", "Normal": "people walk by"}
    names = FeatureStore.open(root / "features").ids()
    captions = {
        f"{name}.mp4": {"0": "a street", "40": next(text for kind, text in words.items() if name.startswith(kind))}
        for name in names[:-1]
    }
    (root / "captions.json").write_text(json.dumps(captions))
    return root


def test_from_a_file_of_captions_to_a_report(captioned, tmp_path, weights, capsys):
    weights("minilm-l6")
    features, captions = captioned / "features", captioned / "captions.json"
    store = Path(
        kgvad("features", "import", captions, "--to", features, "--text-encoder", "minilm", "-o", tmp_path).strip()
    )
    assert store.name == "minilm-text"
    assert len(FeatureStore.open(store).ids()) == len(FeatureStore.open(features).ids()) - 1
    bank = tmp_path / "bank.safetensors"
    kgvad("build-anchors", "--dataset", "ucf", "--encoder", "minilm", "--pooling", "label", "--output", bank)
    common = ["--dataset", "ucf", "--features", features, "--anchors", bank]
    run = tmp_path / "run"
    kgvad("train", *common, "--detector", "anchor-fused", "--captions", store, "--epochs", 2, "--run", run)
    explain = ["explain", "Arson012_x264", "--features", features, "--run", run]
    with pytest.raises(RunError, match="reads captions beside features; give them with --captions FILE"):
        kgvad(*explain)
    report = tmp_path / "report.json"
    kgvad(*explain, "--captions", captions, "--output", report)
    method = json.loads(report.read_text("utf-8"))["method"]
    assert method["scorer"] == "anchor-fused"
    assert method["captions_file"] == "captions.json"
    scores = tmp_path / "scores"
    one = ["--video", "Arson012_x264", "-o", scores, "--format", "json"]
    kgvad("score", features, "--run", run, "--captions", store, *one)
    stored = json.loads(next(scores.glob("*.json")).read_text("utf-8"))["scores"]
    np.testing.assert_allclose(json.loads(report.read_text("utf-8"))["curve"]["score"], stored, atol=1e-3)


def test_an_import_says_its_clock_and_what_it_keeps(captioned, tmp_path, weights, caplog):
    weights("minilm-l6")
    features, captions = captioned / "features", json.loads((captioned / "captions.json").read_text())
    command = ["features", "import", tmp_path / "c.json", "--to", features, "--text-encoder", "minilm", "-o", tmp_path]
    (tmp_path / "c.json").write_text(json.dumps(captions))
    kgvad(*command)
    assert "34 captions, clock: frames" in caplog.text and "1 video of" in caplog.text
    assert "keeps older captions" not in caplog.text
    (tmp_path / "c.json").write_text(json.dumps(dict(list(captions.items())[:3])))
    kgvad(*command)
    assert "minilm-text keeps older captions of 14 of them; to have none, delete it first" in caplog.text


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, UsageError, "does not exist"),
        ("{", ScoresError, "is not valid JSON"),
        ("{}", ScoresError, "holds an empty dict, which is not a known caption format"),
        ('{"other": {"0": "a"}}', FeatureError, "no captions of any video of"),
        (
            '{"Arson000_x264": {"first": "a"}}',
            ScoresError,
            "'Arson000_x264' is {first: str}, which is not a known caption format",
        ),
        ('{"Arson000_x264": ["a"]}', ScoresError, "1 texts fit 135 frames neither as one a second"),
    ],
)
def test_a_bad_file_of_captions_is_one_line_and_leaves_no_store(captioned, tmp_path, weights, content, error, message):
    weights("minilm-l6")
    path = tmp_path / "captions.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message):
        kgvad(
            "features",
            "import",
            path,
            "--to",
            captioned / "features",
            "--text-encoder",
            "minilm",
            "-o",
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()
