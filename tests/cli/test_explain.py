"""What a stranger types: `kgvad explain FILE` on every kind of file, good and bad, with nothing trained."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kgvad.video.write import write_video

KGVAD = Path(sys.executable).with_name("kgvad")


def explain(folder, *arguments, **environment):
    """Run the command in ``folder``; BLIP is out of reach."""
    return subprocess.run(
        [KGVAD, "explain", *map(str, arguments)],
        env={**os.environ, "KGVAD_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def moving(count, height=64, width=96):
    """A square that wanders over noise."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (height, width, 3), np.uint8)
    for index in range(count):
        picture = ground.copy()
        picture[10:30, index % (width - 20) :][:, :20] = 200
        yield picture


def audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def truncated(path):
    write_video(path, moving(64), 25)
    path.write_bytes(path.read_bytes()[:900])


BAD = {
    "missing": lambda path: None,
    "zero bytes": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is no video\n" * 100),
    "audio only": audio_only,
    "truncated": truncated,
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line_and_nothing_is_written(case, tmp_path):
    path = tmp_path / "clip.mp4"
    BAD[case](path)
    before = sorted(tmp_path.iterdir())
    done = explain(tmp_path, "clip.mp4", "--output", "report.md")
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith("kgvad: error: ") and "clip.mp4" in errors[0]
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_video_shorter_than_a_snippet(tmp_path, weights):
    weights("i3d-k400")
    write_video(tmp_path / "clip.mp4", moving(9), 25)
    done = explain(tmp_path, "clip.mp4")  # the last frame is repeated
    assert done.returncode == 0 and done.stdout.startswith("# Report on `clip.mp4`"), done.stderr
    weights("efficientnet-lite0")
    done = explain(tmp_path, "clip.mp4", "--encoder", "efficientnet-lite0")
    assert done.returncode == 1 and "clip.mp4" in done.stderr and done.stderr.count("error") == 1


def test_no_weights_and_no_network(tmp_path):
    write_video(tmp_path / "clip.mp4", moving(32), 25)
    done = explain(tmp_path, "clip.mp4", KGVAD_WEIGHTS="", KGVAD_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("kgvad: error: the weights efficientnet-lite0")
    assert "kgvad weights fetch efficientnet-lite0" in done.stderr


def test_a_named_encoder_is_never_replaced(tmp_path):
    write_video(tmp_path / "clip.mp4", moving(32), 25)
    done = explain(tmp_path, "clip.mp4", "--encoder", "clip")
    assert (done.returncode, done.stdout) == (1, "")
    assert "clip-vit-base-patch16" in done.stderr


def test_unknown_dataset_lists_the_known_ones(tmp_path, weights):
    weights("efficientnet-lite0")
    write_video(tmp_path / "clip.mp4", moving(32), 25)
    done = explain(tmp_path, "clip.mp4", "--dataset", "nothing", "--captions", "c.json")
    assert (done.returncode, done.stdout) == (2, "")
    (tmp_path / "c.json").write_text('{"0": "a man walks"}')
    done = explain(tmp_path, "clip.mp4", "--dataset", "nothing", "--captions", "c.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ucf" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("height", "width", "rate"), [(47, 61, 25), (64, 96, Fraction(7, 2))])
def test_odd_sizes_and_odd_rates_are_explained(tmp_path, weights, height, width, rate):
    weights("efficientnet-lite0")
    weights("minilm-l6")
    write_video(tmp_path / "clip.mp4", moving(50, height, width), rate)
    done = explain(tmp_path, "clip.mp4", "--no-actions")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Report on `clip.mp4`")
    assert "## Limitations" in done.stdout


@pytest.mark.parametrize("named", ["*/day*.mp4", "list.txt"])
def test_a_glob_and_a_list_are_explained_like_a_folder(named, tmp_path):
    videos, scores = tmp_path / "videos", tmp_path / "scores"
    for camera in ("east", "west"):
        for folder in (videos, scores):
            (folder / camera).mkdir(parents=True)
        write_video(videos / camera / "day1.mp4", moving(96), 25)
        (scores / camera / "day1.csv").write_text("frame,score\n0,0.1\n16,0.9\n32,0.9\n48,0.1\n64,0.1\n80,0.1\n")
    (videos / "list.txt").write_text("east/day1.mp4\nwest/day1.mp4\n")
    (videos / "east" / "night.mp4").write_bytes(b"not named, so not read")

    done = explain(tmp_path, videos / named, "--scores", scores, "--output", "reports")
    assert done.returncode == 0, done.stderr
    assert sorted(path.parent.name for path in tmp_path.glob("reports/*/day1.json")) == ["east", "west"]
    assert not list(tmp_path.glob("reports/*/night*"))

    without = explain(tmp_path, videos / named, "--scores", scores)
    assert without.returncode == 2
    assert "--output" in without.stderr


def test_a_file_name_that_is_not_utf8_is_explained_in_every_format(tmp_path):
    """The page names the video for its player by the bytes of its name."""
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    write_video(video, moving(96), 25)
    (tmp_path / "scores.csv").write_text("frame,score\n0,0.1\n16,0.9\n32,0.9\n48,0.1\n64,0.1\n80,0.1\n")
    pages = [f"r.{suffix}" for suffix in ("html", "md", "json", "csv", "srt")]
    outputs = [part for page in pages for part in ("--output", page)]
    done = explain(tmp_path, video, "--scores", tmp_path / "scores.csv", *outputs)
    assert done.returncode == 0, done.stderr
    assert 'src="caf%E9.mp4' in (tmp_path / "r.html").read_text("utf-8")
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["video"]["name"] == "caf\ufffd.mp4"
