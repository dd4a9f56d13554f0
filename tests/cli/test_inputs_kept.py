"""No command writes over what it reads, and devices and links are written to, never replaced."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.errors import KgvadError, UsageError
from kgvad.explain.explainer import Explainer
from kgvad.explain.media.clips import cut_clips
from kgvad.explain.scorers.score_files import ScoreFileScorer
from kgvad.files import refuse_inputs, write_text
from kgvad.video.write import write_video

SCORES = {"scores": [0.1, 0.1, 0.9, 0.9, 0.1, 0.1]}


@pytest.fixture
def clip(tmp_path):
    """A video of four seconds with scores of another program: an event in the middle."""
    pictures = np.random.default_rng(0).integers(0, 256, (96, 48, 64, 3), np.uint8)
    write_video(tmp_path / "clip.mp4", pictures, 24)
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    return tmp_path / "clip.mp4"


def refused(*arguments, keeps):
    """The command names ``keeps`` as an input, and the file stays as it was."""
    before = keeps.read_bytes()
    with pytest.raises(UsageError, match="is one of the inputs"):
        kgvad(*arguments)
    assert keeps.read_bytes() == before


def test_explain_keeps_video_scores_captions_and_runs(clip, tmp_path):
    scores = tmp_path / "scores.json"
    captions = tmp_path / "captions.json"
    captions.write_text('{"0": "a man walks"}')
    (tmp_path / "link.md").symlink_to(clip)
    (tmp_path / "hard.json").hardlink_to(scores)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    plain = ("explain", clip, "--scores", scores, "--no-actions")
    refused(*plain, "-o", clip, "--format", "md", keeps=clip)
    refused(*plain, "-o", tmp_path / "link.md", keeps=clip)
    refused(*plain, "-o", tmp_path / "hard.json", keeps=scores)
    refused(*plain, "-o", tmp_path / "sub" / ".." / "scores.json", keeps=scores)
    refused(*plain, "--save-scores", scores, keeps=scores)
    refused("explain", clip, "--captions", captions, "-o", captions, keeps=captions)
    refused("explain", clip, "--run", run, "-o", run / "config.json", keeps=run / "config.json")


def test_two_names_of_one_output_are_refused(clip, tmp_path):
    command = ("explain", clip, "--scores", tmp_path / "scores.json", "-o", tmp_path / "r.md")
    with pytest.raises(UsageError, match="names an output that another option writes"):
        kgvad(*command, "-o", tmp_path / "sub" / ".." / "r.md")
    with pytest.raises(UsageError, match=r"--save-scores .*r\.json names an output that another option writes"):
        kgvad(*command[:4], "-o", tmp_path / "r.json", "--save-scores", tmp_path / "r.json")


def test_reports_of_a_folder_keep_its_scores(clip, tmp_path):
    (tmp_path / "videos").mkdir()
    clip.rename(tmp_path / "videos" / "clip.mp4")
    (tmp_path / "given").mkdir()
    kept = tmp_path / "given" / "clip.json"
    kept.write_text(json.dumps(SCORES))
    refused("explain", tmp_path / "videos", "--scores", kept.parent, "-o", kept.parent, keeps=kept)


def test_a_video_called_index_keeps_its_report(clip, tmp_path):
    (tmp_path / "videos").mkdir()
    clip.rename(tmp_path / "videos" / "index.mp4")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "index.json").write_text(json.dumps(SCORES))
    out = tmp_path / "out"
    for _ in range(2):  # the second call reuses the report
        kgvad("explain", tmp_path / "videos", "--scores", tmp_path / "given", "-o", out, "--no-actions")
        assert "Report" in (out / "index.mp4.html").read_text()
        assert 'href="index.mp4.html"' in (out / "index.html").read_text()
        assert json.loads((out / "index.json").read_text())["entries"][0]["page"] == "index.mp4.html"


def test_clips_replace_earlier_clips_and_nothing_else(clip, tmp_path):
    report = Explainer(ScoreFileScorer(tmp_path / "scores.json", load_bank=lambda: None)).explain(clip).report
    folder = tmp_path / "clips"
    first = cut_clips(clip, report, folder)
    assert cut_clips(clip, report, folder) == first
    other = clip.read_bytes()
    first[1].write_bytes(other)
    with pytest.raises(UsageError, match=r"already exists and is not a clip of clip\.mp4"):
        cut_clips(clip, report, folder)
    assert first[1].read_bytes() == other


def test_other_commands_keep_their_inputs(clip, tmp_path):
    archive = make_archive(tmp_path)
    kgvad("features", "import", archive, "--dataset", "ucf", "--output", tmp_path / "features")
    store = tmp_path / "features" / "imported"
    train(tmp_path / "features", tmp_path / "run")
    refused("extract", clip, "-o", clip, keeps=clip)
    refused("features", "import", store, "-e", "imported", "-o", store.parent, keeps=store / "manifest.json")
    link = tmp_path / "scored" / "Arson000_x264.json"
    link.parent.mkdir()
    (link).symlink_to(store / "manifest.json")
    score = ("score", store.parent, "--run", tmp_path / "run", "--format", "json")
    refused(*score, "-o", link.parent, keeps=store / "manifest.json")
    config = tmp_path / "run" / "config.json"
    refused("evaluate", tmp_path / "run", "--features", store.parent, "--json", config, keeps=config)
    figures = tmp_path / "figures.json"
    figures.write_text("{}")
    refused("results", figures, "--json", figures, keeps=figures)
    bank = tmp_path / "bank.safetensors"
    bank.write_bytes(b"bank")
    refused("anchors", "export", bank, "--csv", bank, keeps=bank)
    (tmp_path / "bank.svg").symlink_to(bank)
    refused("anchors", "plot", bank, keeps=bank)
    database = tmp_path / "graph.sqlite"
    url = f"sqlite:///{database}"
    kgvad("kg", "show", "Arson", "--store", url)
    refused("kg", "export", "--store", url, "-o", database, "--format", "nq", keeps=database)
    refused("kg", "show", "Arson", "--store", url, "--svg", database, keeps=database)
    refused("datasets", "init", "x", "-c", "a", "--offline", "--force", "--store", url, "-o", database, keeps=database)
    refused("build-anchors", "--store", url, "--output", database, keeps=database)


def test_the_settings_file_is_an_input_of_every_command():
    Path("kgvad.toml").write_text('dataset = "ucf"\n')
    refused("demo", "kgvad.toml", keeps=Path("kgvad.toml"))


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/target.txt")
    for text in ("new", "newer"):  # the target is made, then replaced
        write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "target.txt").read_text() == text
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(KgvadError, match=r"cannot write .*loop: Too many levels"):
        write_text(tmp_path / "loop", "x")


def test_devices_are_written_to_and_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", "through")
    reader.join(10)
    assert read == ["through"]
    assert (tmp_path / "pipe").is_fifo()
    write_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(KgvadError, match=r"cannot write /dev/full: No space left"):
        write_text("/dev/full", "x")
    refuse_inputs({"--output": ["/dev/null", "/dev/null"]}, ["/dev/null"])


def test_dev_stdout_keeps_the_file_that_stdout_goes_to(tmp_path):
    code = "from kgvad.files import write_text\nprint('a')\nwrite_text('/dev/stdout', 'b\\n')\nprint('c')"
    with (tmp_path / "out").open("w") as out:
        inode = os.fstat(out.fileno()).st_ino
        subprocess.run([sys.executable, "-c", code], cwd="/", stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "a\nb\nc\n"
    assert (tmp_path / "out").stat().st_ino == inode


def test_names_as_long_as_a_file_system_allows(tmp_path):
    name = "長" * 83 + ".json"  # 254 bytes
    write_text(tmp_path / name, "{}")
    assert os.listdir(tmp_path) == [name]
