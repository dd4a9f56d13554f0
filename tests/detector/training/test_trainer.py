"""Training: an interrupted run ends as an uninterrupted one, and nothing that exists is lost."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_bank import toy_bank
from training_samples import EPOCHS, StopAfter, config, same, samples, train

from kgvad.detector.api import Batch, Problem, Recipe
from kgvad.detector.data.samples import Sampler, TrainingSample
from kgvad.detector.registry import build, detector_class
from kgvad.detector.run import EXEMPLARS, Run
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.detector.training.trainer import learning_rate, sigma
from kgvad.errors import RunError

SUPPORT = str(Path(__file__).parents[2] / "support")


@pytest.mark.parametrize("epoch", [1, 3])
def test_interrupted_equals_uninterrupted_bit_for_bit(tmp_path, epoch):
    whole = train(samples(), config(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(samples(), config(), tmp_path / "cut", callbacks=[StopAfter(epoch)])
    with pytest.raises(RunError, match="is unfinished"):
        Run.load(tmp_path / "cut")
    torch.rand(17)  # the caller's random state is not part of a run
    resumed = train(samples(), config(), tmp_path / "cut")
    assert same(whole, resumed)
    lines = [json.loads(line) for line in (tmp_path / "cut" / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    assert not (tmp_path / "cut" / "resume.safetensors").exists()


def test_training_learns_and_leaves_the_callers_random_state(tmp_path):
    before = torch.get_rng_state()
    recipe = Recipe(epochs=20, normal_batch=8, abnormal_batch=8, learning_rate=1e-2)
    options = {"width": 8, "anchors": False, "dropout": 0.0}
    run = train(samples(), config(recipe=recipe, options=options), tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["mil"] < 0.9 * lines[0]["mil"]
    assert run.config.seed == 1


def test_seeds_differ(tmp_path):
    assert not same(train(samples(), config(), tmp_path / "a"), train(samples(), config(seed=2), tmp_path / "b"))


def test_adam_takes_weight_decay_as_an_l2_penalty(tmp_path):
    """Without weight decay the two are one; the published RTFM and CLIP-TSA use Adam."""

    def run(optimiser, decay):
        recipe = Recipe(epochs=EPOCHS, normal_batch=4, abnormal_batch=4, optimiser=optimiser, weight_decay=decay)
        return train(samples(), config(recipe=recipe), tmp_path / f"{optimiser} {decay}")

    assert same(run("adam", 0.0), run("adamw", 0.0)) and not same(run("adam", 0.1), run("adamw", 0.1))
    assert [detector_class(name).recipe.optimiser for name in ("rtfm", "clip_tsa", "vadclip")] == [
        "adam",
        "adam",
        "adamw",
    ]


def test_kill_leaves_a_run_that_goes_on(tmp_path):
    script = f"""
        import sys, time
        sys.path.insert(0, {SUPPORT!r})
        from training_samples import *
        from pathlib import Path
        class Report(Callback):
            def on_epoch_end(self, state):
                print(len(state.history), flush=True)
                time.sleep(0.3)
        train(samples(), config(), Path(sys.argv[1]), callbacks=[Report()])
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "cut")], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.strip() == "2":
            break
    with pytest.raises(RunError, match="another process trains"):
        train(samples(), config(seed=2), tmp_path / "cut", overwrite=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "cut" / "resume.safetensors").is_file()
    resumed = train(samples(), config(), tmp_path / "cut")
    assert not list((tmp_path / "cut").glob(".*"))
    assert same(resumed, train(samples(), config(), tmp_path / "whole"))


def test_a_finished_run_is_kept_and_other_settings_need_overwrite(tmp_path):
    first = train(samples(), config(), tmp_path / "run")
    assert train(samples(), config(), tmp_path / "run").fingerprint == first.fingerprint
    with pytest.raises(RunError, match=r"other settings \(seed\).*--overwrite"):
        train(samples(), config(seed=9), tmp_path / "run")
    assert Run.load(tmp_path / "run").fingerprint == first.fingerprint
    (tmp_path / "run" / EXEMPLARS).write_bytes(b"of the run that is replaced")
    assert train(samples(), config(seed=9), tmp_path / "run", overwrite=True).config.seed == 9
    assert not (tmp_path / "run" / EXEMPLARS).exists()  # a run with captions makes none, and showed these


def test_a_folder_that_holds_only_temporary_files_can_be_started_again(tmp_path):
    """A process killed in its first write leaves nothing else behind."""
    folder = tmp_path / "run"
    killed = "import os\nfrom kgvad.files import replacing\nwith replacing('run/config.json'): os._exit(9)"
    subprocess.run([sys.executable, "-c", killed], cwd=tmp_path, check=False)
    assert [path.name for path in folder.iterdir()] != []
    train(samples(), config(), folder)
    assert Run.load(folder).config == config()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="is not a run"):
        train(samples(), config(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"", "damaged"),
        ("model.safetensors", b"\x00" * 64, "damaged"),
        ("config.json", b"{", "config.json"),
        ("config.json", b"{}", "no version"),
    ],
)
def test_damaged_runs_are_one_line(tmp_path, name, content, message):
    train(samples(), config(recipe=Recipe(epochs=1)), tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        Run.load(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_an_option_that_the_detector_lacks_is_named_with_its_file(tmp_path):
    train(samples(), config(recipe=Recipe(epochs=1)), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"options": found["options"] | {"speed": 9}}))
    with pytest.raises(RunError, match=r"config\.json: anchor-aligned: unknown option 'speed'; its options are width"):
        Run.load(tmp_path / "run")


def test_a_run_of_a_detector_that_is_not_installed_says_what_to_install(tmp_path):
    train(samples(), config(recipe=Recipe(epochs=1)), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"detector": "mean-mil"}))
    with pytest.raises(RunError, match=r"unknown detector 'mean-mil'; install the package that it comes from"):
        Run.load(tmp_path / "run")


def test_a_cut_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(samples(), config(), tmp_path / "run", callbacks=[StopAfter(1)])
    path = tmp_path / "run" / "resume.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"resume\.safetensors cannot be used.*delete it"):
        train(samples(), config(), tmp_path / "run")


def test_no_run_there(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        Run.load(tmp_path / "none")


def test_a_loss_that_explodes_stops_with_one_line(tmp_path):
    bad = samples()
    bad[0] = TrainingSample("0-0", bad[0].target, np.full((4, 6), np.finfo(np.float32).max, np.float32))
    with pytest.raises(RunError, match="not finite"):
        train(bad, config(), tmp_path / "run")


def test_micro_batches_give_the_gradients_of_the_whole_batch():
    torch.manual_seed(0)
    options = {"width": 8, "layers": 1, "dropout": 0.0, "logit_adjustment": False}
    anchors = torch.nn.functional.normalize(torch.randn(3, 4), dim=-1)
    problem = Problem(6, ("Normal", "A", "B"), 0, anchors, torch.randn(5, 4), torch.tensor([0, 1, 1, 2, 2]))
    detector = build("anchor-aligned", problem, options)
    torch.nn.init.ones_(detector.context)
    lengths = torch.tensor([9, 4, 7, 9, 2])
    batch = Batch(torch.randn(5, 9, 6), lengths, torch.eye(3)[[0, 1, 2, 0, 1]], 0)
    whole = backward(detector, batch)
    expected = {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}
    detector.zero_grad()
    parts = backward(detector, batch, micro_batch=2)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, parameter in detector.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] < 0.001
    assert rates[55] == pytest.approx(0.5)


def test_steps_fall_to_a_tenth_after_each_milestone():
    recipe = Recipe(epochs=10, learning_rate=1.0, warmup=0.0, schedule="steps", milestones=(4, 8))
    rates = [learning_rate(recipe, step, 50) for step in range(50)]  # five steps an epoch
    assert rates == pytest.approx([1.0] * 20 + [0.1] * 20 + [0.01] * 10)


def test_sigma_decays_before_every_step():
    assert [sigma(Recipe(sigma_decay=0.99), step) for step in (0, 1, 68)] == pytest.approx(
        [0.99, 0.9801, 0.4998], abs=1e-4
    )


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_sigma_greedy_selects_by_distance_as_often_as_sigma_says(decay, tmp_path, monkeypatch):
    seen = []

    def losses(self, output, batch):
        seen.append(batch.select_by_distance)
        return {"sum": output.logits.sum()}

    monkeypatch.setattr(detector_class("vadclip"), "losses", losses)
    anchors = toy_bank()
    changes = {
        "detector": "vadclip",
        "options": {"width": 8, "positions": 32},
        "categories": tuple(anchors.categories),
        "recipe": Recipe(epochs=2, normal_batch=1, abnormal_batch=2, sigma_decay=decay),
        "bank_fingerprint": anchors.fingerprint,
    }
    train(samples(), config(**changes), tmp_path / "a", bank=anchors)
    if decay in (0.0, 1.0):
        assert set(seen) == {bool(decay)}
    else:
        assert 0 < sum(seen) < 8  # expected: 1/2 + 1/4 + ...


def test_two_seeds_give_weights_and_the_order_of_the_videos(tmp_path):
    def first(seed, data_seed):
        run_config = config(seed=seed, data_seed=data_seed, recipe=Recipe(epochs=1, normal_batch=4, abnormal_batch=4))
        return train(samples(), run_config, tmp_path / f"{seed}-{data_seed}")

    assert same(first(1, 1), first(1, None))
    assert not same(first(1, 1), first(1, 2))
    orders = [Sampler(np.eye(3)[np.arange(24) % 3], 0, 4, 4, config(seed=s, data_seed=7).order_seed) for s in (1, 2)]
    assert all((a == b).all() for a, b in zip(*(order.epoch(1) for order in orders), strict=True))


def test_a_mixed_batch_draws_from_one_list():
    sampler = Sampler(np.eye(2)[[0] * 9 + [1] * 3], 0, 1, 1, seed=0, mixed_batch=5)
    batches = list(sampler.epoch(1))
    assert [len(batch) for batch in batches] == [5, 5, 5] and sampler.steps == 3
    assert sorted(set(np.concatenate(batches).tolist())) == list(range(12))


@pytest.mark.parametrize("name", ["anchor-aligned", "sultani", "rtfm", "clip_tsa", "vadclip"])
@pytest.mark.parametrize("micro_batch", [0, 2])
def test_half_precision_comes_near_full_precision(name, micro_batch):
    anchors = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    batch = Batch(torch.rand(4, 20, 16), torch.tensor([20, 12, 7, 20]), torch.eye(3)[[0, 1, 2, 0]], 0)
    losses = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        options = {} if name == "sultani" else {"width": 16}
        detector = build(name, Problem(16, ("Normal", "A", "B"), 0, anchors), options)
        detector.prepare(list(batch.features))
        losses[precision] = backward(detector, batch, micro_batch, precision)
        assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)
    for term, value in losses["fp32"].items():
        assert losses["bf16"][term] == pytest.approx(value, rel=0.1, abs=0.02), term
    assert losses["bf16"] != losses["fp32"]
