"""``kgvad extract``, and that ``kgvad train`` finds what it made."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad

from kgvad.detector.data.annotations import Truth
from kgvad.errors import FeatureError
from kgvad.settings import load_settings
from kgvad.video.write import write_video

TRAIN = ("train", "--set", "anchors=false", "--set", "width=8", "--epochs", 1)


def videos(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        frames = np.random.default_rng(number).integers(0, 255, (34, 32, 48, 3), dtype=np.uint8)
        write_video(folder / name, iter(frames), 16)


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    """Messages reach ``caplog``."""
    monkeypatch.setattr(logging.getLogger("kgvad"), "propagate", True)


@pytest.fixture
def extract(weights):
    weights("efficientnet-lite0")

    def run(*arguments):
        return Path(kgvad("extract", *arguments, "--encoder", "efficientnet-lite0", "--workers", 1).strip())

    return run


def test_a_folder_dataset_is_found_by_training(extract, caplog):
    videos(Path("shop"), ["Robbery/a.mp4", "Robbery/b.mp4", "Normal/c.mp4", "Normal/d.mp4"])
    store = extract("shop")
    assert store == load_settings().features_root("shop") / "efficientnet-lite0"
    assert f"features of dataset shop: {store.parent}" in caplog.text
    assert Truth.load(store.parent).videos["Robbery/a"].labels == ("Robbery",)
    run = Path(kgvad(*TRAIN).strip())  # one dataset has features: no other needs to be named
    config = json.loads((run / "config.json").read_text())
    assert (config["dataset"], config["videos"], config["categories"]) == ("shop", 4, ["Normal", "Robbery"])


def test_folders_of_one_name_are_not_mixed_up(extract):
    """The test videos of the other one were measured, without a word."""
    names = [f"{split}/{category}/{split}.mp4" for split in ("train", "test") for category in ("Robbery", "Normal")]
    for home in ("a", "b"):
        videos(Path(home, "shop"), names)
    first, second = extract("a/shop"), extract("b/shop")
    assert first.parent == load_settings().features_root("shop") and second.parent.name.startswith("shop-")
    kgvad(*TRAIN, "--dataset", "b/shop", "--threshold-folds", 0)
    config = json.loads((load_settings().run_folder(second.parent.name) / "config.json").read_text())
    assert config["dataset"] == second.parent.name
    assert not load_settings().run_folder("shop").exists()
    for arguments in ([*TRAIN], ["evaluate", "b"]):
        with pytest.raises(FeatureError, match=r"has the features of another folder, .*a.shop; name another place"):
            kgvad(*arguments, "--dataset", "b/shop", "--features", first.parent)
    shutil.rmtree("a")  # moved
    assert extract("b/shop") == first
    assert Truth.load(first.parent).folder == str(Path("b/shop").resolve())


def test_evaluation_reads_the_annotations_that_the_folder_has_now(extract, tmp_path, caplog):
    names = [f"{split}/{category}/{split}.mp4" for split in ("train", "test") for category in ("Robbery", "Normal")]
    videos(Path("shop"), names)
    extract("shop")
    kgvad(*TRAIN, "--threshold-folds", 0, "--run", "run")
    kgvad("evaluate", "run", "--resamples", 0, "--json", "before.json")
    assert "1 abnormal test video" in caplog.text
    Path("shop/annotations.csv").write_text("video,start_frame,end_frame\ntest/Robbery/test,0,17\n")
    kgvad("evaluate", "run", "--resamples", 0, "--json", "after.json")
    figures = [json.loads(Path(f"{name}.json").read_text())["methods"][0]["summary"] for name in ("before", "after")]
    assert figures[0]["frame_auc"]["mean"] is None and figures[1]["frame_auc"]["mean"] is not None


def test_extraction_on_a_cpu_starts_without_torch(extract):
    """It takes as long to import as a short video to extract, and half of the memory."""
    videos(Path("shop"), ["Robbery/a.mp4", "Normal/c.mp4"])
    extract("shop")  # converts the weights, which needs torch
    code = (
        "import sys\nfrom kgvad.cli import main\n"
        "sys.argv = 'kgvad extract shop --encoder efficientnet-lite0 --device cpu --output again --workers 1'.split()\n"
        "try: main()\nexcept SystemExit: print(sorted({'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    arrays = sorted(path.relative_to("again") for path in Path("again").rglob("*.npy"))
    assert len(arrays) == 2
    first = load_settings().features_root("shop")
    assert all((first / path).read_bytes() == ("again" / path).read_bytes() for path in arrays)


def test_videos_of_a_bundled_dataset_are_found_by_training(extract, tmp_path):
    names = ["Robbery/Robbery001_x264.mp4", "Normal_Videos/Normal_Videos001_x264.mp4"]
    videos(tmp_path / "videos", names)
    store = extract(tmp_path / "videos", "--dataset", "ucf")
    assert store == load_settings().features_root("ucf") / "efficientnet-lite0"
    truth = Truth.load(store.parent)
    assert len(truth.categories) == 14 and truth.videos["Robbery/Robbery001_x264"].labels == ("Robbery",)
    config = json.loads((Path(kgvad(*TRAIN, "--dataset", "ucf").strip()) / "config.json").read_text())
    assert (config["dataset"], config["videos"], config["abnormal_videos"]) == ("ucf", 2, 1)


def test_official_lists_match_videos_in_sub_folders(extract, tmp_path):
    videos(tmp_path / "all", ["part1/Robbery001_x264.mp4", "part2/Normal_Videos001_x264.mp4"])
    lists = tmp_path / "lists"
    lists.mkdir()
    training = "Robbery/Robbery001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\n"
    (lists / "Anomaly_Train.txt").write_text(training)
    (lists / "Anomaly_Test.txt").write_text("Abuse/Abuse028_x264.mp4\n")
    (lists / "Temporal_Anomaly_Annotation.txt").write_text("Abuse028_x264.mp4  Abuse  165  240  -1  -1\n")
    root = extract(tmp_path / "all", "-d", "ucf", "--lists", lists).parent
    assert Truth.load(root).videos["part1/Robbery001_x264"].labels == ("Robbery",)
    (root / "dataset.json").unlink()
    with pytest.raises(FeatureError, match=r"these videos have no labels"):
        kgvad(*TRAIN, "--dataset", "ucf")
    run = Path(kgvad(*TRAIN, "--dataset", "ucf", "--lists", lists).strip())
    assert json.loads((run / "config.json").read_text())["videos"] == 2


def test_videos_without_labels_go_to_the_configured_dataset(extract, caplog):
    videos(Path("clips"), ["a.mp4"])
    Path("kgvad.toml").write_text('dataset = "xd"\n')
    assert extract("clips/a.mp4").parent == load_settings().features_root("xd")
    assert "the labels of these videos are unknown: train with --lists" in caplog.text
