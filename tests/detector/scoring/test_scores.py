"""Scores: validation, and what is written is what is read."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.errors import ScoresError, UsageError


def make(**changes):
    fields = {
        "video": "Robbery_x264",
        "fps": 30.0,
        "frame_count": 50,
        "spans": [[0, 16], [16, 32], [32, 50]],
        "scores": [0.1, 0.25, 1.0],
        "alignment": [[0.5, -0.25], [0.1, 0.2], [0.3, 0.4]],
        "categories": ["Normal", "Robbery"],
        "normal": 0,
        "concept_alignment": [[0.1], [0.2], [0.3]],
        "probabilities": [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]],
        "origin": Origin(scorer="anchor-aligned", trained=True, names_categories="yes", notes=["a, b\n# c"]),
    }
    return Scores(**(fields | changes))


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_round_trip(tmp_path, suffix):
    before = make()
    before.save(tmp_path / f"s{suffix}")
    after = Scores.load(tmp_path / f"s{suffix}")
    for name in ("spans", "scores", "alignment", "concept_alignment", "probabilities"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert getattr(before, name).dtype == getattr(after, name).dtype
    for name in ("video", "fps", "frame_count", "categories", "normal", "origin"):
        assert getattr(before, name) == getattr(after, name)


def test_a_frame_has_the_score_of_its_snippet_and_a_gap_that_of_the_snippet_before():
    scores = make(frame_count=60, spans=[[2, 4], [10, 12], [12, 20]]).per_frame()
    assert len(scores) == 60
    assert scores[[0, 3, 9, 10, 12, 59]].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.25, 1, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.1, np.nan, 0.2]}, "snippet 1 is not a finite"),
        ({"scores": [0.1, 0.2, 1.5]}, "snippet 2 is 1.5, outside 0..1"),
        ({"scores": [-0.1, 0.2, 0.5]}, "snippet 0 is -0.1"),
        ({"scores": []}, "no scores"),
        ({"scores": [[0.1]]}, "2 dimensions"),
        ({"scores": ["a", "b", "c"]}, "must be numbers"),
        ({"scores": [[1], [1, 2]]}, "must be numbers"),
        ({"spans": [[0, 16], [16, 32]]}, "spans has shape"),
        ({"spans": [[0, 16], [8, 32], [32, 50]]}, "snippet 1 starts at 8"),
        ({"spans": [[0, 16], [16, 16], [32, 50]]}, "snippet 1 is"),
        ({"spans": [[-1, 16], [16, 32], [32, 50]]}, "snippet 0 is"),
        ({"spans": [[0, 16], [16, 32], [32, 51]]}, "frame 51 of a video of 50"),
        ({"spans": [[0, 16.5], [17, 32], [32, 50]]}, "whole numbers"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"frame_count": 0}, "frame_count is 0"),
        ({"alignment": [[0.5, 0.1]]}, "alignment has 1 rows"),
        ({"alignment": [[0.5, np.inf]] * 3}, "alignment: snippet 0"),
        ({"categories": ["Normal"]}, "2 columns for 1"),
        ({"categories": ["Normal", "Normal"]}, "different, non-empty names"),
        ({"categories": None, "normal": None}, "without categories"),
        ({"normal": 2}, "normal is 2"),
        ({"concept_alignment": [[np.nan]] * 3}, "concept_alignment: snippet 0"),
        ({"probabilities": [[0.5, 1.5]] * 3}, "probabilities must be 0..1"),
        ({"probabilities": [[1.0]] * 3}, "probabilities has 1 columns for 2"),
    ],
)
def test_wrong_values_are_named(changes, message):
    with pytest.raises(ScoresError, match=message):
        make(**changes)


def test_another_programs_files_need_only_scores(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"scores": [0, 1, 0.5]}))
    loaded = Scores.load(tmp_path / "a.json", fps=25, frame_count=50)
    assert loaded.spans.tolist() == [[0, 16], [16, 32], [32, 50]]
    assert (loaded.video, loaded.origin.scorer, loaded.origin.trained) == ("a", "unknown", False)
    (tmp_path / "b.csv").write_text("frame, score\n0,0.5\n4,1\n8,0\n")
    assert Scores.load(tmp_path / "b.csv", fps=25).spans.tolist() == [[0, 4], [4, 8], [8, 12]]
    np.savez(tmp_path / "c.npz", scores=[0.5], fps=10, categories=["x"], video="v")
    loaded = Scores.load(tmp_path / "c.npz")
    assert (loaded.video, loaded.fps, loaded.categories, loaded.frame_count) == ("v", 10, ["x"], 16)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", "not valid JSON"),
        ("a.json", b'"high"', "not an object"),
        ("a.json", b'{"scores": [0.1]}', "fps is not given"),
        ("a.json", b'{"fps": 3}', "no field 'scores'"),
        ("a.json", b'{"scores": [NaN], "fps": 3}', "NaN is not a number"),
        ("a.json", b'{"scores": [0.1], "fps": 3, "colour": 1}', "unknown field 'colour'"),
        ("a.json", b'{"scores": [0.1], "fps": 3, "origin": {"trained": "perhaps"}}', "origin.trained"),
        ("a.json", b'{"scores": [0.1], "fps": 3, "normal": "Normal"}', "normal is 'Normal'"),
        ("a.json", b'{"scores": [0.1], "fps": "fast"}', "fps is 'fast', not a number"),
        ("a.json", b"\xff\xfe", "not valid JSON"),
        ("a.csv", b"", "first line"),
        ("a.csv", b"start,score\n0,x\n", "row 1: .x. in the column score is not a number"),
        ("a.csv", b"start,score\n0\n", "row 1 has 1 values"),
        ("a.csv", b"# {broken\nstart,score\n0,1\n", "line 1 is not valid JSON"),
        ("a.npz", b"", "cannot be read"),
        ("a.npz", b"PK\x03\x04 cut", "cannot be read"),
    ],
)
def test_damaged_files_are_one_line_that_names_the_file(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScoresError, match=message) as caught:
        Scores.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_pickle_is_loaded(tmp_path):
    np.savez(tmp_path / "p.npz", scores=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ScoresError, match="cannot be read"):
        Scores.load(tmp_path / "p.npz")


def test_a_cut_file_and_a_missing_one(tmp_path):
    make().save(tmp_path / "s.npz")
    data = (tmp_path / "s.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ScoresError, match=r"cut\.npz"):
        Scores.load(tmp_path / "cut.npz")
    with pytest.raises(ScoresError, match="missing"):
        Scores.load(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"\.npz, \.csv, \.tsv, \.json"):
        Scores.load(tmp_path / "scores.txt")


def test_reading_scores_imports_no_heavy_library():
    code = "import sys, kgvad.detector.scoring.scores; print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
