"""Commands of the detector package, as a user types them."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train
from toy_bank import toy_bank

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.data.folder_dataset import folder_table, folder_truth
from kgvad.detector.data.labels import is_normal_name
from kgvad.detector.scoring.scores import Scores
from kgvad.detector.training.options import parse_options
from kgvad.errors import FeatureError, KgvadError, RunError, UsageError
from kgvad.settings import load_settings


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "data").mkdir()
    return make_archive(tmp_path / "data")


@pytest.fixture
def features(archive, tmp_path):
    kgvad("features", "import", archive, "--dataset", "ucf", "--output", tmp_path / "features")
    return tmp_path / "features"


def test_from_an_archive_to_figures_and_scores(features, tmp_path):
    run = tmp_path / "run"
    assert train(features, run).split() == [str(run)]
    table = kgvad("evaluate", run, "--features", features, "--json", tmp_path / "figures.json", "--resamples", 20)
    assert "6 test videos, 4 abnormal, 2 categories present" in table
    method = json.loads((tmp_path / "figures.json").read_text())["methods"][0]
    assert (method["videos"], method["abnormal_videos"], method["categories_present"]) == (6, 4, 2)
    figures = method["summary"]["frame_auc"]
    assert figures["mean"] == method["runs"][0]["frame_auc"] and figures["low"] <= figures["mean"] <= figures["high"]
    assert len(method["runs"][0]["map_corrected"]["map"]) == 5
    assert json.loads((run / "metrics.json").read_text())["frame_auc"] == figures["mean"]
    printed = kgvad("score", features, "--run", run, "--output", tmp_path / "scores", "--format", "csv").split()
    assert len(printed) == 18
    scores = Scores.load(tmp_path / "scores" / "Arson012_x264.csv")
    assert scores.spans.tolist() == [[0, 32], [32, 64], [64, 96], [96, 135]]
    assert scores.origin.trained and scores.origin.encoder == "imported"
    assert scores.categories[0] == "Normal" and scores.alignment.shape == (4, 14)


def test_class_probabilities_are_written_on_request(features, tmp_path):
    run, one = tmp_path / "run", ["--video", "Arson012_x264"]
    train(features, run)
    options = ["--run", run, "--output", tmp_path / "scores", *one]
    kgvad("score", features, *options)
    assert Scores.load(tmp_path / "scores" / "Arson012_x264.npz").probabilities is None
    kgvad("score", features, *options, "--format", "csv", "--class-probabilities", "dsanet", "--temperature", 5)
    scores = Scores.load(tmp_path / "scores" / "Arson012_x264.csv")
    assert scores.probabilities.sum(axis=1) == pytest.approx([1] * 4)
    quiet = (1 / scores.scores - 1) ** 0.2  # odds of Normal at temperature 5
    assert scores.probabilities[:, scores.normal] == pytest.approx(quiet / (1 + quiet), rel=1e-4)
    with pytest.raises(UsageError, match="--temperature needs class probabilities"):
        kgvad("score", features, *options, "--temperature", 5)


def test_several_seeds(features, tmp_path):
    folders = train(features, tmp_path / "runs", "--seeds", 2).split()
    assert [folder.rsplit("/", 1)[1] for folder in folders] == ["seed-0", "seed-1"]


def test_features_of_another_encoder_are_refused(features, archive, tmp_path):
    train(features, tmp_path / "run")
    kgvad("features", "import", archive, "--dataset", "ucf", "--output", tmp_path / "other", "--encoder", "slowfast")
    with pytest.raises(FeatureError, match="not of the encoder"):
        kgvad("score", tmp_path / "other", "--run", tmp_path / "run", "--output", tmp_path / "scores")


@pytest.mark.parametrize(("dataset", "third"), [("ucf", "Arson"), ("mine", "Theft")])
def test_anchors_are_built_of_the_table_or_the_labels(dataset, third, tmp_path, weights, monkeypatch):
    weights("minilm-l6")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in "abcdef":
        np.save(f"{name}.npy", random.normal(size=(4, 16)).astype(np.float32))
    rows = [f"{name}.npy,{label}" for name, label in zip("abcdef", ["Normal", "Fighting", third] * 2, strict=True)]
    Path("list.csv").write_text("\n".join(["path,label", *rows]))
    kgvad("features", "import", "list.csv", "--dataset", dataset, "--output", "features")
    options = ["--dataset", dataset, "--features", "features", "--epochs", 1, "--set", "width=32"]
    kgvad("train", *options, "--detector", "vadclip", "--run", "run")
    bank = AnchorBank.load(load_settings().bank_path(dataset))
    assert len(bank.categories) == (14 if dataset == "ucf" else 3) and {"Normal", "Fighting", third} <= {
        *bank.categories
    }
    toy_bank().save(tmp_path / "other.safetensors")  # Normal, Fighting and Arson
    if third == "Theft":
        with pytest.raises(UsageError, match=r"other\.safetensors has no anchors of Theft; name another bank"):
            kgvad("train", *options, "--anchors", "other.safetensors", "--run", "other")
        toy_bank().save(load_settings().bank_path(dataset))  # of the labels before
        kgvad("train", *options, "--detector", "vadclip", "--run", "new")
        assert set(AnchorBank.load(load_settings().bank_path(dataset)).categories) == {"Normal", "Fighting", third}


def test_nothing_given_takes_the_default_places_or_says_what_makes_them(features, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FeatureError, match="there are no features of ucf"):
        kgvad("train")
    with pytest.raises(FeatureError, match=r"kgvad extract VIDEOS .*kgvad features import"):
        kgvad("train", "--dataset", "ucf")
    kgvad("features", "import", archive, "--dataset", "ucf")
    (tmp_path / "kgvad.toml").write_text('dataset = "ucf"\nfeatures = "features"\nrun = "my-run"\n')
    kgvad("train", "--set", "anchors=false", "--epochs", 1)
    assert (tmp_path / "my-run" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--dataset", "nowhere"], "there are no features of nowhere"),
        (["train", "--set", "width"], "is not NAME=VALUE"),
        (["train", "--detector", "magic"], "unknown detector 'magic'"),
        (["evaluate", "nothing"], "does not exist"),
        (["features", "import", "nothing.npz", "--dataset", "ucf"], r"nothing\.npz does not exist"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KgvadError, match=message) as caught:
        kgvad(*arguments)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_names_the_video(archive, tmp_path):
    data = bytearray(archive.read_bytes())
    (archive.parent / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(FeatureError, match=r"cut\.npz cannot be read"):
        kgvad("features", "import", archive.parent / "cut.npz", "--dataset", "ucf", "--output", tmp_path / "f")
    np.savez(archive.parent / "other.npz", stranger=np.ones((4, 3)))
    with pytest.raises(FeatureError, match="name none of these videos"):
        kgvad("features", "import", archive.parent / "other.npz", "--dataset", "ucf", "--output", tmp_path / "f")


def test_an_unfinished_run_is_not_evaluated(features, tmp_path):
    train(features, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(RunError, match="is unfinished"):
        kgvad("evaluate", tmp_path / "run", "--features", features)


@pytest.mark.parametrize(
    ("normal_splits", "remedy"),
    [({"train"}, "put some of the . abnormal videos into the training split"), ({"train", "test"}, "add abnormal vid")],
)
def test_training_videos_of_one_kind_are_refused(normal_splits, remedy, features, tmp_path):
    truth = json.loads((features / "dataset.json").read_text())
    for video in truth["videos"].values():
        if video["split"] in normal_splits:
            video["labels"] = []
    (features / "dataset.json").write_text(json.dumps(truth))
    with pytest.raises(FeatureError, match=f"all 12 training videos of ucf are normal; {remedy}"):
        train(features, tmp_path / "run")


def test_options():
    assert parse_options(["width=8", "guidance=false", "name=abc", "x=0.5"]) == {
        "width": 8,
        "guidance": False,
        "name": "abc",
        "x": 0.5,
    }
    assert parse_options(["captions.width=8", 'captions={"layers": 1}']) == {"captions": {"width": 8, "layers": 1}}


def test_folder_datasets(tmp_path, caplog):
    for name in ("Fighting/a.mp4", "Fighting/b.mp4", "Normal/c.mp4", "SlipAndFall/d.avi"):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    truth = folder_truth(tmp_path / "shop", "shop")
    assert truth.categories == ("Normal", "Fighting", "SlipAndFall")
    assert sorted(video.labels for video in truth.videos.values()) == [
        (),
        ("Fighting",),
        ("Fighting",),
        ("SlipAndFall",),
    ]
    table = folder_table(truth)
    assert table.names == ["Normal", "Fighting", "SlipAndFall"]
    assert table.category("Fighting").items  # the bundled table knows it
    assert table.category("SlipAndFall").text == "slip and fall"
    assert not caplog.text  # kgvad explain and kgvad serve read the table, too, and build no anchor
    (tmp_path / "shop" / "Normal" / "c.mp4").rename(tmp_path / "shop" / "stray.mp4")
    with pytest.raises(UsageError, match="is in no category"):
        folder_truth(tmp_path / "shop", "shop")
    (tmp_path / "shop" / "stray.mp4").unlink()
    with pytest.raises(UsageError, match="no sub-folder for Normal"):
        folder_truth(tmp_path / "shop", "shop")


def test_one_category_whose_accents_are_encoded_in_two_ways(tmp_path):
    """Archives from macOS write letters and accents apart (NFD): train and test had different categories."""
    for folder, form in (("train", "NFD"), ("test", "NFC")):
        for name in ("Normal", unicodedata.normalize(form, "Schlägerei")):
            (tmp_path / "own" / folder / name).mkdir(parents=True)
            (tmp_path / "own" / folder / name / "a.mp4").touch()
    assert len(folder_truth(tmp_path / "own", "own").categories) == 2


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["Fighting"], "no sub-folder for Normal; .* add ordinary footage"),
        (["Normal"], "no sub-folder for an abnormal category; .* add videos of one"),
        (["Fighting", "112", "Normal"], "shop: the label 112 of shop is a number.*; rename the sub-folder"),
        (["Fighting", "112"], "no sub-folder for Normal .*; rename the folder of normal videos"),
    ],
)
def test_what_a_folder_lacks_is_what_the_remedy_adds(tmp_path, categories, message):
    for category in categories:
        (tmp_path / "shop" / category).mkdir(parents=True)
        (tmp_path / "shop" / category / "a.mp4").touch()
    with pytest.raises(UsageError, match=message):
        folder_truth(tmp_path / "shop", "shop")


def test_a_folder_without_a_test_folder_holds_out_a_fifth_of_each_category(tmp_path):
    for category, count in (("Fighting", 10), ("Normal", 15)):
        (tmp_path / "own" / category).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "own" / category / f"{number:02}.mp4").touch()
    truth = folder_truth(tmp_path / "own", "own")
    test = truth.split("test")
    assert sorted(truth.videos[video].labels for video in test) == [(), (), (), ("Fighting",), ("Fighting",)]
    assert folder_truth(tmp_path / "own", "own").split("test") == test
    (tmp_path / "own" / "Fighting" / "00.mp4").unlink()  # nine are too few
    assert folder_truth(tmp_path / "own", "own").split("test") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Normal", True), ("normal_videos", True), ("Training_Normal_Videos_Anomaly", True), ("Abnormal", False)],
)
def test_which_folder_is_normal(name, expected):
    assert is_normal_name(name) is expected
