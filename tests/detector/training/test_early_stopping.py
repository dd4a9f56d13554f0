"""Early stopping: on videos held out by video, and an interrupted run still ends as an uninterrupted one."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_samples import StopAfter, config, same, samples, train

from kgvad.detector.api import Output, Problem, Recipe
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.training.callbacks import TrainingState
from kgvad.detector.training.early_stopping import EarlyStopping, split_videos
from kgvad.errors import FeatureError

RECIPE = Recipe(epochs=12, normal_batch=4, abnormal_batch=4, learning_rate=3e-2, validation_share=0.25, patience=3)


def crops(count=3):
    return [TrainingSample(s.video, s.target, s.features + n) for s in samples() for n in range(count)]


def test_the_split_is_by_video_and_by_seed():
    rest, held = split_videos(crops(), 0, 0.25, seed=1)
    names = {s.video for s in held}
    assert len(names) == 2 + 4 and len(held) == 18 and not names & {s.video for s in rest}
    assert sum(name.startswith("0") for name in names) == 2  # of 8 normal and 16 abnormal videos
    assert names == {s.video for s in split_videos(crops()[::-1], 0, 0.25, seed=1)[1]}
    assert names != {s.video for s in split_videos(crops(), 0, 0.25, seed=2)[1]}
    assert len({s.video for s in split_videos(crops(), 0, 0.001, seed=1)[1]}) == 2


def test_copies_of_a_video_are_held_out_together():
    """A copy among the training videos would show the detector what the best epoch is chosen on."""
    twins = [TrainingSample(f"{s.video}-copy", s.target, s.features.copy()) for s in samples()[:4]]
    for seed in range(8):
        rest, held = ({s.video for s in part} for part in split_videos([*samples(), *twins], 0, 0.25, seed))
        assert not {name.removesuffix("-copy") for name in held} & {name.removesuffix("-copy") for name in rest}


def test_a_kind_with_one_video_cannot_be_split():
    with pytest.raises(FeatureError, match="1 normal training videos are too few"):
        split_videos(samples()[7:], 0, 0.1, seed=0)


class Fixed:
    """Scores of a detector that is its parameter; the largest tenth of ten rows is the largest."""

    name, problem = "fixed", Problem(1, ("Normal", "A"), 0)

    def __init__(self):
        self.max_snippets = None
        self.weight = torch.zeros(1)

    def eval(self):
        return self

    def parameters(self):
        return iter([self.weight])

    def state_dict(self):
        return {"weight": self.weight}

    def __call__(self, features, lengths, captions=None):
        return Output(features[..., 0] * self.weight)


def test_the_first_best_epoch_is_kept_and_patience_runs_out():
    def video(name, label, top):
        rows = np.zeros((10, 1), np.float32)
        rows[3] = top
        return TrainingSample(name, np.eye(2, dtype=np.float32)[label], rows)

    held = [video("n", 0, 1.0), video("m", 0, 2.0), video("a", 1, 1.5), video("b", 1, 3.0)]
    detector, stopping = Fixed(), EarlyStopping(held, 0, patience=2)
    state = TrainingState(detector)

    def epoch(change):
        detector.weight += change
        state.history.append({"epoch": len(state.history) + 1})
        stopping.on_epoch_end(state)
        return state.history[-1]

    assert epoch(1) == {"epoch": 1, "validation_auc": 0.75, "best_epoch": 1}
    assert not state.stop
    assert epoch(1) == {"epoch": 2, "validation_auc": 0.75, "best_epoch": 1}  # a tie keeps the first
    assert state.best["weight"] == 1
    assert epoch(-2) == {"epoch": 3, "validation_auc": 0.5, "best_epoch": 1}  # all scores are equal
    assert state.stop


def test_the_best_epoch_ends_in_the_run(tmp_path):
    run = train(samples(), config(recipe=RECIPE), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    aucs = [line["validation_auc"] for line in lines]
    best = aucs.index(max(aucs)) + 1
    assert lines[-1]["best_epoch"] == best
    assert len(lines) == min(RECIPE.epochs, best + RECIPE.patience) < RECIPE.epochs
    assert run.config.recipe.validation_share == 0.25 and run.config.recipe.patience == 3
    held = split_videos(samples(), 0, 0.25, 1)[1]
    assert EarlyStopping(held, 0, 1).measure(run.detector) == max(aucs)


@pytest.mark.parametrize("epoch", [1, 4])
def test_an_interrupted_run_keeps_its_best_epoch(tmp_path, epoch):
    whole = train(samples(), config(recipe=RECIPE), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(samples(), config(recipe=RECIPE), tmp_path / "cut", callbacks=[StopAfter(epoch)])
    assert any(name.startswith("best.") for name in load_file(tmp_path / "cut" / "resume.safetensors"))
    assert same(whole, train(samples(), config(recipe=RECIPE), tmp_path / "cut"))

    def lines(name):
        found = [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in found]

    assert lines("cut") == lines("whole")
