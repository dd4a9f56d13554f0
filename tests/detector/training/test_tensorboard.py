"""``kgvad train --tensorboard``: the curves are the history, each epoch once."""

import json

import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.detector.training.tensorboard import FOLDER, Mirror, mirrored
from kgvad.errors import KgvadError


def curves(run):
    """Name to [(epoch, value)], as TensorBoard reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / FOLDER))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def write(run, epochs, loss=1.0):
    run.mkdir(exist_ok=True)
    lines = [json.dumps({"epoch": epoch, "loss": loss / epoch}) for epoch in range(1, epochs + 1)]
    (run / "history.jsonl").write_text("\n".join(lines) + "\n")


def test_the_curves_are_the_history(tmp_path):
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", tmp_path / "features")
    train(tmp_path / "features", tmp_path / "run", "--tensorboard")
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    found = curves(tmp_path / "run")
    assert set(found) == set(history[0]) - {"epoch"} and "loss" in found
    for name, points in found.items():
        assert [step for step, _ in points] == [line["epoch"] for line in history]
        assert [value for _, value in points] == pytest.approx([line[name] for line in history])


def test_a_run_that_goes_on_has_every_epoch_once(tmp_path):
    run = tmp_path / "run"
    with mirrored([run], 0.01):
        write(run, 3)
    with mirrored([run], 0.01):  # the checkpoint was of epoch 2; epoch 3 came out otherwise
        write(run, 5, loss=2.0)
    assert dict(curves(run)["loss"]) == pytest.approx({epoch: 2 / epoch for epoch in range(1, 6)})
    assert len(curves(run)["loss"]) == 5
    assert len(list((run / FOLDER).iterdir())) == 1


def test_a_history_that_begins_anew_replaces_the_curves_and_a_damaged_one_waits(tmp_path):
    run, mirror = tmp_path / "run", Mirror(tmp_path / "run")
    mirror.update()  # nothing there
    assert not run.exists()
    write(run, 4)
    mirror.update()
    (run / "history.jsonl").write_text('{"epoch": 1, "lo')
    mirror.update()
    write(run, 2, loss=7.0)
    mirror.close()
    assert curves(run)["loss"] == [(1, 7.0), (2, 3.5)]


def test_without_tensorboard_the_remedy_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("kgvad.detector.training.tensorboard.find_spec", lambda name: None)
    told = r'needs the package tensorboard; pip install "kgvad\[tensorboard\]"'
    with pytest.raises(KgvadError, match=told), mirrored([tmp_path]):
        raise AssertionError("training began")
