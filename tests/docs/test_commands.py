"""Every command on README and the guides runs as it stands there; every other one exists with its options."""

import json
import shutil

import pytest
from pages import GUIDES, PAGES, ROOT, commands, mentions
from typer.testing import CliRunner

from kgvad.cli import app, global_options_first
from kgvad.reference import commands as known_commands
from kgvad.video import demo_dataset, extract_folder

CSV = "start,end,score\n0,8,0.08\n8,16,0.11\n16,24,0.84\n24,32,0.91\n32,36,0.12\n"
CAPTIONS = {"0": "cars drive along a street", "32": "a car crashes into another car", "48": "a fire burns on the road"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The dataset of `kgvad demo --dataset` at 6 frames per second, rendered once for all pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_dataset, "FPS", 6)
        return demo_dataset.render_dataset(tmp_path_factory.mktemp("rendered") / "dataset")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One home folder for all pages, as a reader of several guides has."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def sandbox(rendered, home, weights, tmp_path, monkeypatch):
    """The files that a reader of a guide is said to have, in the working folder."""
    for name in ("efficientnet-lite0", "i3d-k400", "minilm-l6"):
        weights(name)
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    monkeypatch.setenv("KGVAD_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo_dataset, "render_dataset", lambda folder: shutil.copytree(rendered, folder))
    monkeypatch.setattr(extract_folder, "_default_workers", lambda encoder, videos: 1)  # processes start slowly
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)  # `kgvad serve` would not end
    for target, source in {
        "video.mp4": "test/RoadAccidents/RoadAccidents004.mp4",
        "scene.mp4": "test/Explosion/Explosion004.mp4",
        "ordinary-day/morning.mp4": "test/Normal/Normal010.mp4",
        "videos/a.mp4": "test/Normal/Normal011.mp4",
        "videos/b.mp4": "test/Fighting/Fighting004.mp4",
        **{f"my_videos/Fighting/{n}.mp4": f"train/Fighting/Fighting00{n}.mp4" for n in (1, 2)},
        **{f"my_videos/Explosion/{n}.mp4": f"train/Explosion/Explosion00{n}.mp4" for n in (1,)},
        **{f"my_videos/Normal/{n}.mp4": f"train/Normal/Normal00{n}.mp4" for n in (1, 2)},
    }.items():
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(rendered / source, tmp_path / target)
    (tmp_path / "scores.csv").write_text(CSV)
    (tmp_path / "alert.txt").write_text("A car crashes into another car. There is no weapon.")
    (tmp_path / "captions.json").write_text(json.dumps({"video": CAPTIONS}))
    features(tmp_path / "my_features")
    (tmp_path / "their_scores").mkdir()
    for number, video in enumerate(sorted((rendered / "test").rglob("*.mp4"))):
        scores = {"0": 0.1, "16": number / 100}
        (tmp_path / "their_scores" / f"{video.stem}.json").write_text(json.dumps(scores))
    return tmp_path


def features(folder):
    """Features of another program: float32 [T, D], a file per video."""
    import numpy as np

    folder.mkdir()
    for number in range(3):
        np.save(folder / f"clip{number}.npy", np.random.default_rng(number).normal(size=(5, 8)).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_commands_run_as_they_stand(page, sandbox):
    for line in commands(page):
        if line.needs_network:
            continue
        result = CliRunner().invoke(app, global_options_first(line.words), prog_name="kgvad")
        assert result.exit_code == 0, f"{page.name}: {line}\n{result.output}\n{result.exception!r}"
        if line.stdout is not None:
            (sandbox / line.stdout).write_text(result.stdout)
        for word, following in zip(line.words, line.words[1:], strict=False):
            if word in ("--output", "--csv", "--save-scores", "--svg", "--run"):
                assert (sandbox / following).exists(), f"{page.name}: {line}: no {following}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists_with_its_options(page):
    known = {one.words: one for one in known_commands()}
    for line in mentions(page):
        path = ["kgvad"]
        for word in line.words:
            if (*path, word) not in known:
                break
            path.append(word)
        command = known[tuple(path)]
        options = {name for one in command.click.params for name in (*one.opts, *one.secondary_opts)}
        options |= {"--help", "--debug", "--quiet", "--verbose"}
        assert not command.is_group or set(line.words) <= {*path, "list|show|init", *options}, f"{page.name}: {line}"
        for word in line.words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options, f"{page.name}: {line}: no option {word}"


def test_a_command_that_does_not_exist_is_found(tmp_path):
    """The check itself notices a wrong command, a wrong option and a wrong command in a sentence."""
    for text in (
        "```console\nkgvad import-features x\n```\n",
        "```\nkgvad train --epoch 3\n```\n",
        "so `kgvad kg feed`.",
    ):
        page = tmp_path / "page.md"
        page.write_text(text)
        with pytest.raises((AssertionError, KeyError)):
            test_every_command_exists_with_its_options(page)


def test_guides_have_commands():
    assert sum(len(commands(page)) for page in GUIDES) > 40
