"""Scores and captions in forms nobody published: read right, or refused in one line with a remedy."""

import json
import logging

import numpy as np
import pytest

from kgvad.detector.data.captions import caption_tracks, read_track
from kgvad.detector.data.clock import VideoClock
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError

SCORES = [0.125, 0.25, 0.5]
STARTS = [0, 16, 32]


def scores(path):
    found = Scores.load(path, video="clip.mp4", fps=25, frame_count=48)
    return found.scores.tolist(), found.spans[:, 0].tolist()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "frame;score\n0;0,125\n16;0,25\n32;0,5\n"),
        ("s.csv", "frame\tscore\n0\t.125\n16\t.25\n32\t.5\n"),
        ("s.csv", "Frame_ID,Anomaly Score\n0,.125\n16,.25\n32,.5\n"),
        ("s.csv", "start_frame,end_frame,score\n0,16,.125\n16,32,.25\n32,48,.5\n"),
        ("s.csv", "frame,score\n32,.5\n0,.125\n16,.25\n"),
        ("s.csv", "frame\tscore\n0\t0,125\n16\t0,25\n32\t0,5\n"),
        ("s.csv", "time,score\n00:00:00,.125\n00:00:00.64,.25\n0:01.28,.5\n"),
        ("s.csv", "frame,score,label,\n0,.125,normal,\n16,.25,,\n32,.5,odd,\n"),
        ("s.csv", "# frame,score\n# of my program\n0,.125\n16,.25\n32,.5\n"),
        ("s.csv", "# frame score\n0 .125\n16 .25\n32 .5\n"),
        ("s.csv", ",score\n0,.125\n1,.25\n2,.5\n"),
        ("s.csv", "video,frame,score\nclip.mp4,0,.125\nother,8,.9\nclip.mp4,16,.25\nclip.mp4,32,.5\n"),
        (
            "s.json",
            json.dumps(
                [
                    {"start_s": f / 25, "end_s": f / 25 + 0.64, "anomaly_score": s}
                    for f, s in zip(STARTS, SCORES, strict=True)
                ]
            ),
        ),
        ("s.json", json.dumps({"clip": [{"frame": f, "score": s} for f, s in zip(STARTS, SCORES, strict=True)]})),
        (
            "s.json",
            json.dumps(
                [{"video": "other", "frame": 8, "score": 1}]
                + [{"video": "clip", "frame": f, "score": s} for f, s in zip(STARTS, SCORES, strict=True)]
            ),
        ),
        ("s.json", json.dumps([{"frame": f, "score": s} for f, s in zip(STARTS, SCORES, strict=True)])),
        ("s.json", json.dumps([{"time": f / 25, "score": s} for f, s in zip(STARTS, SCORES, strict=True)])),
        ("s.json", json.dumps({"a/clip.mp4": SCORES, "b/other.mp4": [1, 1, 1]})),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_scores_in_other_spellings(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert scores(tmp_path / name) == (SCORES, STARTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a/clip": [0.1], "b/clip": [0.2]}', "there are no scores of 'clip'"),
        ('{"clip": [0.1], "clip.mp4": [0.2]}', "'clip' and 'clip.mp4' name the same video"),
        ('{"clip": [0.1], "clip": [0.2]}', "the key 'clip' stands twice in one object"),
        ('[{"frame": 0, "score": 0.1}, {"frame": 0, "score": 0.2}]', "two scores have the same frame"),
        ('[{"frame": "x", "score": 0.1}]', "row 1: 'x' in the column frame is not a number"),
    ],
)
def test_scores_that_may_be_another_videos_are_refused(tmp_path, text, message):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ScoresError, match=message):
        scores(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,frame,score\n01_0014,0,.1\n01_0015,16,.2\n", "there are no scores of 'clip'; the file has 2 videos"),
        ("frame,score,anomaly_score\n0,.1,.2\n", "two columns are called score, or a synonym of it; keep one"),
        ("frame,score\n0,.1\n16,\n", "row 2: '' in the column score is not a number"),
        ("frame,score\n0,.1\n1_6,.2\n", "row 2: '1_6' in the column frame is not a number"),
        ("start,end,score\n0,0.64,.1\n0.64,1.28,.2\n", "in frames must be whole numbers; call columns of seconds"),
        ("frame,score\n" + "".join(f"{i + 1},.1\n" for i in range(48)), "ends at frame 49 of .* frames count from 0"),
    ],
)
def test_tables_of_scores_that_say_something_else_are_refused(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ScoresError, match=message):
        scores(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "frame,score\n" + "".join(f"{i},0.1\n" for i in range(60))),
        ("s.csv", "start,end,score\n" + "".join(f"{i},{i + 1},0.1\n" for i in range(60))),
        ("s.json", json.dumps({str(i): 0.1 for i in range(94)})),
    ],
)
def test_numbers_of_snippets_or_seconds_that_are_called_frames_are_said(tmp_path, caplog, name, text):
    (tmp_path / name).write_text(text)
    with caplog.at_level(logging.WARNING):
        Scores.load(tmp_path / name, video="clip.mp4", fps=25, frame_count=1500)
    assert "of 1500; if their clock is not frames, name it" in caplog.text


def test_scores_of_frames_may_go_on_to_the_end_of_a_snippet(tmp_path):
    np.save(tmp_path / "s.npy", np.repeat([0.25, 0.5, 0.75, 1], 16))
    found = Scores.load(tmp_path / "s.npy", fps=25, frame_count=50)
    assert found.per_frame().tolist() == np.repeat([0.25, 0.5, 0.75, 1], 16)[:50].tolist()


def captions(path, video="clip.mp4", frame_count=2500):
    return read_track(path, video).frames(VideoClock(25, frame_count), str(path))


@pytest.mark.parametrize("name", ["c.jsonl", "c.json"])
def test_captions_as_json_lines(tmp_path, name):
    lines = [{"video": "clip.mp4", "start": 2 * i, "end": 2 * i + 2, "caption": text} for i, text in enumerate("ab")]
    (tmp_path / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert captions(tmp_path / name) == [(0, "a"), (50, "b")]


def test_captions_of_equal_names_are_told_apart_by_the_folder(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"a/clip.mp4": {"0": "x"}, "b/clip.mp4": {"0": "y"}}))
    assert captions(tmp_path / "c.json", "/videos/b/clip.mp4") == [(0, "y")]
    with pytest.raises(ScoresError, match="has no captions of 'clip'"):
        captions(tmp_path / "c.json", "clip.mp4")


def test_seconds_that_are_frames_are_refused(tmp_path, caplog):
    spans = [{"start": 16 * i, "end": 16 * i + 16, "text": "x"} for i in range(100)]
    (tmp_path / "c.json").write_text(json.dumps(spans))
    with pytest.raises(ScoresError, match=r"93 of 100 captions start after the end .* clock seconds; .*start_frame"):
        captions(tmp_path / "c.json")
    (tmp_path / "d.json").write_text(json.dumps({str(16 * i): "x" for i in range(100)}))
    with pytest.raises(ScoresError, match=r"after the end of the video, by the clock frames; .*seconds"):
        captions(tmp_path / "d.json", frame_count=100)
    (tmp_path / "e.json").write_text(json.dumps({"0": "x", "16": "y", "99999": "z"}))
    with caplog.at_level(logging.WARNING):
        captions(tmp_path / "e.json")
    assert "1 of 3 captions start after the end of the video" in caplog.text


def test_times_after_the_end_are_refused_where_the_times_of_all_frames_are_known(tmp_path):
    clock = VideoClock(25, 1500, np.arange(1500) / 25)
    (tmp_path / "c.json").write_text(json.dumps([{"start": 16 * i, "text": "x"} for i in range(90)]))
    with pytest.raises(ScoresError, match=r"86 of 90 captions start after the end"):
        read_track(tmp_path / "c.json").frames(clock, "c.json")
    (tmp_path / "s.csv").write_text("time,score\n" + "".join(f"{640 * i},0.5\n" for i in range(90)))
    with pytest.raises(ScoresError, match=r"the last ends at frame 1440000 of a video of 1500"):
        Scores.load(tmp_path / "s.csv", fps=25, frame_count=1500, frame_times=clock.frame_times)


@pytest.mark.parametrize(
    "content",
    [
        {"video": "other.mp4", "start": 0, "caption": "x"},
        {"video": "other.mp4", "timestamps": [[0, 2]], "sentences": ["x"]},
        {"video": "other.mp4", "captions": [{"start": 0, "text": "x"}]},
    ],
)
def test_captions_that_name_one_other_video_are_not_taken(tmp_path, content):
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(
        ScoresError, match="has no captions of 'clip'; it has captions of 1 video, the first is 'other'"
    ):
        captions(tmp_path / "c.json")
    assert captions(tmp_path / "c.json", "other.mkv") == [(0, "x")]


@pytest.mark.parametrize(
    "wrap", [lambda own: own, lambda own: {"clip": own}, lambda own: [{"video": "clip.mp4"} | own]]
)
def test_records_under_captions(tmp_path, wrap):
    (tmp_path / "c.json").write_text(
        json.dumps(wrap({"captions": [{"start": 0, "text": "x"}, {"start": 4, "text": "y"}]}))
    )
    assert captions(tmp_path / "c.json") == [(0, "x"), (100, "y")]


def test_a_start_of_another_unit_is_no_start_at_zero(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps([{"start_ms": 5000, "text": "x"}]))
    with pytest.raises(ScoresError, match=r"start_ms, text.*is not a known caption format"):
        captions(tmp_path / "c.json")


def test_seconds_under_the_keys_of_frames_are_said(tmp_path, caplog):
    (tmp_path / "c.json").write_text(json.dumps({str(second): f"x{second}" for second in range(100)}))
    with caplog.at_level(logging.WARNING):
        captions(tmp_path / "c.json")
    assert "the last caption starts at frame 99 of 2500, by the clock frames; if that is not their clock" in caplog.text


def test_subtitles_of_other_programs(tmp_path, caplog):
    (tmp_path / "c.srt").write_bytes("1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n".encode("cp1252"))
    assert captions(tmp_path / "c.srt") == [(25, "caf\xe9")] and "read as Windows-1252" in caplog.text
    words = "WEBVTT\nKind: captions\n\n00:01.000 --> 00:02.000 align:start\na man<00:00:01.500><c> runs</c>\n"
    (tmp_path / "c.vtt").write_text(words)
    assert captions(tmp_path / "c.vtt") == [(25, "a man runs")]


def test_a_video_without_sentences_does_not_stop_the_others(tmp_path, caplog):
    content = {"a": {"timestamps": [], "sentences": []}, "b": {"timestamps": [[0, 1]], "sentences": ["x"]}, "c": None}
    content |= {"d": {}, "e": {"0": "", "16": " "}, "f": [{"start": 0, "text": ""}], "g": {"timestamps": [[0, 1]]}}
    content["g"]["sentences"] = [""]
    (tmp_path / "c.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert set(caption_tracks(tmp_path / "c.json")) == {"b"}
    assert "6 videos have no captions, the first is a" in caplog.text
    for nobody in ({"a": content["a"], "c": None}, {"format": "kgvad captions", "version": 1, "videos": {}}):
        (tmp_path / "c.json").write_text(json.dumps(nobody))
        with pytest.raises(ScoresError, match="no video has captions"):
            caption_tracks(tmp_path / "c.json")


def test_scores_of_an_array_with_nan_name_the_snippet(tmp_path):
    np.save(tmp_path / "s.npy", np.array([0.1, np.nan, 0.2]))
    with pytest.raises(ScoresError, match="snippet 1 is not a finite number"):
        scores(tmp_path / "s.npy")
