"""Captions in every published form give the same frames and texts."""

import gzip
import json

import numpy as np
import pytest

from kgvad.detector.data.captions import caption_tracks, read_captions, read_track
from kgvad.detector.data.clock import VideoClock
from kgvad.errors import ScoresError

CLOCK = VideoClock(25.0, 100)
EXPECTED = [(0, "A man walks."), (40, "A man hits another man."), (75, "He runs.")]
TIMES = [0.0, 1.6, 3.0]
TEXTS = [text for _, text in EXPECTED]
SPANS = [[start, start + 1] for start in TIMES]
RECORDS = [{"start": start, "end": start + 1, "text": text} for start, text in zip(TIMES, TEXTS, strict=True)]
SRT = """1
00:00:00,000 --> 00:00:01,000
A man
walks.

2
00:00:01,600 --> 00:00:02,600
<i>A man hits another man.</i>

3
00:00:03,000 --> 00:00:04,000
He runs.
""".replace("\n", "\r\n")
VTT = """WEBVTT

NOTE made by hand

00:00.000 --> 00:01.000 align:start
<v Bob>A man walks.

00:01.600 --> 00:02.600
A man hits another man.

NOTE -->

00:03.000 --> 00:04.000
He runs.
"""
ONE_VIDEO = {
    "frame: text": {str(frame): text for frame, text in reversed(EXPECTED)},
    "seconds: text": {f"{start:.2f}": text for start, text in zip(TIMES, TEXTS, strict=True)},
    "start, end, text": RECORDS,
    "whisper": [{"timestamp": span, "text": text} for span, text in zip(SPANS, TEXTS, strict=True)],
    "clock times": [{"start": f"00:00:0{start}", "caption": text} for start, text in zip(TIMES, TEXTS, strict=True)],
    "frames": [{"start_frame": frame, "end_frame": frame + 9, "text": text} for frame, text in EXPECTED],
    "timestamps, sentences": {"duration": 4.0, "timestamps": SPANS, "sentences": TEXTS},
    "the end first": {"timestamps": [span[::-1] for span in SPANS], "sentences": TEXTS},
    "starts and texts": {"timestamps": TIMES, "captions": TEXTS},
    "frames and texts": {"frames": [frame for frame, _ in EXPECTED], "captions": TEXTS},
    "captions by frame": {"captions": {str(frame): text for frame, text in EXPECTED}},
    "list of frames": {"frames": [{"frame": frame, "caption": text} for frame, text in EXPECTED]},
    "events, events_summary": {"n_frames": 100, "fps": 25.0, "events": SPANS, "events_summary": TEXTS},
}


def save(path, value):
    path.write_bytes((value if isinstance(value, str) else json.dumps(value)).encode())
    return path


@pytest.mark.parametrize("name", ONE_VIDEO)
def test_every_form_alone_under_a_name_and_in_a_list(tmp_path, name):
    value = ONE_VIDEO[name]
    assert read_captions(save(tmp_path / "a.json", value), "clip.mp4", CLOCK) == EXPECTED
    named = save(tmp_path / "b.json", {"other": value, "Assault/clip.mp4": value})
    assert read_captions(named, "x/clip.avi", CLOCK) == EXPECTED
    if isinstance(value, dict) and not name.endswith(": text"):
        listed = save(tmp_path / "c.json", [{"video": "clip.mp4", **value}, {"video": "other.mp4", **value}])
        assert read_captions(listed, "clip", CLOCK) == EXPECTED


TABLES = {
    "clip.csv": "start,end,text\n"
    + "".join(f'{at},{at + 1},"{text}"\n' for at, text in zip(TIMES, TEXTS, strict=True)),
    "clip.tsv": "Frame\tCaption\r\n" + "".join(f"{frame}\t{text}\r\n" for frame, text in EXPECTED),
    "several.csv": "video;start;description\nother;0;a dog\n"
    + "".join(f"Assault/clip.mp4;0:0{at};{text}\n" for at, text in zip(TIMES, TEXTS, strict=True)),
    "uca.txt": "other 0.0 2.5 ##A dog.\n"
    + "".join(f"clip {at} 9.9 ##{t}\n" for at, t in zip(TIMES, TEXTS, strict=True)),
    "json.txt": json.dumps(RECORDS),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_and_text_lists(tmp_path, name):
    assert read_captions(save(tmp_path / name, TABLES[name]), "clip.mp4", CLOCK) == EXPECTED


def test_plain_text_has_one_text_a_line_or_one_in_all(tmp_path):
    lines = save(tmp_path / "clip.txt", "A man walks.\n\nHe falls.\nHe rises.\n")
    assert read_captions(lines, "clip", CLOCK) == [(0, "A man walks."), (50, "He falls."), (75, "He rises.")]
    assert read_captions(tmp_path, "clip", CLOCK) == read_captions(lines, "clip", CLOCK)
    (tmp_path / "clip.csv").write_text("caption\nA man\nwalks\nand\nfalls\n")
    assert len(read_captions(tmp_path / "clip.csv", "clip", CLOCK)) == 4
    save(tmp_path / "clip.srt", SRT)  # beside it the text is a note
    assert read_captions(tmp_path, "clip", CLOCK) == EXPECTED
    assert read_captions(save(tmp_path / "one.txt", "[street] A man walks."), None, CLOCK) == [
        (0, "[street] A man walks.")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,a man walks\n", "the first line names no column of captions, but 0, a man walks; name the columns start"),
        ("start,text\n0,a man walks, then runs\n", "row 1 has 3 values for 2 columns; put captions with commas"),
        ("start,text\nsoon,a man walks\n", "'soon' is not a time"),
        ("start,text\n", "empty list"),
        ("id,text\n1,a man\n2,a dog\n", "which is not a known caption format"),
        ("", "the first line names no column of captions"),
        ("start,text\n0," + 200_000 * "a", "is not a table"),
    ],
)
def test_tables_without_captions_are_refused(tmp_path, text, message):
    with pytest.raises(ScoresError, match=message):
        caption_tracks(save(tmp_path / "clip.csv", text))


@pytest.mark.parametrize(("name", "text"), [("clip.srt", SRT), ("clip.vtt", VTT)])
def test_subtitles_also_gzipped_and_in_a_folder(tmp_path, name, text):
    assert read_captions(save(tmp_path / name, text), "any.mp4", CLOCK) == EXPECTED
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    save(tmp_path / "folder" / "other.srt", SRT)
    assert read_captions(tmp_path / "folder", "clip.mp4", CLOCK) == EXPECTED
    assert set(caption_tracks(tmp_path / "folder")) == {"clip", "other"}
    with pytest.raises(ScoresError, match="folder has no captions of 'third'"):
        read_captions(tmp_path / "folder", "third.mp4", CLOCK)


def test_a_list_of_texts_is_one_a_second_a_snippet_or_a_frame(tmp_path):
    for count, step in ((4, 25), (6, 16), (7, 16), (100, 1)):
        texts = [f"text {index}" for index in range(count)]
        path = save(tmp_path / "a.json", texts)
        assert read_captions(path, "clip", CLOCK) == [(index * step, text) for index, text in enumerate(texts)]
    with pytest.raises(
        ScoresError, match="30 texts fit 100 frames neither as one a second, nor a snippet, nor a frame"
    ):
        read_captions(save(tmp_path / "a.json", ["x"] * 30), "clip", CLOCK)


def test_the_length_that_fits_best_is_that_of_a_text(tmp_path):
    """Five texts of six seconds at twelve frames a second are one a snippet: it has four and a half of them."""
    path = save(tmp_path / "a.json", list("abcde"))
    assert [frame for frame, _ in read_captions(path, "clip", VideoClock(12.0, 72))] == [0, 16, 32, 48, 64]


def test_several_texts_of_one_frame_and_one_text_of_a_video(tmp_path):
    several = save(tmp_path / "a.json", {"clip": {"0": ["A man walks.", "A man stands."], "16": ["He runs."]}})
    assert read_captions(several, "clip") == [(0, "A man walks."), (0, "A man stands."), (16, "He runs.")]
    whole = [{"Video Name": "Abuse/clip.mp4", "English Text": "A woman was attacked."}]
    assert read_captions(save(tmp_path / "b.json", whole), "clip", CLOCK) == [(0, "A woman was attacked.")]


def test_numbered_videos_are_not_frames(tmp_path):
    path = save(tmp_path / "a.json", {"001": {"0": "a"}, "002": {"0": "b"}})
    assert read_captions(path, "002.avi") == [(0, "b")]


def test_names_keep_what_follows_their_dots(tmp_path):
    films = {f"Some.Film.{year}__#0-10.mp4": {"0": f"film of {year}"} for year in (1995, 1996)}
    path = save(tmp_path / "a.json", films)
    assert read_captions(path, "Some.Film.1996__#0-10.mp4") == [(0, "film of 1996")]
    with pytest.raises(ScoresError, match=r"'clip\.mp4' and 'dir/clip\.avi' name the same video"):
        read_captions(save(tmp_path / "b.json", {"clip.mp4": {"0": "a"}, "dir/clip.avi": {"0": "b"}}), "clip")


def test_seconds_need_a_video_and_follow_its_frames(tmp_path):
    path = save(tmp_path / "a.json", RECORDS)
    with pytest.raises(ScoresError, match="the clock is seconds, and the frame rate is unknown; name the video"):
        read_captions(path)
    times = np.concatenate([np.arange(50) / 50, 1 + np.arange(50) / 10])  # 50 frames a second, then 10
    frames = [frame for frame, _ in read_captions(path, None, VideoClock(16.0, 100, times))]
    assert frames == [0, 56, 70]
    late = save(tmp_path / "b.json", [{"start": 1600, "text": "a"}])
    with pytest.raises(
        ScoresError, match="starts at 1600 s, after the end of the video; name times in frames start_frame"
    ):
        read_captions(late, None, CLOCK)


def test_the_clock_is_said(tmp_path, capsys):
    read_captions(save(tmp_path / "a.json", RECORDS), None, CLOCK)
    read_captions(save(tmp_path / "b.json", ONE_VIDEO["frame: text"]))
    said = capsys.readouterr().err
    assert "a.json: 3 captions, clock: seconds" in said and "b.json: 3 captions, clock: frames" in said


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"clip": {"label": "Abuse", "n": 3}},
            r"'clip' is \{label, n\}, which is not a known caption format; known forms",
        ),
        ([[1, 2], [3, 4]], r"holds \[\[int\]\], which is not a known caption format"),
        (5, "holds int, which is not a known caption format"),
        ({"timestamps": [[0, 1]], "sentences": ["a", "b"]}, "not as many times as sentences"),
        ([{"start": "soon", "text": "a"}], "'soon' is not a time"),
        ([{"start": 0, "text": "a"}, {"frame": 3, "text": "b"}], "some captions start at frames, others at seconds"),
        ("no subtitles", "is neither SubRip nor WebVTT"),
    ],
)
def test_what_has_no_form_is_named(tmp_path, value, message):
    path = save(tmp_path / ("a.srt" if isinstance(value, str) else "a.json"), value)
    with pytest.raises(ScoresError, match=message):
        read_captions(path, "clip", CLOCK)


def test_the_segments_of_whisper_are_read_instead_of_its_whole_text(tmp_path):
    segments = [{"start": 1.0, "end": 2.0, "text": "a"}, {"start": 3.0, "end": 4.0, "text": "b"}]
    chunks = [{"timestamp": [1.0, 2.0], "text": "a"}, {"timestamp": [3.0, None], "text": "b"}]
    for name, value in (("segments", segments), ("chunks", chunks)):
        path = save(tmp_path / "a.json", {"text": "a b", name: value, "language": "en"})
        assert read_track(path).items == ((1.0, "a"), (3.0, "b"))


def test_blank_texts_of_a_list_keep_their_place(tmp_path):
    path = save(tmp_path / "a.json", ["a", "", "", "d"])
    assert read_captions(path, "clip", CLOCK) == [(0, "a"), (75, "d")]


def test_two_files_of_one_video_in_a_folder_are_refused(tmp_path):
    save(tmp_path / "clip.srt", SRT)
    save(tmp_path / "clip.vtt", VTT)
    with pytest.raises(ScoresError, match=r"clip\.srt and .*clip\.vtt are captions of the same video 'clip'"):
        caption_tracks(tmp_path)


def test_subtitles_in_utf_16(tmp_path):
    (tmp_path / "clip.srt").write_bytes(SRT.encode("utf-16"))
    assert read_captions(tmp_path / "clip.srt", "clip", CLOCK) == EXPECTED


def test_a_damaged_line_is_named_by_its_number_in_the_file(tmp_path):
    (tmp_path / "clip.jsonl").write_text('{"start": 0, "text": "a"}\n\n\n{"start" 1}\n{"start": 2, "text": "b"}\n')
    with pytest.raises(ScoresError, match=r"clip\.jsonl, line 4 is not valid JSON"):
        read_captions(tmp_path / "clip.jsonl", "clip", CLOCK)


def test_a_message_about_nested_json_stays_short(tmp_path):
    with pytest.raises(ScoresError) as error:
        read_track(save(tmp_path / "a.json", "[" * 900 + "]" * 900))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("一辆汽车在路上撞到摩托车", True),
        ("Ein Auto fährt auf der Straße und stößt mit einem Motorrad zusammen.", True),
        ("Una mujer camina por la calle mientras otra persona corre hacia ella.", True),
        ("The video shows a white van driving down a road.", False),
        ("car crash, night", False),
        ("a man walking down a street holding an umbrella", False),
    ],
)
def test_captions_in_another_language_are_said_to_mean_nothing(tmp_path, caplog, text, warned):
    """They gave a video that is abnormal from end to end, or none of its events, without a word."""
    (tmp_path / "c.json").write_text(json.dumps({str(16 * frame): text for frame in range(9)}), "utf-8")
    assert len(read_captions(tmp_path / "c.json")) == 9
    assert ("do not read as English" in caplog.text) == warned
