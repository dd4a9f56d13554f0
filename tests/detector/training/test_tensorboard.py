"""``kgvad train --tensorboard``: the curves are the history, each epoch once."""

import json

import pytest
from detector_samples import kgvad, make_archive, train
from training_samples import EPOCHS, StopAfter, config, samples
from training_samples import train as train_samples

from kgvad.detector.training.tensorboard import FOLDER, TensorBoardLogger
from kgvad.errors import KgvadError


def curves(run):
    """Name to [(epoch, value)], as TensorBoard reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / FOLDER))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_the_curves_are_the_history(tmp_path):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    train(tmp_path / "features", tmp_path / "run", "--tensorboard")
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    found = curves(tmp_path / "run")
    assert set(found) == set(history[0]) - {"epoch"} and "loss" in found
    for name, points in found.items():
        assert [step for step, _ in points] == [line["epoch"] for line in history]
        assert [value for _, value in points] == pytest.approx([line[name] for line in history])


def test_a_resumed_run_has_every_epoch_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_samples(samples(), config(), tmp_path, callbacks=[TensorBoardLogger(tmp_path), StopAfter(2)])
    train_samples(samples(), config(), tmp_path, callbacks=[TensorBoardLogger(tmp_path)])
    assert [step for step, _ in curves(tmp_path)["loss"]] == list(range(1, EPOCHS + 1))
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_a_run_that_was_trained_before_gets_its_curves(tmp_path):
    train_samples(samples(), config(), tmp_path)
    train_samples(samples(), config(), tmp_path, callbacks=[TensorBoardLogger(tmp_path)])
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert [value for _, value in curves(tmp_path)["loss"]] == pytest.approx(losses)


def test_without_tensorboard_the_remedy_is_given_before_training(tmp_path, monkeypatch):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    monkeypatch.setattr("kgvad.detector.training.tensorboard.find_spec", lambda name: None)
    with pytest.raises(KgvadError, match=r'needs the package tensorboard; pip install "kgvad\[tensorboard\]"'):
        train(tmp_path / "features", tmp_path / "run", "--tensorboard")
    assert not (tmp_path / "run").exists()
