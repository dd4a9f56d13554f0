"""Timestamps that restart or jump: warned of, and the declared rate is used where they break."""

from fractions import Fraction

import av
import numpy as np
import pytest

from kgvad.video.decode import VideoReader, probe
from kgvad.video.frame_clock import FrameClock
from kgvad.video.seek import read_frames

TICKS = 90_000


def video(path, times):
    """Frame i is a grey of 50 + i, shown at ``times[i]`` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "0", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (50 + index) % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def regular(count, start=0.0):
    return [start + index / 30 for index in range(count)]


@pytest.fixture
def broken(tmp_path):
    joined = tmp_path / "joined.ts"
    joined.write_bytes(video(tmp_path / "a.ts", regular(45)).read_bytes() * 3)
    return {
        "joined": joined,
        "hours.mkv": video(tmp_path / "hours.mkv", regular(60) + regular(75, 11_261 * 3600)),
        "minutes.mp4": video(tmp_path / "minutes.mp4", regular(60) + regular(75, 2000)),
    }


@pytest.mark.parametrize(("name", "breaks"), [("joined", 2), ("hours.mkv", 1), ("minutes.mp4", 1)])
def test_broken_timestamps_are_replaced_by_the_declared_rate(broken, name, breaks, capsys):
    path = broken[name]
    indexed = probe(path, exact=True)
    reader = VideoReader(path)
    decoded = len(list(reader.frames()))
    assert f"restart or jump ({breaks} x)" in capsys.readouterr().err
    for info in (indexed, reader.info):
        assert (info.frame_count, info.breaks) == (decoded, breaks) == (135, breaks)
        assert info.duration_s == pytest.approx(4.5, abs=0.01) and info.fps == pytest.approx(30, rel=0.01)
        np.testing.assert_allclose(np.diff(info.frame_times), 1 / 30, atol=0.002)
    assert len(list(VideoReader(path).sampled(10))) in (45, 46)  # not 11,261 hours of pictures


def test_frames_are_found_after_a_break(broken):
    info = probe(broken["hours.mkv"], exact=True)
    found = read_frames(broken["hours.mkv"], [10, 100], info=info)
    assert abs(int(found[10].mean()) - 60) < 3 and abs(int(found[100].mean()) - 150) < 3


def test_a_varying_rate_and_a_pause_are_no_breaks(tmp_path, capsys):
    path = video(tmp_path / "pause.mkv", regular(60) + [12 + index / 10 for index in range(30)])
    info = probe(path, exact=True)
    assert (info.breaks, info.frame_times[60]) == (0, pytest.approx(12, abs=0.01))
    assert "restart" not in capsys.readouterr().err


def test_small_steps_back_are_held_and_missing_timestamps_follow_the_rate():
    clock = FrameClock(10)
    for stamp in (5.0, 5.1, 5.08, 5.3, None):
        clock.add(stamp)
    assert clock.times == pytest.approx([0, 0.1, 0.1, 0.3, 0.4]) and clock.breaks == 0


def agree(path):
    """What the packets say of a video, which must be what decoding it says."""
    indexed = probe(path, exact=True)
    reader = VideoReader(path)
    pictures = [int(frame.picture.mean()) for frame in reader.frames()]
    assert indexed.frame_count == reader.info.frame_count == len(pictures)
    assert indexed.start_s == pytest.approx(reader.info.start_s)
    np.testing.assert_allclose(indexed.frame_times, reader.info.frame_times, atol=1e-6)
    wanted = [0, 20, len(pictures) - 1]
    found = read_frames(path, wanted, info=indexed)
    assert [int(found[index].mean()) for index in wanted] == [pictures[index] for index in wanted]
    return indexed, pictures


def test_a_recording_that_was_cut_at_its_start_begins_with_its_first_key_frame(tmp_path):
    whole = video(tmp_path / "whole.ts", regular(100, 10)).read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[188 * 8 :])  # without the first key frame and tables
    info, pictures = agree(tmp_path / "cut.ts")
    assert 50 < len(pictures) < 99 and info.start_s == pytest.approx(10 + (100 - len(pictures)) / 30, abs=0.01)


def test_times_that_begin_below_zero_lose_no_frame(tmp_path):
    """A transport stream counts to 2 ** 33 and starts again."""
    path = video(tmp_path / "wrapped.ts", regular(60, 2**33 / TICKS - 1))
    info, pictures = agree(path)
    assert len(pictures) == 60 and info.start_s < 0


def test_a_bare_stream_has_the_declared_rate(tmp_path):
    with av.open(str(tmp_path / "v.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info, pictures = agree(tmp_path / "v.h264")
    assert len(pictures) == 50 and info.duration_s == pytest.approx(2)
