"""Vectors of unit length."""

import subprocess
from pathlib import Path

import numpy as np

from kgvad.masks import true_runs
from kgvad.vectors import unit


def test_unit_by_hand():
    vectors = np.array([[[3.0, 4.0], [0.0, 0.0]], [[0.0, -2.0], [1.0, 1.0]]], np.float32)
    found = unit(vectors)
    assert found.dtype == np.float32
    half = np.sqrt(0.5)
    assert np.allclose(found, [[[0.6, 0.8], [0, 0]], [[0, -1], [half, half]]])
    assert unit(np.array([3.0, 4.0])).tolist() == [0.6, 0.8] and vectors[0, 0].tolist() == [3, 4]


def test_nothing_else_divides_by_a_norm():
    root = Path(__file__).parents[2]
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True).stdout.split()
    if not files:  # not a checkout
        files = [str(path.relative_to(root)) for path in root.rglob("*.py") if ".venv" not in path.parts]
    names = [name for name in files if not name.startswith("tests/") and name != "kgvad/vectors.py"]
    assert len(names) > 100
    found = [
        name
        for name in names
        if "/ np.linalg.norm" in (text := (root / name).read_text("utf-8")) or "np.maximum(np.linalg.norm" in text
    ]
    assert found == []


def test_runs_of_true_entries():
    assert true_runs([0, 1, 1, 0, 1]) == ((1, 3), (4, 5))
    assert true_runs([]) == ()
