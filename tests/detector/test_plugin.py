"""A detector in a package of its own trains and scores like ours. docs/guides/my-detector.md shows the same one."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from kgvad.detector import registry
from kgvad.detector.api import Batch, Detector, Output, Problem
from kgvad.detector.scoring.infer import infer
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.errors import KgvadError, RunError

DOCS = Path(__file__).parents[2] / "docs" / "guides" / "my-detector.md"

TRY = """
    from pathlib import Path
    import numpy as np
    from kgvad.detector.api import Recipe
    from kgvad.detector.registry import check_options, detector_names
    from kgvad.detector.data.samples import TrainingSample
    from kgvad.detector.run import Run, RunConfig
    from kgvad.detector.scoring.infer import score_features
    from kgvad.detector.training.trainer import Trainer
    from kgvad.video.feature_store import VideoEntry

    assert "mean-mil" in detector_names()
    random = np.random.default_rng(0)
    samples = [
        TrainingSample(f"v{n}", np.eye(2, dtype=np.float32)[n % 2], random.normal(n % 2, 1, (9, 4)).astype(np.float32))
        for n in range(12)
    ]
    config = RunConfig(
        detector="mean-mil", options=check_options("mean-mil").model_dump(), recipe=Recipe(epochs=30), seed=0,
        dataset="toy", categories=("Normal", "Odd"), normal=0, dim=4, encoder="toy", features_fingerprint="f",
        videos=12, abnormal_videos=6,
    )
    Trainer(samples, config, Path("run")).fit()
    entry = VideoEntry(frame_count=150, fps=25.0, rows=9)
    odd = score_features(Run.load("run"), np.full((9, 4), 2.0, np.float32), entry, video="odd")
    calm = score_features(Run.load("run"), np.full((9, 4), -1.0, np.float32), entry, video="calm")
    assert odd.origin.scorer == "mean-mil" and odd.scores.mean() > calm.scores.mean() + 0.3, (odd.scores, calm.scores)
    print("fine")
"""


@pytest.mark.slow
def test_the_detector_of_the_docs_is_a_plugin(tmp_path):
    blocks = re.findall(r"```(?:python|toml)\n# (mean_mil\.py|pyproject\.toml)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    package = tmp_path / "package"
    package.mkdir()
    for name, text in blocks:
        (package / name).write_text(text)
    assert sorted(name for name, _ in blocks) == ["mean_mil.py", "pyproject.toml"]
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*map(str, install), str(package)], check=True, capture_output=True)
    (tmp_path / "try.py").write_text(textwrap.dedent(TRY))
    done = subprocess.run(
        [sys.executable, "try.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "fine", done.stderr[-2000:]


class Broken:
    name, value = "broken", "nowhere:Thing"

    def load(self):
        raise ImportError("No module named 'nowhere'")


def test_a_plugin_that_cannot_be_loaded_is_one_line(monkeypatch):
    monkeypatch.setattr("kgvad.plugins.installed", lambda group, path: [Broken()])
    assert "broken" in registry.detector_names()
    with pytest.raises(KgvadError, match=r"'broken' \(nowhere:Thing\) cannot be loaded: No module named"):
        registry.detector_class("broken")
    monkeypatch.setattr(Broken, "load", lambda self: dict)
    with pytest.raises(KgvadError, match="not a kgvad Detector class"):
        registry.detector_class("broken")


class NoOptions(BaseModel):
    """The detector has no options."""


class Mean(Detector):
    """A logistic regression that a test may break."""

    name = "mean"
    Config = NoOptions

    def __init__(self, problem, config):
        super().__init__(problem, config)
        self.net = torch.nn.Linear(problem.dim, 1)

    def forward(self, features, lengths, captions=None):
        return Output(self.net(features)[..., 0])

    def losses(self, output, batch):
        return {"mean": output.logits.mean()}


BATCH = Batch(torch.ones(2, 3, 4), torch.tensor([3, 2]), torch.eye(2), normal=0)
PROBLEM = Problem(4, ("Normal", "Odd"), 0)


@pytest.mark.parametrize("micro_batch", [0, 1])
@pytest.mark.parametrize(
    ("forward", "line"),
    [
        (lambda x: x[..., 0], "forward returned an object of type Tensor, not an Output"),
        (lambda x: None, "forward returned None, not an Output"),
        (lambda x: Output(x[..., :1]), r"Output.logits has shape \[., 3, 1\], not \[., 3\]"),
        (lambda x: Output(None), "Output.logits is None, not a tensor"),
        (lambda x: Output(x[..., 0], alignment=x), r"Output.alignment has shape \[., 3, 4\], not \[., 3, 2\]"),
        (lambda x: Output(x[..., 0], video=x[:, 0]), r"Output.video has shape \[., 4\], not \[., 2\]"),
    ],
)
def test_a_wrong_output_is_one_line(monkeypatch, forward, line, micro_batch):
    monkeypatch.setattr(Mean, "forward", lambda self, features, lengths, captions=None: forward(features))
    with pytest.raises(RunError, match=f"^mean: {line}; repair the detector"):
        backward(Mean(PROBLEM, NoOptions()), BATCH, micro_batch)
    with pytest.raises(RunError, match=f"^mean: {line}; repair the detector"):
        infer(Mean(PROBLEM, NoOptions()), np.ones((3, 4), np.float32))


@pytest.mark.parametrize("micro_batch", [0, 1])
@pytest.mark.parametrize(
    ("losses", "line"),
    [
        (lambda x: x.mean(), "losses returned an object of type Tensor, not a mapping"),
        (lambda x: {}, "losses returned an empty mapping, not a mapping"),
        (lambda x: {"mean": x.mean(1)}, r"the loss mean is a tensor of shape \[2\], not a scalar tensor"),
        (lambda x: {"mean": 0.5}, "the loss mean is an object of type float, not a scalar tensor"),
        (lambda x: {"mean": x.mean().detach()}, "no loss depends on a parameter"),
    ],
)
def test_wrong_losses_are_one_line(monkeypatch, losses, line, micro_batch):
    monkeypatch.setattr(Mean, "losses", lambda self, output, batch: losses(output.logits))
    with pytest.raises(RunError, match=f"^mean: {line}"):
        backward(Mean(PROBLEM, NoOptions()), BATCH, micro_batch)


def test_scores_that_are_not_finite_are_one_line():
    detector = Mean(PROBLEM, NoOptions())
    torch.nn.init.constant_(detector.net.weight, torch.nan)
    with pytest.raises(RunError, match="mean: scores of a video are not finite; train again"):
        infer(detector, np.ones((3, 4), np.float32))


class NoLosses(Mean):
    losses = Detector.losses


class NoConfig(Mean):
    Config = dict


class NoParameters(Mean):
    __init__ = Detector.__init__


@pytest.mark.parametrize(
    ("cls", "line"),
    [
        (NoLosses, r"detector 'bad' \(here:Bad\) has no losses; repair its package"),
        (NoConfig, r"detector 'bad' \(here:Bad\): Config is not a Pydantic model"),
        (NoParameters, "detector 'bad' has no parameters, so nothing can be trained"),
    ],
)
def test_a_detector_that_lacks_a_part_is_one_line(monkeypatch, cls, line):
    point = SimpleNamespace(name="bad", value="here:Bad", load=lambda: cls)
    monkeypatch.setattr("kgvad.plugins.installed", lambda group, path: [point])
    with pytest.raises(KgvadError, match=line):
        registry.build("bad", PROBLEM)
