"""Tuning: the grid, folds by video, resumption, the budget, and a chosen configuration that trains."""

import json
import shutil

import numpy as np
import pytest
from detector_samples import ToyWords, kgvad, make_archive, swap_labels, text_store
from toy_bank import toy_bank
from training_samples import samples

from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.duplicates import across_splits, duplicate_groups
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.registry import detector_names
from kgvad.detector.run import TrainConfig, read_config
from kgvad.detector.training.grid import combinations, make_trials, read_grid
from kgvad.detector.training.tune import MINIMUM, FoldResult, TrialResult, choose, fold_assignment
from kgvad.errors import FeatureError, RunError, UsageError
from kgvad.locks import hold_run

GRID = """
[[sultani]]
recipe = { epochs = [1, 2] }
[[sultani]]
recipe = { epochs = 1, learning_rate = 1e-5 }
options = { width = 8 }
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    kgvad("features", "import", make_archive(folder), "--dataset", "ucf", "--output", folder / "features")
    return folder / "features"


@pytest.fixture
def tune(features, tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)

    def run(*more):
        common = ["tune", "sultani", "--dataset", "ucf", "--features", features, "--output", tmp_path / "tuned"]
        return kgvad(*common, "--grid", tmp_path / "grid.toml", "--folds", 2, *more)

    return run


def test_a_list_is_a_choice():
    found = list(combinations({"recipe": {"epochs": [1, 2], "standardise": True}, "options": {"a": [[3], [4]]}}))
    assert len(found) == 4
    assert found[1] == {"recipe": {"epochs": 1, "standardise": True}, "options": {"a": [4]}}
    assert list(combinations({})) == [{}]


def test_equal_configurations_are_one_trial_and_changes_are_named():
    trials = make_trials(TrainConfig(detector="sultani"), [{}, {"recipe": {"epochs": 30}}, {"options": {"width": 8}}])
    assert [trial.changes for trial in trials] == [(), ("options.width=8",)]  # 30 epochs are the default
    assert trials[1].config.options["width"] == 8
    with pytest.raises(UsageError, match=r"grid entry recipe.epochs=0: Input should be"):
        make_trials(TrainConfig(detector="sultani"), [{"recipe": {"epochs": 0}}])
    with pytest.raises(UsageError, match=r"grid entry recipe.epohs=3: unknown field 'recipe.epohs'; write"):
        make_trials(TrainConfig(detector="sultani"), [{"recipe": {"epohs": 3}}])


def test_every_detector_has_a_grid_of_six_or_more_that_starts_with_its_own_settings():
    own = [name for name in detector_names() if name in OWN]
    assert set(own) == OWN
    for name in own:
        base = TrainConfig(detector=name)
        trials = make_trials(base, read_grid(name))
        assert len(trials) >= MINIMUM, name
        assert trials[0].config == base, name


OWN = {
    *("sultani", "additive", "anchor-aligned", "anchor-text", "anchor-fused", "rtfm", "clip_tsa", "vadclip"),
    *("dsanet", "semvad"),
}


def test_folds_are_by_video_and_duplicates_lie_in_one():
    videos = [*samples(each=8), *(TrainingSample(s.video, s.target, s.features + 1) for s in samples(each=8))]  # crops
    twin = TrainingSample("twin", videos[0].target, videos[0].features.copy())
    alone = fold_assignment(videos, 0, 3)
    sizes = [len([v for v in alone if alone[v] == fold]) for fold in range(3)]
    assert sum(sizes) == 24 and min(sizes) >= 7
    together = fold_assignment([*videos[:24], twin], 0, 3)
    assert together["twin"] == together["0-0"]
    with pytest.raises(FeatureError, match="too few training videos for 9 folds; lower --folds"):
        fold_assignment(videos, 0, 9)


def test_duplicates_are_equal_byte_for_byte():
    a = np.arange(6.0).reshape(2, 3)
    features = {"c": a, "a": a.copy(), "b": a + 1e-9, "d": a.reshape(3, 2), "e": a.astype(np.float32)}
    groups = duplicate_groups(features.items())
    assert groups == [["a", "c"]]
    assert across_splits([["a", "c"], ["b", "d"]], {"a": "train", "c": "test", "b": "test", "d": "test"}) == [
        ["a", "c"]
    ]


def test_the_highest_criterion_is_chosen_among_complete_trials():
    def result(video_auc, frame_auc, complete=True):
        fold = FoldResult(video_auc=video_auc, frame_auc=frame_auc, ano_auc=None, category_top1=None, cpu_s=1)
        return TrialResult(None, (fold,), complete)

    assert choose([result(0.7, None), result(0.8, None), result(0.9, None, False), result(0.8, None)]).criterion == 0.8
    results = [result(0.9, 0.5), result(0.8, 0.7)]
    assert choose(results) is results[1] and results[1].criterion == pytest.approx(0.75)


def test_the_chosen_configuration_trains_and_nothing_is_measured_twice(tune, features, tmp_path, monkeypatch):
    def opened(*_):
        raise AssertionError("the test list was read")

    monkeypatch.setattr("kgvad.detector.evaluation.scored_method.score_split", opened)
    printed = tune()
    tried = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())
    assert [trial["changes"] for trial in tried["trials"]] == [
        ["recipe.epochs=1"],
        ["recipe.epochs=2"],
        ["recipe.epochs=1", "recipe.learning_rate=1e-05", "options.width=8"],
    ]
    assert all(trial["complete"] and len(trial["folds"]) == 2 for trial in tried["trials"])
    best = max(tried["trials"], key=lambda trial: trial["criterion"])
    assert best["chosen"] and best["criterion"] == pytest.approx(np.mean([f["video_auc"] for f in best["folds"]]))
    assert all(fold["frame_auc"] is None for trial in tried["trials"] for fold in trial["folds"])  # no times
    assert str(tmp_path / "tuned/sultani.json") in printed and "chosen" in printed
    assert "| recipe.epochs=2 |" in (tmp_path / "tuned/sultani.md").read_text()
    assert not list((tmp_path / "tuned").glob("trials/*/run-*"))
    kgvad(
        "train",
        "-d",
        "ucf",
        "--features",
        features,
        "--run",
        tmp_path / "run",
        "--config",
        tmp_path / "tuned/sultani.json",
    )
    config = read_config(tmp_path / "run")
    assert config.model_dump(include={"options"})["options"] == best["config"]["options"]
    monkeypatch.setattr("kgvad.detector.training.tune.train_part", opened)
    assert tune() == printed  # all folds are there


def test_an_interrupted_search_measures_what_is_missing(tune, tmp_path, monkeypatch):
    tune()
    first = (tmp_path / "tuned/sultani.tried.json").read_bytes()
    gone = sorted((tmp_path / "tuned/trials").glob("*/fold-1.json"))[0]
    gone.unlink()
    import kgvad.detector.training.tune as module

    calls, whole = [], module.train_part
    monkeypatch.setattr(module, "train_part", lambda *given: calls.append(1) or whole(*given))
    tune()
    assert len(calls) == 1

    def without_cost(text):
        trials = json.loads(text)["trials"]
        return [[{k: v for k, v in fold.items() if k != "cpu_s"} for fold in trial["folds"]] for trial in trials]

    assert without_cost((tmp_path / "tuned/sultani.tried.json").read_bytes()) == without_cost(first)


def test_more_seeds_add_trainings_and_the_criterion_is_their_mean(tune, tmp_path, monkeypatch):
    import kgvad.detector.training.tune as module

    tune()
    first = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())["trials"]
    seeds, whole = [], module.train_part
    monkeypatch.setattr(module, "train_part", lambda *given: seeds.append(given[0].config.seed) or whole(*given))
    assert "2 seeds" in tune("--seeds", 2)
    assert seeds == [1] * 6  # the folds of the first seed are there
    content = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())
    assert content["seeds"] == 2
    for before, trial in zip(first, content["trials"], strict=True):
        assert trial["folds"][:2] == before["folds"] and len(trial["folds"]) == 4 and trial["complete"]
        assert trial["criterion"] == pytest.approx(np.mean([fold["video_auc"] for fold in trial["folds"]]))


def test_folds_of_other_labels_are_measured_anew(tune, features, tmp_path, monkeypatch):
    import kgvad.detector.training.tune as module

    mine = shutil.copytree(features, tmp_path / "features")
    tune("--features", mine)
    calls, whole = [], module.train_part
    monkeypatch.setattr(module, "train_part", lambda *given: calls.append(1) or whole(*given))
    swap_labels(mine, "Arson000_x264", "Normal002_x264")
    tune("--features", mine)
    assert len(calls) == 6


def test_folds_of_other_class_prompts_are_measured_anew(features, tmp_path, monkeypatch):
    """Every fold makes its own class prompts of the texts of its captions."""
    import kgvad.detector.training.tune as module

    monkeypatch.setattr("kgvad.detector.training.caption_words.load_text_encoder", lambda *_: ToyWords())
    toy_bank().save(tmp_path / "bank.safetensors")
    truth = Truth.load(features)
    text = text_store(tmp_path / "text", ["of another length", *truth.videos])
    (tmp_path / "grid.toml").write_text("[[semvad]]\noptions = { width = 16 }\nrecipe = { epochs = 1 }\n")
    calls, whole = [], module.train_part
    monkeypatch.setattr(module, "train_part", lambda *given: calls.append(1) or whole(*given))
    inputs = ["--features", features, "--captions", text, "--anchors", tmp_path / "bank.safetensors"]
    inputs += ["--caption-texts", tmp_path / "texts.json"]
    for word, trainings in (("fire", 2), ("fire", 2), ("smoke", 4)):
        texts = {video: {"0": f"{word} and people"} for video in truth.split("train")}
        (tmp_path / "texts.json").write_text(json.dumps(texts))
        search = ["--grid", tmp_path / "grid.toml", "--folds", 2, "--output", tmp_path / "tuned"]
        kgvad("tune", "semvad", "--dataset", "ucf", *inputs, *search)
        assert len(calls) == trainings


def test_times_give_frame_metrics_of_held_out_videos(tune, features, tmp_path, monkeypatch):
    truth = Truth.load(features)
    times = {video: [[16, 48]] for video in truth.split("train") if truth.videos[video].labels}
    (tmp_path / "times.json").write_text(json.dumps(times))
    tune("--annotations", tmp_path / "times.json")
    trial = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())["trials"][0]
    means = [np.mean([fold[name] for fold in trial["folds"]]) for name in ("video_auc", "frame_auc")]
    assert trial["criterion"] == pytest.approx(np.mean(means))
    for wrong in ("[[5, 2]]", "[[1.5, 2.5]]", "[3, 4]", "[[true, 2]]"):
        (tmp_path / "times.json").write_text(f'{{"a": {wrong}}}')
        with pytest.raises(FeatureError, match=r"a: .* is not \[start, end\) in whole frames"):
            tune("--annotations", tmp_path / "times.json")
    (tmp_path / "times.json").write_text("[1, 2]")
    with pytest.raises(FeatureError, match="holds no intervals of videos"):
        tune("--annotations", tmp_path / "times.json")
    (tmp_path / "times.json").write_text('{"strange": [[2, 5]]}')
    with pytest.raises(FeatureError, match=r"times.json names no training video"):
        tune("--annotations", tmp_path / "times.json")
    (tmp_path / "times.json").write_text(json.dumps({f"v/{video}.mp4": spans for video, spans in times.items()}))
    monkeypatch.setattr("kgvad.detector.training.tune.train_part", None)  # the same times: nothing is measured anew
    tune("--annotations", tmp_path / "times.json")
    rows = [f"{video},{start},{end}" for video, spans in times.items() for start, end in spans]
    (tmp_path / "times.csv").write_text("\n".join(["video,start_frame,end_frame", *rows]))
    tune("--annotations", tmp_path / "times.csv")


def test_two_searches_at_once_do_not_share_a_folder(tune, tmp_path):
    said = r"another process tunes sultani in .*tuned; wait for it, or choose another --output"
    with hold_run(tmp_path / "tuned/trials/sultani", None), pytest.raises(RunError, match=said):
        tune()
    assert not list((tmp_path / "tuned/trials").iterdir())


def test_the_budget_ends_the_search_and_says_so(tune, tmp_path, caplog):
    tune("--budget", 60)
    paths = sorted((tmp_path / "tuned/trials").glob("*/fold-0.json"))
    tried = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())["trials"]
    for path in paths:  # 90 seconds for every first fold
        path.write_text(json.dumps(json.loads(path.read_text()) | {"cpu_s": 90.0}))
        if json.loads(path.read_text())["video_auc"] != tried[0]["folds"][0]["video_auc"]:
            (path.parent / "fold-1.json").unlink()
    caplog.clear()
    tune("--budget", 1)
    unfinished = sum(not (path.parent / "fold-1.json").is_file() for path in paths)
    assert f"the budget ended before {unfinished} of 3 configurations were finished" in caplog.text
    assert "configuration 1 of 3" not in caplog.text  # it was not tried
    again = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())["trials"]
    assert {trial["complete"] for trial in again} == {True, False}
    assert "not finished" in (tmp_path / "tuned/sultani.md").read_text()
    for path in (tmp_path / "tuned/trials").glob("*/fold-1.json"):
        path.unlink()
    with pytest.raises(
        RunError, match="the budget ended before the folds of any configuration were finished; raise --budget"
    ):
        tune("--budget", 1)


@pytest.mark.slow
def test_parallel_search_gives_the_same_results(tune, tmp_path):
    tune()
    one = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())
    for path in (tmp_path / "tuned/trials").glob("*/fold-*.json"):
        path.unlink()
    tune("--jobs", 2)
    two = json.loads((tmp_path / "tuned/sultani.tried.json").read_text())
    for a, b in zip(one["trials"], two["trials"], strict=True):
        assert [f["video_auc"] for f in a["folds"]] == [f["video_auc"] for f in b["folds"]]


def test_a_grid_without_the_detector_is_refused(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    with pytest.raises(UsageError, match=r"grid.toml has no tables \[\[rtfm\]\]"):
        read_grid("rtfm", tmp_path / "grid.toml")
    with pytest.raises(UsageError, match=r"bundled grid has no tables \[\[theirs\]\]; name a TOML file .* with --grid"):
        read_grid("theirs")
    (tmp_path / "grid.toml").write_text("[[sultani]")
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_grid("sultani", tmp_path / "grid.toml")
    (tmp_path / "grid.toml").write_text("[[sultani]]\nrecipe = { epochs = [] }")
    with pytest.raises(UsageError, match="has no configuration of sultani: a list of choices is empty"):
        read_grid("sultani", tmp_path / "grid.toml")


def test_mistakes_of_a_later_detector_and_of_the_output_come_before_the_first_search(tune, tmp_path, monkeypatch):
    monkeypatch.setattr("kgvad.detector.training.tune.train_part", None)  # nothing is trained
    with pytest.raises(UsageError, match=r"grid.toml has no tables \[\[rtfm\]\]"):
        tune("rtfm")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--output .*file is not a folder; give a folder"):
        tune("--output", tmp_path / "file")


def test_a_grid_chooses_options_and_recipe_and_a_wrong_entry_is_named():
    base = TrainConfig(detector="sultani")
    for change in ({"detector": "rtfm"}, {"seed": 3}):
        with pytest.raises(UsageError, match=r"the grid entry (detector=rtfm|seed=3): only options and recipe are"):
            make_trials(base, [change])
    with pytest.raises(UsageError, match=r"the grid entry options.widht=3: sultani: unknown option 'widht'; its opt"):
        make_trials(base, [{"options": {"widht": 3}}])
