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
        stream = container.add_stream("libx264", rate=30, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 50 + index, np.uint8), format="rgb24")
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


def test_frames_are_found_behind_a_break(broken):
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
