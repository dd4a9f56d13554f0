"""Evaluation of runs, as a user types it: tables, comparison, smoothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.detector.api import detector_class
from kgvad.detector.evaluation.evaluator import find_methods, smoothed
from kgvad.detector.evaluation.frame_metrics import Track
from kgvad.detector.evaluation.plots import telling_videos
from kgvad.detector.evaluation.report import Method, markdown_table, short_names
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import RunError, UsageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with features, two seeds of ours and one run of Sultani's detector, which names no category."""
    root = tmp_path_factory.mktemp("evaluate")
    kgvad("features", "import", make_archive(root), "--dataset", "ucf", "--output", root / "features")
    train(root / "features", root / "runs" / "ours", "--seeds", 2)
    kgvad(
        *("train", "--dataset", "ucf", "--detector", "sultani", "--epochs", 1),
        *("--features", root / "features", "--run", root / "runs" / "sultani"),
    )
    return root


def scores(values):
    spans = [(16 * row, 16 * row + 16) for row in range(len(values))]
    return Scores("v", 30.0, 16 * len(values), spans, np.array(values, np.float32))


def test_seeds_are_one_row_and_other_runs_are_compared_with_the_first(trained, tmp_path):
    runs = trained / "runs"
    options = ["--features", trained / "features", "--draws", 50]
    shown = kgvad("evaluate", runs / "sultani", runs / "ours", *options, "--json", tmp_path / "e.json")
    report = json.loads((tmp_path / "e.json").read_text())
    first, ours = report["methods"]
    assert [first["name"], ours["name"]] == ["sultani", "ours"]
    assert [run["seed"] for run in ours["runs"]] == [0, 1]
    values = [run["frame_auc"] for run in ours["runs"]]
    summary = ours["summary"]["frame_auc"]
    assert summary["mean"] == pytest.approx(np.mean(values)) and summary["std"] == pytest.approx(np.std(values, ddof=1))
    assert f"{100 * summary['mean']:.1f} ± {100 * summary['std']:.1f}" in shown
    assert first["summary"]["category_top1"]["mean"] is None  # no NaN in JSON
    assert (
        f"minus the length of the video as its score has {100 * report['length_alone']['frame_auc']:.1f} AUC"
        in " ".join(shown.split())
    )
    (difference,) = report["differences"]
    assert (difference["method"], difference["minus"]) == ("ours", "sultani")
    change = difference["figures"]["frame_auc"]
    assert change["mean"] == pytest.approx(np.mean(values) - first["summary"]["frame_auc"]["mean"])
    assert f"{100 * change['mean']:+.1f} [" in shown and "Difference from sultani" in shown
    assert difference["figures"]["category_top1"]["p"] is None


def test_neither_the_order_of_options_nor_an_option_newer_than_the_file_makes_another_method(trained, tmp_path):
    runs = shutil.copytree(trained / "runs" / "ours", tmp_path / "ours")
    path = runs / "seed-1" / "config.json"
    config = json.loads(path.read_text())
    default = detector_class(config["detector"]).Config().model_dump(mode="json")
    newer = next(name for name, value in config["options"].items() if value == default[name])
    options = {name: value for name, value in reversed(config["options"].items()) if name != newer}
    path.write_text(json.dumps(config | {"options": options}))
    ((found, seeds),) = find_methods([runs])
    assert found == runs and len(seeds) == 2


def test_a_folder_of_different_runs_is_no_method(trained, tmp_path):
    for name in ("ours/seed-0", "sultani"):
        (tmp_path / Path(name).name).symlink_to(trained / "runs" / name)
    shown = kgvad("evaluate", tmp_path, "--features", trained / "features", "--draws", 20)
    assert "Difference from seed-0" in shown and "sultani" in shown and "±" not in shown


def test_markdown_holds_the_same_figures(trained, tmp_path):
    runs = trained / "runs"
    kgvad("evaluate", runs / "ours", "--features", trained / "features", "--draws", 0, "--markdown", tmp_path / "e.md")
    text = (tmp_path / "e.md").read_text()
    assert "ucf: 6 test videos, 4 abnormal, 2 categories present. Scores as the detector gives them" in text
    assert "| run | seeds | AUC | AP | Ano-AUC | video AUC | top-1 | top-3 | mAP |" in text
    assert "| ours | 2 |" in text and "bootstrap" not in text and "[" not in text


def test_smoothing_is_said_and_changes_the_scores(trained, tmp_path):
    run = trained / "runs" / "ours" / "seed-0"
    told = [
        kgvad("evaluate", run, "--features", trained / "features", "--draws", 0, *more)
        for more in ([], ["--smooth", 4])
    ]
    assert "not smoothed" in told[0] and "mean over 4 rows" in told[1]
    assert told[0].splitlines()[3] != told[1].splitlines()[3]
    assert json.loads((run / "metrics.json").read_text())["smooth"] == 4


def test_another_rule_of_class_probabilities_is_said_and_changes_map_alone(trained, tmp_path):
    run = trained / "runs" / "ours" / "seed-0"
    options = ["--features", trained / "features", "--draws", 0, "--json", tmp_path / "e.json"]
    reports = []
    for more in ([], ["--classes", "dsanet", "--temperature", 5]):
        told = kgvad("evaluate", run, *options, *more)
        reports.append(json.loads((tmp_path / "e.json").read_text()))
        assert ("by the rule dsanet, temperature 5" in told) == bool(more)
    before, after = (report["methods"][0]["runs"][0] for report in reports)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"map_corrected", "map_legacy"}
    assert json.loads((run / "metrics.json").read_text())["classes"] == reports[1]["classes"] == "dsanet"
    with pytest.raises(UsageError, match="--classes 'sigmoid' is not a rule"):
        kgvad("evaluate", run, *options, "--classes", "sigmoid")


def test_smoothing_by_hand():
    one = scores([0.0, 0.3, 0.6, 0.9])
    assert smoothed(one, 1).scores == pytest.approx(one.scores)
    assert smoothed(one, 3).scores == pytest.approx([0.15, 0.3, 0.6, 0.75])
    assert smoothed(one, 2).scores == pytest.approx([0.15, 0.45, 0.75, 0.9])
    assert smoothed(one, 99).scores == pytest.approx([0.45] * 4)


def test_runs_of_different_datasets_are_refused(trained, tmp_path):
    run = trained / "runs" / "sultani"
    other = tmp_path / "other"
    other.mkdir()
    for path in run.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"dataset": "xd"}))
    with pytest.raises(RunError, match=r"different datasets \(ucf, xd\)"):
        kgvad("evaluate", run, other, "--features", trained / "features")


def test_names_are_as_short_as_they_can_be():
    paths = [Path("/r/c3d/ours"), Path("/r/c3d/rtfm")]
    assert short_names(paths) == ["ours", "rtfm"]
    assert short_names([*paths, Path("/r/text/ours")]) == ["c3d/ours", "c3d/rtfm", "text/ours"]
    assert short_names([paths[0], paths[0]]) == ["/r/c3d/ours", "/r/c3d/ours"]


def test_a_cell_cannot_break_a_markdown_table():
    assert "| a\\|b<br>c |" in markdown_table("", ["x"], [["a|b\nc"]])


def test_figures_are_drawn_as_svg_and_png(trained, tmp_path):
    runs, root = trained / "runs", trained / "features"
    told = kgvad(
        *("evaluate", runs / "ours", runs / "sultani", "--features", root, "--draws", 0),
        *("--figures", tmp_path, "--video", "Arson012_x264"),
    )
    assert "Scores as the detector gives them" in told
    names = [
        f"{name}.{form}" for name in ("categories", "precision-recall", "roc", "scores") for form in ("png", "svg")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    texts = {name: (tmp_path / f"{name}.svg").read_text() for name in ("roc", "categories", "scores")}
    assert ">ours" in texts["roc"] and ">sultani" in texts["roc"] and "Fighting (2)" in texts["categories"]
    assert "Arson012_x264 (Arson)" in texts["scores"] and "Fighting" not in texts["scores"]
    with pytest.raises(UsageError, match="--video nothing is no test video"):
        kgvad("evaluate", runs / "ours", "--features", root, "--figures", tmp_path, "--video", "nothing")
    with pytest.raises(UsageError, match="name a folder with --figures"):
        kgvad("evaluate", runs / "ours", "--features", root, "--video", "Arson012_x264")


def test_the_videos_that_tell_most(trained):
    def one(video, scores, *spans):
        edges = 16 * np.arange(len(scores) + 1)
        return Track(video, ("Arson",) if spans else (), np.array(scores), edges, spans)

    tracks = [
        one("good", [0.1, 0.9, 0.1], (16, 32)),
        one("bad", [0.9, 0.1, 0.9], (16, 32)),
        one("fair", [0.5, 0.6, 0.7], (16, 32)),
        one("whole", [0.5, 0.5, 0.5], (0, 48)),  # no normal frame: nothing to locate
        one("calm", [0.1, 0.1, 0.1]),
        one("loud", [0.9, 0.8, 0.1]),
    ]
    method = Method("m", "d", "c3d", None, (), (), ("Normal", "Arson"), 0, (), (), (tracks,), {})
    found = telling_videos(method)
    assert list(found) == ["good", "fair", "bad", "loud", "calm"]
    assert found["good"].startswith("best located, AUC 1.00") and found["bad"] == "worst, AUC 0.00 within"
