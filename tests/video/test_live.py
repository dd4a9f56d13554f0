"""Live pictures: the windows of a file, breaks of timestamps, what is kept, clips."""

import time
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest
from watch_samples import FPS, BrightEncoder, footage, models, pictures

from kgvad.errors import UsageError
from kgvad.video.cameras import open_camera, parse_cameras
from kgvad.video.clip_recorder import ClipRecorder, finish_clip
from kgvad.video.decode import VideoReader, probe
from kgvad.video.live_reader import KEPT_TIMES, LiveConnection, LiveReader, live_windows
from kgvad.video.sampling import Sampling
from kgvad.video.seek import read_frames
from kgvad.video.write import write_video


@pytest.fixture(scope="module")
def encoder():
    return models().encoder


def segments(path, encoder):
    """Windows and jump of every segment of a file."""
    camera = parse_cameras([str(path)], as_live=True)[0]
    found = []
    with open_camera(camera) as (container, stream):
        connection = LiveConnection(container, stream, None, time.monotonic)
        while True:
            reader = LiveReader(connection, encoder)
            found.append((list(live_windows(reader, encoder)), connection.gap_s))
            if connection.gap_s is None:
                return found


def test_windows_are_those_of_the_file(tmp_path, encoder):
    path = footage(tmp_path / "a.mp4", 20)
    whole = list(encoder.sampling.clips(VideoReader(path)))
    ((windows, gap_s),) = segments(path, encoder)
    assert gap_s is None and len(windows) == len(whole) == 12
    for window, frames in zip(windows, whole, strict=True):
        np.testing.assert_array_equal(window.frames, frames)
    assert windows[3].start_s == pytest.approx(4.8) and windows[3].end_s == pytest.approx(6.4)


def test_encoders_of_snippets_can_watch_too(tmp_path):
    class Snippets(BrightEncoder):
        sampling = Sampling(temporal="mean4")

    ((windows, _),) = segments(footage(tmp_path / "a.mp4", 10), Snippets(models().run.detector))
    assert [len(window.frames) for window in windows] == [4] * 6
    assert windows[2].start_s == pytest.approx(3.2, abs=0.01) and windows[2].end_s == pytest.approx(4.8, abs=0.01)


def test_a_jump_of_the_timestamps_ends_the_segment(tmp_path, encoder):
    times = [number / FPS + (30 if number >= 100 else 0) for number in range(200)]
    path = write_video(tmp_path / "gap.mp4", pictures(20), FPS, times_s=times)
    (first, gap_s), (second, end) = segments(path, encoder)
    assert gap_s == pytest.approx(30.1, abs=0.05) and end is None
    assert len(first) == len(second) == 6
    assert second[0].start_s == 0


def test_a_few_frames_before_the_camera_sets_its_clock_are_no_row(tmp_path, encoder):
    times = [number / FPS + (30 if number >= 3 else 0) for number in range(100)]
    path = write_video(tmp_path / "late.mp4", pictures(10), FPS, times_s=times)
    (first, gap_s), (second, _) = segments(path, encoder)
    assert first == [] and gap_s is not None and len(second) == 6


def test_times_of_frames_are_kept_for_a_while_only(tmp_path, encoder):
    path = write_video(tmp_path / "long.mp4", pictures(300, size=(16, 16)), FPS)
    camera = parse_cameras([str(path)], as_live=True)[0]
    with open_camera(camera) as (container, stream):
        reader = LiveReader(LiveConnection(container, stream, None, time.monotonic), encoder)
        assert sum(1 for _ in live_windows(reader, encoder)) == 188
    assert len(reader._times) <= 2 * KEPT_TIMES < 3000 == reader.info.frame_count


def packets(path):
    container = av.open(str(path))
    stream = container.streams.video[0]
    return container, stream, [packet for packet in container.demux(stream) if packet.size]


def test_a_clip_begins_at_the_key_frame_before_it_and_outlives_the_connection(tmp_path):
    container, stream, all_packets = packets(footage(tmp_path / "a.mp4", 40))
    recorder = ClipRecorder(stream)
    for packet in all_packets[:250]:
        recorder.add(packet)
    container.close()
    assert recorder.start(tmp_path / "x" / "clip.mkv", 15.0)
    began_s = recorder.stop()
    assert began_s is not None and began_s <= 15.0
    finish_clip(tmp_path / "x" / "clip.mkv", tmp_path / "clip.mp4")
    info = probe(tmp_path / "clip.mp4", exact=True)
    assert info.duration_s == pytest.approx(25 - began_s, abs=0.5)
    mine = read_frames(tmp_path / "clip.mp4", [info.frame_count - 1])[info.frame_count - 1]
    assert mine.shape == (32, 48, 3)
    assert not (tmp_path / "x" / "clip.mkv").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_ends_the_clip_and_nothing_else(tmp_path):
    container, stream, all_packets = packets(footage(tmp_path / "a.mp4", 40))
    recorder = ClipRecorder(stream)
    for packet in all_packets[:250]:
        recorder.add(packet)
    recorder.start(Path("/dev/full"), 15.0)
    for packet in all_packets[250:]:
        recorder.add(packet)
    recorder.stop()
    (tmp_path / "file").touch()
    assert not recorder.start(tmp_path / "file" / "clip.mkv", 15.0)
    container.close()


def test_what_browsers_do_not_play_is_encoded_anew(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        for picture in pictures(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    container, stream, all_packets = packets(path)
    recorder = ClipRecorder(stream)
    assert recorder.start(tmp_path / "early.mkv", 0.0) is False  # nothing came yet
    for packet in all_packets:
        recorder.add(packet)
    assert recorder.start(tmp_path / "clip.mkv", 2.0)
    recorder.clear()
    container.close()
    finish_clip(tmp_path / "clip.mkv", tmp_path / "clip.mp4")
    info = probe(tmp_path / "clip.mp4", exact=True)
    assert info.codec == "h264" and info.duration_s == pytest.approx(3.0, abs=0.11)


def test_what_is_kept_is_bounded(tmp_path):
    container, stream, all_packets = packets(footage(tmp_path / "a.mp4", 40))
    recorder = ClipRecorder(stream, before_s=5.0)
    most = ClipRecorder(stream, most_bytes=2000)
    for packet in all_packets:
        recorder.add(packet)
        most.add(packet)
    kept = recorder._kept
    assert kept[-1].time_s - kept[0].time_s <= 5.0
    assert recorder.bytes == sum(len(packet.data) for packet in kept)
    assert most.bytes <= 2000 or len(most._kept) == 1
    container.close()


def test_sources_are_recognised(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "a.mp4").touch()
    cameras = parse_cameras(
        ["front=rtsp://me:secret@cam.local/live", str(tmp_path / "clips"), str(tmp_path / "a.mp4"), "/dev/null"],
        as_live=True,
    )
    assert [(camera.name, camera.kind) for camera in cameras] == [
        ("front", "stream"),
        ("clips", "folder"),
        ("a", "file"),
        ("null", "device"),
    ]
    assert cameras[0].shown == "rtsp://cam.local/live"
    assert parse_cameras(["rtsp://me:secret@cam.local/live"])[0].name == "cam.local-live"


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["missing.mp4"], "does not exist"),
        (["ftp://host/a"], "cannot be watched"),
        (["a=rtsp://one/x", "a=rtsp://two/x"], "two cameras are called a"),
    ],
)
def test_a_wrong_source_is_one_line(sources, said):
    with pytest.raises(UsageError, match=said):
        parse_cameras(sources)


def test_as_live_is_named_only_where_it_is_an_option():
    with pytest.raises(UsageError, match=r"a folder, or a file with --as-live$"):
        parse_cameras(["missing.mp4"])
    with pytest.raises(UsageError, match=r"a folder, or a file$"):
        parse_cameras(["missing.mp4"], as_clips=True)


def test_a_file_needs_as_live(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UsageError, match="--as-live"):
        parse_cameras([str(tmp_path / "a.mp4")])


def test_the_clock_stops_waiting_when_asked():
    from kgvad.video.cameras import SystemClock

    stop = Event()
    stop.set()
    assert SystemClock().wait(60, stop) is True
