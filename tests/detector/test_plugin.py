"""A detector in a package of its own trains and scores like ours. docs/guides/my-detector.md shows the same one."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kgvad.detector import registry
from kgvad.errors import KgvadError

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
