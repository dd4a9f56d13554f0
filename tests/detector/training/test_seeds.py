"""Training as ordered on the command line: captions beside features, seeds side by side."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from detector_samples import ToyWords, fail_or_die, kgvad, make_archive, swap_labels, text_store, train
from toy_bank import toy_bank

from kgvad.detector.data.annotations import Truth
from kgvad.detector.evaluation.evaluator import find_methods
from kgvad.detector.run import Run, read_config
from kgvad.detector.training.process_pool import run_in_parallel
from kgvad.errors import FeatureError, RunError, UsageError
from kgvad.files import sha256
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    archive = make_archive(folder)
    kgvad("features", "import", archive, "--dataset", "ucf", "--output", folder / "features")
    return folder / "features"


def test_a_run_of_other_labels_or_features_is_not_taken_for_this_one(features, tmp_path):
    """Same settings, same number of videos: only the videos themselves tell the runs apart."""
    mine = shutil.copytree(features, tmp_path / "features")
    run, fast = tmp_path / "run", ("--threshold-folds", 0)
    train(mine, run, *fast)
    before = sha256(run / "model.safetensors")
    train(mine, run, *fast)
    assert sha256(run / "model.safetensors") == before
    swap_labels(mine, "Arson000_x264", "Normal002_x264")
    with pytest.raises(RunError, match=r"of training videos with other names, labels or features; .*--overwrite"):
        train(mine, run, *fast)
    swap_labels(mine, "Arson000_x264", "Normal002_x264")
    path = mine / "imported/Arson000_x264.npy"
    np.save(path, np.load(path) + 1)
    with pytest.raises(RunError, match="other names, labels or features"):
        train(mine, run, *fast)
    train(mine, run, *fast, "--overwrite")
    assert sha256(run / "model.safetensors") != before


def test_several_seeds_are_not_trained_into_a_run(features, tmp_path):
    """kgvad evaluate would then see the run and not its seeds."""
    train(features, tmp_path / "run", "--threshold-folds", 0)
    with pytest.raises(RunError, match="run holds one run; name another place with --run for a folder of seeds"):
        train(features, tmp_path / "run", "--threshold-folds", 0, "--seeds", 2)


def test_a_folder_of_seeds_is_no_run_and_the_remedy_names_one(features, tmp_path):
    train(features, tmp_path / "runs", "--threshold-folds", 0, "--seeds", 2)
    with pytest.raises(RunError, match=r"it has no config.json; name one in it, such as .*seed-0$"):
        read_config(tmp_path / "runs")


def test_thresholds_that_are_kept_are_said(features, tmp_path, caplog):
    train(features, tmp_path / "run", "--threshold-folds", 2)
    assert "are kept" not in caplog.text
    train(features, tmp_path / "run", "--threshold-folds", 3)
    assert "are kept; delete its thresholds.json to measure them anew" in caplog.text


def test_a_run_without_a_fingerprint_of_its_data_is_kept(features, tmp_path):
    run = tmp_path / "runs"
    train(features, run, "--threshold-folds", 0, "--seeds", 2)
    path = run / "seed-0/config.json"
    config = json.loads(path.read_text())
    del config["data_fingerprint"]
    path.write_text(json.dumps(config))
    train(features, run, "--threshold-folds", 0, "--seeds", 2)
    ((_, seeds),) = find_methods(run)
    assert len(seeds) == 2


@pytest.fixture
def semvad(features, tmp_path):
    """Train semvad with the toy bank and a store of caption embeddings."""
    toy_bank().save(tmp_path / "bank.safetensors")

    def run(text, name="run", *more):
        """Without the loss that needs the captions as text, unless ``more`` says otherwise."""
        common = ["train", "--dataset", "ucf", "--features", features, "--anchors", tmp_path / "bank.safetensors"]
        options = ["--detector", "semvad", "--set", "width=16", "--epochs", 1, "--run", tmp_path / name]
        options += [] if "--caption-texts" in more else ["--set", "semantic_weight=0"]
        return kgvad(*common, *options, "--captions", text, *more)

    return run


def test_captions_are_fused_and_videos_without_are_left_out(features, semvad, tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr("kgvad.detector.training.seeds.logger.info", notes.append)
    names = FeatureStore.open(features).ids()
    text = text_store(tmp_path / "text", names[:1] + names[3:])  # two train and have none; one is of another length
    semvad(text)
    assert f"3 training videos have no captions of their length in {text}/words and are left out" in notes
    config = read_config(tmp_path / "run")
    assert (config.videos, config.caption_dim) == (9, 5)
    assert config.captions_fingerprint == FeatureStore.open(text).fingerprint
    evaluated = kgvad("evaluate", tmp_path / "run", "--features", features, "--captions", text, "--resamples", 5)
    assert "6 test videos" in evaluated
    with pytest.raises(RunError, match=r"other settings \(caption_dim, captions_fingerprint"):
        semvad(text_store(tmp_path / "wide", names[3:], dim=7))


def test_captions_of_another_encoder_are_refused_and_captions_that_nobody_reads_too(features, semvad, tmp_path):
    names = FeatureStore.open(features).ids()
    text = text_store(tmp_path / "text", names)
    semvad(text)
    other = FeatureStore.create(tmp_path / "other", Manifest(encoder="words", dim=5, weights="others"))
    for name in names:
        other.add(name, np.ones((9, 5), np.float32), VideoEntry(frame_count=135, fps=30, rows=9))
    scoring = ("score", features, "--output", tmp_path / "scores", "--captions")
    assert kgvad(*scoring, text, "--run", tmp_path / "run", "--video", names[3])
    for command in ((*scoring, other.root, "--run"), ("evaluate", "--features", features, "--captions", other.root)):
        with pytest.raises(
            FeatureError, match=r"other/words: the captions are not by the text encoder that .*\(words\)"
        ):
            kgvad(*command, tmp_path / "run")
    train(features, tmp_path / "plain", "--threshold-folds", 0)
    with pytest.raises(UsageError, match=r"plain \(anchor-aligned\) reads no --captions; leave them out"):
        kgvad(*scoring, text, "--run", tmp_path / "plain")


def test_class_prompts_are_made_of_the_words_of_the_captions(features, semvad, tmp_path, monkeypatch):
    encoder = ToyWords()
    monkeypatch.setattr("kgvad.detector.training.caption_words.load_text_encoder", lambda name, device: encoder)
    names = FeatureStore.open(features).ids()
    text = text_store(tmp_path / "text", names[:1] + names[1:])
    truth = Truth.load(features)
    train = [name for name in names if truth.videos[name].split == "train"]
    captions = {name: {"0": " ".join([*truth.videos[name].labels, "someone"] * 2)} for name in train}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    semvad(text, "run", "--caption-texts", tmp_path / "captions.json")
    run = Run.load(tmp_path / "run")
    prompts = dict(zip(run.config.categories, run.config.class_prompts, strict=True))
    assert prompts["Fighting"] == "fighting" and prompts["Arson"] == "arson"
    np.testing.assert_allclose(run.detector.class_prompts.numpy(), encoder.encode(run.config.class_prompts))
    assert '"semantic"' in (tmp_path / "run" / "history.jsonl").read_text()
    with pytest.raises(UsageError, match="words of the training captions; name their file with --caption-texts"):
        semvad(text, "none", "--set", "semantic_weight=1")


def test_texts_of_captions_that_no_class_prompt_needs_are_said_to_be_unused(features, tmp_path, caplog):
    (tmp_path / "captions.json").write_text('{"Arson000_x264": {"0": "a house is on fire"}}')
    train(features, tmp_path / "run", "--caption-texts", tmp_path / "captions.json")
    assert "anchor-aligned makes no class prompts of words here: --caption-texts changes nothing" in caplog.text


def test_features_and_captions_train_and_score_together(features, tmp_path):
    toy_bank().save(tmp_path / "bank.safetensors")
    videos = FeatureStore.open(features).ids()
    text = text_store(tmp_path / "text", ["of another length", *videos])
    options = ["--detector", "anchor-fused", "--set", "captions.width=8", "--epochs", 1, "--captions", text]
    common = ["--dataset", "ucf", "--features", features, "--anchors", tmp_path / "bank.safetensors"]
    kgvad("train", *common, *options, "--run", tmp_path / "fused")
    assert read_config(tmp_path / "fused").options["captions"]["width"] == 8
    scored = kgvad("score", features, "--run", tmp_path / "fused", "--captions", text, "-o", tmp_path / "scores")
    assert len(scored.split()) == len(videos)


def test_captions_that_are_missing_or_not_wanted_are_one_line(features, semvad, tmp_path):
    with pytest.raises(FeatureError, match=r"nowhere does not exist; make it with: kgvad features import"):
        semvad(tmp_path / "nowhere")
    with pytest.raises(FeatureError, match="no video in common"):
        semvad(text_store(tmp_path / "strange", ["x", "y"]))
    toy_bank().save(tmp_path / "bank.safetensors")
    source = ["--dataset", "ucf", "--features", features, "--detector", "semvad", "--run", tmp_path / "none"]
    with pytest.raises(UsageError, match=r"semvad reads captions beside features.*--captions"):
        kgvad("train", *source, "--anchors", tmp_path / "bank.safetensors")
    with pytest.raises(UsageError, match="anchor-aligned does not read captions"):
        train(features, tmp_path / "none", "--captions", text_store(tmp_path / "text", ["x"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--patience", 3], "--patience needs held-out videos"),
        (["--learning-rate", 0], "learning_rate: Input should be greater than 0"),
    ],
)
def test_wrong_recipes_are_one_line(features, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        kgvad("train", "-d", "ucf", "--features", features, "--run", tmp_path, "--set", "anchors=false", *options)


@pytest.mark.slow
def test_an_interrupt_ends_all_seeds_and_they_end_as_one_after_another(features, tmp_path):
    epochs = 12
    options = ["--dataset", "ucf", "--features", features, "--set", "anchors=false", "--set", "width=8"]
    options = [str(part) for part in [*options, "--epochs", epochs, "--seeds", 2, "--run"]]
    command = [sys.executable, "-m", "kgvad", "train", *options, str(tmp_path / "runs"), "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    folders = [tmp_path / "runs" / f"seed-{seed}" for seed in (0, 1)]
    while not any((folder / "resume.safetensors").is_file() for folder in folders):
        assert process.poll() is None
        time.sleep(0.02)
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=30)[1]
    assert process.returncode != 0 and "Traceback" not in message
    assert len(children) == 2 and not any(Path(f"/proc/{child}").exists() for child in children)
    assert not any((folder / "model.safetensors").exists() for folder in folders)
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == [str(folder) for folder in folders]
    for folder in kgvad("train", *options, tmp_path / "single").split():
        same = Path(folder.replace("single", "runs"))
        assert sha256(f"{folder}/model.safetensors") == sha256(same / "model.safetensors")
        lines = (same / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epochs + 1))


def heed_interrupts():
    """A shell's background job starts with interrupts ignored, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children_of(pid):
    """Processes that ``pid`` started for its seeds; Python starts one more to look after them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_an_error_in_a_process_is_the_error_of_the_command():
    with pytest.raises(RunError, match="seed 3 is bad; take another"):
        list(run_in_parallel(fail_or_die, ["well", "fail"], 2))
    with pytest.raises(RunError, match="ended with code -9; repeat the command to resume"):
        list(run_in_parallel(fail_or_die, ["die"], 1))


def test_identical_videos_with_different_labels_are_said_once(features, tmp_path, caplog):
    mine = shutil.copytree(features, tmp_path / "features")
    options = ("--threshold-folds", 2, "--seeds", 2)
    shutil.copy(mine / "imported/Arson000_x264.npy", mine / "imported/Arson003_x264.npy")  # a copy of the same kind
    train(mine, tmp_path / "fine", *options)
    assert "identical features" not in caplog.text
    shutil.copy(mine / "imported/Arson000_x264.npy", mine / "imported/Normal002_x264.npy")
    train(mine, tmp_path / "run", *options)
    line = "training videos with identical features have different labels: Arson000_x264 (Arson), Arson003_x264 (Arson)"
    assert caplog.text.count(f"{line}, Normal002_x264 (Normal); leave one out") == 1
