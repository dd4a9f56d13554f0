"""A file of every format of version 1 is read as it was written, whatever this version writes itself."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.data.annotations import Truth
from kgvad.detector.run import Run
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import KgvadError
from kgvad.explain.report import Report
from kgvad.kg.rdf import load
from kgvad.kg.store.cache import GraphStore
from kgvad.video.feature_store import FeatureStore

V1 = Path(__file__).parents[1] / "fixtures" / "v1"


@pytest.fixture
def v1(tmp_path):
    """A copy, because some readers write beside the file."""
    return Path(shutil.copytree(V1, tmp_path / "v1"))


def test_bank(v1):
    assert AnchorBank.load(v1 / "bank.safetensors").categories == ["Normal", "Fighting", "Arson"]


@pytest.mark.parametrize("suffix", ["npz", "csv", "json"])
def test_scores(v1, suffix):
    scores = Scores.load(v1 / f"scores.{suffix}")
    np.testing.assert_allclose(scores.scores, [0.1, 0.9, 0.2], rtol=1e-6)
    assert (scores.fps, scores.frame_count, scores.categories, scores.normal) == (25.0, 48, ["Normal", "Fall"], 0)
    np.testing.assert_allclose(scores.alignment, [[2, 0], [0, 2], [2, 0]])


def test_report(v1):
    assert Report.read(v1 / "report.json").summary.events >= 1


def test_run(v1):
    run = Run.load(v1 / "run")
    assert run.config.detector == "anchor-aligned" and run.thresholds.onset == 0.8
    assert (v1 / "run/history.jsonl").read_text().count("\n") == 1
    assert run.training_videos() == {f"{kind}-{number}" for kind in range(3) for number in range(2)}


def test_features_and_labels(v1):
    store = FeatureStore.open(v1 / "features")
    assert store.load("a").shape == (3, 2) and store.manifest.columns == ["running", "falling"]
    assert Truth.load(v1 / "features").videos["a"].intervals == ((16, 32),)


def test_knowledge_graph(v1, tmp_path):
    with GraphStore.open(f"sqlite:///{v1 / 'graph.sqlite'}") as graph:
        assert "Q327541" in graph.terms(["Q327541"])
    with GraphStore.open(f"sqlite:///{tmp_path / 'other.sqlite'}") as graph:
        assert load(graph, v1 / "graph.nq") == (3, 0)


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("run/config.json", lambda root: Run.load(root / "run")),
        ("run/training_videos.json", lambda root: Run.load(root / "run").training_videos()),
        ("features/toy/manifest.json", lambda root: FeatureStore.open(root / "features")),
        ("features/dataset.json", lambda root: Truth.load(root / "features")),
        ("scores.json", lambda root: Scores.load(root / "scores.json")),
    ],
)
def test_a_newer_version_is_refused_with_the_remedy(v1, file, read):
    text = (v1 / file).read_text()
    newer, changed = re.subn(r'"version": \d+', '"version": 99', text, count=1)
    assert changed
    (v1 / file).write_text(newer)
    with pytest.raises(KgvadError, match=r"version|newer") as caught:
        read(v1)
    assert caught.value.remedy
