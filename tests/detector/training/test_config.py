"""The training configuration: a file, the command line, and what is refused."""

import json

import pytest
from detector_samples import kgvad, make_archive

from kgvad.detector.registry import detector_class
from kgvad.detector.run import read_config
from kgvad.detector.training.config import load_train_config, presets
from kgvad.errors import KgvadError, UsageError

TOML = """
detector = "anchor-fused"
seed = 3

[recipe]
epochs = 2
learning_rate = 0.01

[options.captions]
width = 16
"""


def test_a_file_is_completed_and_the_command_line_takes_precedence(tmp_path):
    (tmp_path / "train.toml").write_text(TOML)
    overrides = {"detector": None, "seed": None, "options": {}, "recipe": {"epochs": 7, "patience": None}}
    config = load_train_config(tmp_path / "train.toml", overrides)
    assert (config.detector, config.seed) == ("anchor-fused", 3)
    assert (config.recipe.epochs, config.recipe.learning_rate) == (7, 0.01)
    assert config.recipe.warmup == detector_class("anchor-fused").recipe.warmup  # not given: the detector's
    assert config.options["captions"]["width"] == 16 and config.options["visual"]["width"] == 128
    (tmp_path / "train.json").write_text(config.model_dump_json())
    assert load_train_config(tmp_path / "train.json", {}) == config


def test_an_option_may_be_set_to_none(tmp_path):
    config = load_train_config(None, {"detector": "anchor-text", "options": {"anomaly_cosine_weight": None}})
    assert config.options["anomaly_cosine_weight"] is None


def test_patience_needs_held_out_videos():
    with pytest.raises(UsageError, match="--patience needs held-out videos"):
        load_train_config(None, {"recipe": {"patience": 2}})


def test_presets_are_published_settings_and_the_file_takes_precedence(tmp_path):
    configs = {name: load_train_config(None, {}, name) for name in presets()}
    paper, code = configs["semvad-xd"], configs["semvad-xd-released"]
    assert (paper.recipe.mixed_batch, paper.recipe.learning_rate, paper.recipe.milestones) == (128, 2e-5, (3, 6, 10))
    assert [paper.options[name] for name in ("layers", "heads", "window", "form")] == [1, 1, 64, "paper"]
    assert [code.options[name] for name in ("layers", "heads", "window", "form")] == [3, 2, 8, "released"]
    assert configs["semvad-ucf-released"].recipe.epochs == 9 and configs["semvad-ucf"].recipe.epochs == 10
    (tmp_path / "own.toml").write_text("[options]\nwindow = 16\n")
    mixed = load_train_config(tmp_path / "own.toml", {"recipe": {"epochs": 2}}, "semvad-xd")
    assert (mixed.options["window"], mixed.recipe.epochs, mixed.options["layers"]) == (16, 2, 1)
    with pytest.raises(UsageError, match=r"^the preset vadclip-ucf: rtfm: unknown option 'learn'"):
        load_train_config(None, {"detector": "rtfm"}, "vadclip-ucf")
    with pytest.raises(UsageError, match=r"^the preset vadclip-ucf or the command line: recipe\.learning_rate: Input"):
        load_train_config(None, {"recipe": {"learning_rate": -1}}, "vadclip-ucf")
    with pytest.raises(UsageError, match="unknown preset 'semvad'; choose one of vadclip-ucf, "):
        load_train_config(None, {}, "semvad")


def test_sigma_greedy_needs_a_detector_that_supports_it():
    with pytest.raises(UsageError, match="sultani does not support sigma-greedy; leave --sigma-greedy out"):
        load_train_config(None, {"detector": "sultani", "recipe": {"sigma_decay": 0.5}})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "detector = ", "is not valid TOML"),
        ("a.json", "[1]", "is not an object"),
        ("a.json", '{"speed": 1}', "unknown field 'speed'; known are detector, options, recipe, "),
        ("a.toml", "[recipe]\nepohs = 2", "unknown field 'recipe.epohs'; known are epochs, "),
        ("a.toml", "[recipe]\nepochs = 0", "recipe.epochs: Input should be greater than"),
        ("a.toml", "[options]\nspeed = 1", "unknown option 'speed'; its options are width, "),
        ("a.toml", '[options]\nwidth = "x"', "option width: Input should be a valid integer"),
        ("a.toml", 'detector = "magic"', "unknown detector 'magic'"),
        ("a.toml", "recipe = 3", "recipe"),
        ("a.toml", "options = 3", "options"),
        ("a.toml", "detector = 3", "detector"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(KgvadError, match=message) as caught:
        load_train_config(tmp_path / name, {})
    assert "\n" not in str(caught.value)


def test_train_takes_a_file_and_the_run_repeats_from_its_configuration(tmp_path):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    settings = {"detector": "sultani", "recipe": {"epochs": 1, "normal_batch": 2, "abnormal_batch": 2}, "seed": 5}
    (tmp_path / "train.json").write_text(json.dumps(settings))
    common = ["train", "--dataset", "ucf", "--features", tmp_path / "features", "--config", tmp_path / "train.json"]
    kgvad(*common, "--run", tmp_path / "run", "--device", "cpu")
    config = read_config(tmp_path / "run")
    assert (config.detector, config.seed, config.recipe.epochs) == ("sultani", 5, 1)
    kgvad(*common, "--run", tmp_path / "other", "--epochs", 2, "--seed", 0)
    assert (read_config(tmp_path / "other").recipe.epochs, read_config(tmp_path / "other").seed) == (2, 0)
    with pytest.raises(UsageError, match="does not exist"):
        kgvad("train", "--config", tmp_path / "none.toml")
