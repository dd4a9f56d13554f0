"""Evaluation of runs, as a user types it: tables, comparison, smoothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.evaluator import find_methods, short_names
from kgvad.detector.evaluation.plots import representative_videos
from kgvad.detector.evaluation.report import Method
from kgvad.detector.evaluation.scored_method import smoothed
from kgvad.detector.evaluation.tables import ResultTable
from kgvad.detector.registry import detector_class
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import RunError, UsageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with features, two seeds of ours and one run of Sultani's detector, which has no categories."""
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


def test_seeds_are_one_method_and_other_runs_are_compared_with_the_first(trained, tmp_path):
    runs = trained / "runs"
    options = ["--features", trained / "features", "--resamples", 50]
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
    assert f"minus the length of the video): {100 * report['length_only_baseline']['frame_auc']:.1f} AUC" in " ".join(
        shown.split()
    )
    (difference,) = report["differences"]
    assert (difference["method"], difference["baseline"]) == ("ours", "sultani")
    change = difference["metrics"]["frame_auc"]
    assert change["mean"] == pytest.approx(np.mean(values) - first["summary"]["frame_auc"]["mean"])
    assert f"{100 * change['mean']:+.1f} [" in shown and "Difference from sultani" in shown
    assert difference["metrics"]["category_top1"]["p"] is None


def test_neither_the_order_of_options_nor_an_option_newer_than_the_file_makes_another_method(trained, tmp_path):
    runs = shutil.copytree(trained / "runs" / "ours", tmp_path / "ours")
    path = runs / "seed-1" / "config.json"
    config = json.loads(path.read_text())
    default = detector_class(config["detector"]).Config().model_dump(mode="json")
    newer = next(name for name, value in config["options"].items() if value == default[name])
    options = {name: value for name, value in reversed(config["options"].items()) if name != newer}
    path.write_text(json.dumps(config | {"options": options}))
    ((found, seeds),) = find_methods(runs)
    assert found == runs and len(seeds) == 2


def test_a_folder_of_different_runs_is_no_method(trained, tmp_path):
    for name in ("ours/seed-0", "sultani"):
        (tmp_path / Path(name).name).symlink_to(trained / "runs" / name)
    shown = kgvad("evaluate", tmp_path, "--features", trained / "features", "--resamples", 20)
    assert "Difference from seed-0" in shown and "sultani" in shown and "±" not in shown


def test_markdown_has_the_same_results(trained, tmp_path):
    runs = trained / "runs"
    kgvad(
        "evaluate", runs / "ours", "--features", trained / "features", "--resamples", 0, "--markdown", tmp_path / "e.md"
    )
    text = (tmp_path / "e.md").read_text()
    assert "ucf: 6 test videos, 4 abnormal, 2 categories present. Scores are not smoothed." in text
    assert "| run | seeds | AUC | AP | Ano-AUC | video AUC | top-1 | top-3 | mAP |" in text
    assert "| ours | 2 |" in text and "bootstrap" not in text and "[" not in text


def test_smoothing_is_reported_and_changes_the_scores(trained, tmp_path):
    run = trained / "runs" / "ours" / "seed-0"
    shown = [
        kgvad("evaluate", run, "--features", trained / "features", "--resamples", 0, *more)
        for more in ([], ["--smooth", 4])
    ]
    assert "not smoothed" in shown[0] and "moving average over 4 snippets" in shown[1]
    assert shown[0].splitlines()[3] != shown[1].splitlines()[3]
    assert json.loads((run / "metrics.json").read_text())["smooth"] == 4


def test_another_rule_of_class_probabilities_is_reported_and_changes_map_alone(trained, tmp_path):
    run = trained / "runs" / "ours" / "seed-0"
    options = ["--features", trained / "features", "--resamples", 0, "--json", tmp_path / "e.json"]
    reports = []
    for more in ([], ["--class-probabilities", "dsanet", "--temperature", 5]):
        shown = kgvad("evaluate", run, *options, *more)
        reports.append(json.loads((tmp_path / "e.json").read_text()))
        assert ("by dsanet with temperature 5" in shown) == bool(more)
    before, after = (report["methods"][0]["runs"][0] for report in reports)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"map_corrected", "map_legacy"}
    assert json.loads((run / "metrics.json").read_text())["class_rule"] == reports[1]["class_rule"] == "dsanet"
    with pytest.raises(UsageError, match="unknown rule of class probabilities 'sigmoid'"):
        kgvad("evaluate", run, *options, "--class-probabilities", "sigmoid")


def test_smoothing_by_hand():
    one = scores([0.0, 0.3, 0.6, 0.9])
    assert smoothed(one, 1).scores == pytest.approx(one.scores)
    assert smoothed(one, 3).scores == pytest.approx([0.15, 0.3, 0.6, 0.75])
    assert smoothed(one, 2).scores == pytest.approx([0.15, 0.45, 0.75, 0.9])
    assert smoothed(one, 99).scores == pytest.approx([0.45] * 4)


def test_tiny_scores_keep_their_order_beside_large_ones():
    """A saturated detector scores most snippets near 0 or 1; rounded, they would be ties, and its AUC another."""
    values = [1.0, 3e-30, 1.0, 1e-30, 2e-20, 2e-30]
    one = scores(values)
    assert smoothed(one, 1).scores.tolist() == one.scores.tolist()
    assert len(set(smoothed(scores([1.0, 1.0, 1e-30, 3e-30, 5e-20, 2e-20]), 2).scores.tolist())) == 6


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
    assert "| a\\|b<br>c |" in ResultTable("", ["x"], [["a|b\nc"]]).as_markdown()


def test_plots_are_drawn_as_svg_and_png(trained, tmp_path):
    runs, root = trained / "runs", trained / "features"
    shown = kgvad(
        *("evaluate", runs / "ours", runs / "sultani", "--features", root, "--resamples", 0),
        *("--plots", tmp_path, "--video", "Arson012_x264"),
    )
    assert "Scores are not smoothed" in shown
    names = [
        f"{name}.{form}" for name in ("categories", "precision-recall", "roc", "scores") for form in ("png", "svg")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    texts = {name: (tmp_path / f"{name}.svg").read_text() for name in ("roc", "categories", "scores")}
    assert ">ours" in texts["roc"] and ">sultani" in texts["roc"] and "Fighting (2)" in texts["categories"]
    assert "Arson012_x264 (Arson)" in texts["scores"] and "Fighting" not in texts["scores"]
    with pytest.raises(UsageError, match="--video nothing is not a test video"):
        kgvad("evaluate", runs / "ours", "--features", root, "--plots", tmp_path, "--video", "nothing")
    with pytest.raises(UsageError, match="name a folder with --plots"):
        kgvad("evaluate", runs / "ours", "--features", root, "--video", "Arson012_x264")


def test_representative_videos(trained):
    def one(video, scores, *spans):
        edges = 16 * np.arange(len(scores) + 1)
        return EvaluatedVideo(video, ("Arson",) if spans else (), np.array(scores), edges, spans)

    videos = [
        one("good", [0.1, 0.9, 0.1], (16, 32)),
        one("bad", [0.9, 0.1, 0.9], (16, 32)),
        one("fair", [0.5, 0.6, 0.7], (16, 32)),
        one("whole", [0.5, 0.5, 0.5], (0, 48)),  # no normal frame: nothing to locate
        one("calm", [0.1, 0.1, 0.1]),
        one("loud", [0.9, 0.8, 0.1]),
    ]
    method = Method("m", "d", "c3d", None, (), (), ("Normal", "Arson"), 0, (), (), (videos,), {})
    found = representative_videos(method)
    assert list(found) == ["good", "fair", "bad", "loud", "calm"]
    assert found["good"].startswith("best, AUC 1.00") and found["bad"] == "worst, AUC 0.00 within the video"
