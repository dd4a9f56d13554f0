"""Scores of other programs: one a frame or a snippet, by frame or by time, of one video or of several."""

import gzip
import json

import numpy as np
import pytest

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError

SNIPPETS = [0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1]  # of a video of 100 frames, one for each started snippet
STARTS = range(0, 112, 16)
PAIRS = list(zip(STARTS, SNIPPETS, strict=True))
KEYED = [(str(frame), score) for frame, score in PAIRS]
EXPECTED = np.repeat(SNIPPETS, 16)[:100].astype(np.float32)


def load(path, frame_count=100, **options):
    return Scores.load(path, video="clip.mp4", fps=25.0, frame_count=frame_count, **options)


def text(path, content):
    path.write_text(content)
    return path


def array(path, values):
    np.save(path, np.asarray(values))
    return path


def archive(path, arrays):
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    return path


def lines(header, rows):
    return "\n".join([header, *rows]) + "\n"


FILES = {
    "frame and score": lambda p: text(p / "a.csv", lines("frame,score", [f"{f},{s}" for f, s in PAIRS])),
    "last end past the video": lambda p: text(
        p / "a.csv", lines("start,end,score", [f"{f},{f + 16},{s}" for f, s in PAIRS])
    ),
    "time and score": lambda p: text(
        p / "a.csv", lines("Time,score", [f"{f / 25:.2f},{s}" for f, s in PAIRS])
    ),
    "start_s and end_s": lambda p: text(
        p / "a.csv", lines("start_s,end_s,score", [f"{f / 25},{f / 25 + 0.64},{s}" for f, s in PAIRS])
    ),
    "a score a frame": lambda p: text(p / "a.csv", lines("score", map(str, EXPECTED))),
    "numbers alone": lambda p: text(p / "a.csv", lines(str(SNIPPETS[0]), map(str, SNIPPETS[1:]))),
    "json by frame": lambda p: text(p / "a.json", json.dumps(dict(KEYED))),
    "json out of order": lambda p: text(p / "a.json", json.dumps(dict(reversed(KEYED)))),
    "json by second": lambda p: text(p / "a.json", json.dumps({f"{f / 25:.2f}": s for f, s in PAIRS})),
    "json list": lambda p: text(p / "a.json", json.dumps(SNIPPETS)),
    "json of several videos": lambda p: text(
        p / "a.json", json.dumps({"other": {"0": 0.5}, "dir/clip": dict(KEYED)})
    ),
    "tsv": lambda p: text(p / "a.tsv", lines("frame\tscore", [f"{f}\t{s}" for f, s in PAIRS])),
    "json lines": lambda p: text(p / "a.jsonl", lines('{"video": "other", "frame": 0, "score": 0.5}', [
        json.dumps({"video": "clip.mp4", "frame": f, "score": s}) for f, s in PAIRS])),
    "json lines of whole videos": lambda p: text(p / "a.jsonl", lines('{"video": "other", "scores": [0.5]}', [
        json.dumps({"video": "clip", "scores": SNIPPETS})])),
    "records of whole videos": lambda p: text(
        p / "a.json", json.dumps([{"name": "clip", "scores": SNIPPETS}, {"name": "b", "scores": [0.5]}])
    ),
    "npz of several videos": lambda p: archive(p / "a.npz", {"dir/clip": EXPECTED[:, None], "other": [0.5]}),
    "npz without a name": lambda p: archive(p / "a.npz", {"arr_0": SNIPPETS}),
    "npy of snippets": lambda p: array(p / "a.npy", SNIPPETS),
    "npy of frames": lambda p: array(p / "a.npy", EXPECTED),
    "npy column of frames": lambda p: array(p / "a.npy", EXPECTED[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_score_of_each_frame(tmp_path, name):
    scores = load(FILES[name](tmp_path))
    np.testing.assert_array_equal(scores.per_frame(), EXPECTED)
    assert scores.frame_count == 100 and scores.spans[-1, 1] == 100


def test_gzipped_json_of_several_videos(tmp_path):
    path = tmp_path / "all.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"clip": dict(KEYED)}).encode()))
    np.testing.assert_array_equal(load(path).per_frame(), EXPECTED)
    with pytest.raises(ScoresError, match="there are no scores of 'new'; the file has 1 video, first 'clip'"):
        Scores.load(path, video="new.mp4", fps=25.0, frame_count=100)


def test_frame_scores_short_of_the_end_hold_until_it(tmp_path):
    """Snippet scores repeated 16 times leave out the tail: 96 of 100 frames."""
    scores = load(array(tmp_path / "a.npy", np.repeat(SNIPPETS[:6], 16)))
    np.testing.assert_array_equal(
        scores.per_frame(), [*np.repeat(SNIPPETS[:6], 16).astype(np.float32), *[np.float32(0.1)] * 4]
    )


def test_seconds_follow_the_times_of_the_frames(tmp_path):
    """In a video of variable rate, second 1 is not frame 25."""
    times = np.concatenate([np.arange(50) / 50, 1 + np.arange(50) / 10])
    path = text(tmp_path / "a.csv", "time,score\n0,0.1\n1,0.9\n")
    assert load(path, frame_times=times).spans.tolist() == [[0, 50], [50, 100]]


def test_the_clock_is_said(tmp_path, capsys):
    load(FILES["time and score"](tmp_path))
    load(FILES["json by frame"](tmp_path))
    load(FILES["npy of frames"](tmp_path))
    said = capsys.readouterr().err
    assert "the clock of the scores is seconds" in said and "the clock of the scores is frames" in said
    assert "100 scores for a video of 100 frames: one a frame" in said


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: array(p / "a.npy", [0.5] * 32), r"32 scores fit a video of 1000 frames neither .*; say when each"),
        (lambda p: array(p / "a.npy", np.zeros((3, 4))), r"the array has the shape \[3, 4\], not \[scores\]"),
        (lambda p: array(p / "a.npy", [0.5, 1.5] * 500), "snippet 1 is 1.5, outside 0..1"),
        (lambda p: text(p / "a.csv", "when,score\n0,1\n"), "does not name the columns start, frame or time"),
        (lambda p: text(p / "a.json", '{"0": "high"}'), "the score of '0' is not a number"),
        (lambda p: text(p / "a.json", '{"scores": [1], "starts": [0], "starts_s": [0]}'), "are both given"),
    ],
)
def test_what_fits_nothing_is_refused(tmp_path, make, message):
    with pytest.raises(ScoresError, match=message):
        load(make(tmp_path), frame_count=1000)


def test_a_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(ScoresError, match="Python objects"):
        load(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"video": "a", "scores": [0.1]}\n{"video": "a", "scores": [0.2]}\n',
            "record 2 is a second one of 'a'",
        ),
        ("a.jsonl", '{"video": "a", "scores": [0.1]}\n{"scores": [0.2]}\n', "record 2 names no video"),
        ("a.jsonl", '{"frame": 0, "score": 0.1}\n{"frame": 16\n', r"a\.jsonl, line 2 is not valid JSON"),
        ("a.jsonl", "", r"a\.jsonl"),
    ],
)
def test_wrong_json_lines_are_named(tmp_path, name, content, message):
    with pytest.raises(ScoresError, match=message):
        load(text(tmp_path / name, content))


def test_scores_are_kept_as_json_lines_too(tmp_path):
    scores = load(FILES["npy of snippets"](tmp_path))
    scores.save(tmp_path / "kept.jsonl")
    np.testing.assert_array_equal(load(tmp_path / "kept.jsonl").per_frame(), EXPECTED)
