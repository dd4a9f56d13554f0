"""Scores that any program wrote, measured by the same evaluator as runs."""

import csv
import json
import shutil

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import FeatureError, RunError, ScoresError, UsageError


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Features, a run on them, and the scores of this run, one file for each video."""
    root = tmp_path_factory.mktemp("given")
    kgvad("features", "import", make_archive(root), "--dataset", "ucf", "--output", root / "features")
    train(root / "features", root / "run")
    for form in ("npz", "csv", "json"):
        kgvad("score", root / "features", "--run", root / "run", "--output", root / form, "--format", form)
    return root


def evaluated(*arguments, tmp_path):
    kgvad("evaluate", *arguments, "--resamples", 20, "--json", tmp_path / "found.json")
    return json.loads((tmp_path / "found.json").read_text())


def means(method):
    return {name: one["mean"] for name, one in method["summary"].items() if name != "ece_temperature"}


def frame_scores(scored):
    """``{video: score of every frame}`` of all videos."""
    return {path.stem: Scores.load(path).per_frame().tolist() for path in sorted((scored / "npz").glob("*.npz"))}


@pytest.mark.parametrize("form", ["npz", "csv", "json"])
def test_the_scores_of_a_run_are_measured_as_the_run_is(form, scored, tmp_path):
    options = ("--features", scored / "features")
    run, given = evaluated(scored / "run", scored / form, *options, tmp_path=tmp_path)["methods"]
    assert means(given) == pytest.approx(means(run), abs=1e-6, nan_ok=True)
    assert run["summary"]["category_top1"]["mean"] is not None
    assert (given["name"], given["encoder"]) == (form, "")


@pytest.mark.parametrize("form", ["frames.json", "frames.csv", "arrays"])
def test_scores_of_every_frame_need_no_features(form, scored, tmp_path):
    """Other programs repeat the score of a snippet for its frames; the names may have a suffix."""
    scores, given = frame_scores(scored), tmp_path / form
    if form == "arrays":
        given.mkdir()
        for video, values in scores.items():
            np.save(given / f"{video}.npy", np.array(values, np.float32))
    elif form == "frames.csv":
        with given.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["video", "frame", "score"])
            for video, values in scores.items():
                rows.writerows([f"{video}.mp4", frame, score] for frame, score in enumerate(values))
    else:
        given.write_text(json.dumps({f"{video}.mp4": values for video, values in scores.items()}))
    shutil.copy(scored / "features" / "dataset.json", tmp_path)
    (alone,) = evaluated(given, "--dataset", "ucf", "--features", tmp_path, tmp_path=tmp_path)["methods"]
    (run,) = evaluated(scored / "run", "--features", scored / "features", tmp_path=tmp_path)["methods"]
    for name in ("frame_auc", "frame_ap", "ano_auc"):
        assert alone["summary"][name]["mean"] == pytest.approx(run["summary"][name]["mean"], abs=1e-6)
    assert alone["summary"]["category_top1"]["mean"] is None  # it has no categories


def test_scores_of_another_range_are_mapped_to_the_unit_range_and_ranked_as_they_were(scored, tmp_path, caplog):
    known: dict[str, dict[str, float]] = {}
    scores = frame_scores(scored)
    for name, scale, shift in (("known", 1, 0), ("logits", 40, -30)):
        moved = {video: (np.array(values) * scale + shift).tolist() for video, values in scores.items()}
        (tmp_path / f"{name}.json").write_text(json.dumps(moved))
        caplog.clear()
        (found,) = evaluated(
            tmp_path / f"{name}.json", "--dataset", "ucf", "--features", scored / "features", tmp_path=tmp_path
        )["methods"]
        known[name] = {metric: found["summary"][metric]["mean"] for metric in ("frame_auc", "frame_ap", "ano_auc")}
    assert known["logits"] == pytest.approx(known["known"], abs=1e-9)
    assert "are mapped to 0..1 in proportion: " in caplog.text


def test_scores_that_a_far_value_makes_equal_are_counted(scored, tmp_path, caplog):
    moved = {video: [*values[:-1], -1e9] for video, values in frame_scores(scored).items()}
    (tmp_path / "far.json").write_text(json.dumps(moved))
    evaluated(tmp_path / "far.json", "--dataset", "ucf", "--features", scored / "features", tmp_path=tmp_path)
    assert "different scores become equal" in caplog.text


def test_scores_that_single_precision_makes_equal_are_counted(scored, tmp_path, caplog):
    """Detectors that saturate differ in the ninth digit only: as ties, they look worse than they are."""
    options = ("--dataset", "ucf", "--features", scored / "features")
    for name, gap, said in (("spread", 0.1, False), ("saturated", 1e-9, True)):
        close = {video: [1 - gap * value for value in values] for video, values in frame_scores(scored).items()}
        (tmp_path / f"{name}.json").write_text(json.dumps(close))
        caplog.clear()
        evaluated(tmp_path / f"{name}.json", *options, tmp_path=tmp_path)
        assert ("different scores become equal in single precision" in caplog.text) is said


def test_the_first_path_is_the_baseline_whatever_it_holds(scored, tmp_path):
    found = evaluated(scored / "csv", scored / "run", "--features", scored / "features", tmp_path=tmp_path)
    (difference,) = found["differences"]
    assert (difference["baseline"], difference["method"]) == ("csv", "run")


def test_test_videos_without_scores_are_named(scored, tmp_path, caplog):
    few = shutil.copytree(scored / "csv", tmp_path / "few")
    (few / "Arson012_x264.csv").unlink()
    evaluated(few, "--dataset", "ucf", "--features", scored / "features", tmp_path=tmp_path)
    left_out = "1 of 6 test videos have no scores, or no features for the runs, and are left out (Arson012_x264)"
    assert f"few: {left_out}" in caplog.text
    with pytest.raises(UsageError, match="5 and 6 different test videos cannot be paired; give both"):
        kgvad("evaluate", scored / "run", few, "--features", scored / "features")


def test_beside_runs_only_videos_with_features_are_measured(scored, tmp_path):
    fewer = shutil.copytree(scored / "features", tmp_path / "fewer")
    kept = json.loads(next(fewer.glob("*/manifest.json")).read_text())
    del kept["videos"]["Arson012_x264"]
    next(fewer.glob("*/manifest.json")).write_text(json.dumps(kept))
    run, given = evaluated(scored / "run", scored / "csv", "--features", fewer, tmp_path=tmp_path)["methods"]
    assert run["videos"] == given["videos"] == 5
    assert means(given) == pytest.approx(means(run), abs=1e-6, nan_ok=True)


def test_seconds_without_features_are_at_a_rate_that_is_said_to_be_assumed(scored, tmp_path, caplog):
    shutil.copy(scored / "features" / "dataset.json", tmp_path)
    given = tmp_path / "seconds.json"
    given.write_text(json.dumps({video: {"0.0": 0.1, "2.0": 0.9} for video in frame_scores(scored)}))
    evaluated(given, "--dataset", "ucf", "--features", tmp_path, tmp_path=tmp_path)
    assert "the clock of the scores is seconds, and 30 frames a second are assumed" in caplog.text
    caplog.clear()
    evaluated(given, "--dataset", "ucf", "--features", scored / "features", tmp_path=tmp_path)
    assert "the clock of the scores is seconds" in caplog.text and "assumed" not in caplog.text


def test_scores_of_videos_without_features_cannot_stand_beside_a_run(scored, tmp_path):
    given = tmp_path / "few.json"
    given.write_text('{"Arson012_x264": {"0": 0.1}}')
    fewer = shutil.copytree(scored / "features", tmp_path / "fewer")
    kept = json.loads(next(fewer.glob("*/manifest.json")).read_text())
    del kept["videos"]["Arson012_x264"]
    next(fewer.glob("*/manifest.json")).write_text(json.dumps(kept))
    with pytest.raises(ScoresError, match="no scores of the test videos with features of ucf"):
        kgvad("evaluate", given, scored / "run", "--features", fewer)


def test_what_cannot_be_measured_is_one_line(scored, tmp_path):
    features = ("--features", scored / "features")
    with pytest.raises(UsageError, match="scores do not say of which dataset they are; name it with --dataset"):
        kgvad("evaluate", scored / "csv", *features)
    with pytest.raises(UsageError, match="--dataset xd is not the dataset of the runs, ucf"):
        kgvad("evaluate", scored / "csv", scored / "run", "--dataset", "xd", *features)
    one = next((scored / "csv").glob("*.csv"))
    with pytest.raises(ScoresError, match=f"{one} does not name the videos of its scores; give a folder"):
        kgvad("evaluate", one, "--dataset", "ucf", *features)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "Arson012_x264.txt").write_text("0.5\n")
    with pytest.raises(RunError, match=r"texts holds neither a run nor scores; name a folder .* \.npz, \.csv"):
        kgvad("evaluate", texts, *features)
    other = tmp_path / "other.json"
    other.write_text('{"clip": {"0": 0.1, "16": 0.2}}')
    with pytest.raises(ScoresError, match=r"no scores of the test videos of ucf; .*'Arson012_x264'.*, not 'clip'"):
        kgvad("evaluate", other, "--dataset", "ucf", *features)
    other.write_text('{"Arson012_x264": {"0": 0.1, "16": "high"}}')
    with pytest.raises(ScoresError, match=r"other\.json: the score of '16' is not a number"):
        kgvad("evaluate", other, "--dataset", "ucf", *features)
    other.write_text('{"Arson012_x264": [0.1, NaN]}')
    with pytest.raises(ScoresError, match=r"other\.json"):
        kgvad("evaluate", other, "--dataset", "ucf", *features)
    other.write_text('{"Arson012_x264": {"0": 0.1}')
    with pytest.raises(ScoresError, match=r"other\.json"):
        kgvad("evaluate", other, "--dataset", "ucf", *features)
    other.write_text('{"a/Arson012_x264.mp4": {"0": 0.1}, "b/Arson012_x264.avi": {"0": 0.1}}')
    with pytest.raises(FeatureError, match="both fit the video"):
        kgvad("evaluate", other, "--dataset", "ucf", *features)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="empty"):
        kgvad("evaluate", tmp_path / "empty", "--dataset", "ucf", *features)


def test_the_dataset_of_the_settings_is_that_of_scores_and_never_of_runs(scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kgvad.toml").write_text('dataset = "xd"')
    evaluated(scored / "run", scored / "csv", "--features", scored / "features", tmp_path=tmp_path)
    (tmp_path / "kgvad.toml").write_text('dataset = "ucf"')
    found = evaluated(scored / "csv", "--features", scored / "features", tmp_path=tmp_path)
    assert found["dataset"] == "ucf"
