"""Addresses and standard input: recorded once, never led elsewhere, every failure one line without secrets."""

import io
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from kgvad.errors import UsageError, VideoError
from kgvad.video.addresses import shown
from kgvad.video.cameras import open_camera, parse_cameras
from kgvad.video.decode import probe
from kgvad.video.recording import is_stream, record
from kgvad.video.write import write_video


@pytest.fixture
def served(tmp_path):
    """Address of a folder that is served on loopback, the folder, and what was asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder, asked
    server.shutdown()
    server.server_close()


def clip(path, count=50):
    return write_video(path, [np.full((48, 64, 3), 4 * index, np.uint8) for index in range(count)], 25)


def test_what_is_a_stream(tmp_path):
    assert all(map(is_stream, ("-", "rtsp://camera/1", "HTTP://host/x.mp4")))
    assert not any(map(is_stream, ("http:x.mp4", "C:\\x.mp4", "clips/*.mp4", "a-b.mp4")))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_an_address_is_recorded_without_loss(served, tmp_path, suffix):
    address, folder, _ = served
    original = clip(folder / f"cam 1{suffix}")
    path = record(f"{address}/cam%201{suffix}?key=secret", tmp_path / "out", io.BytesIO())
    assert path.name == "cam_1.mkv"
    assert probe(path, exact=True).frame_count == probe(original, exact=True).frame_count == 50


def test_a_recording_ends_after_the_asked_time(served, tmp_path):
    address, folder, _ = served
    clip(folder / "v.mp4")
    path = record(f"{address}/v.mp4", tmp_path / "out", io.BytesIO(), longest_s=1)
    assert 20 <= probe(path, exact=True).frame_count <= 30


def test_a_playlist_is_not_followed(served, tmp_path):
    address, folder, asked = served
    clip(folder / "secret.ts")
    (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{address}/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match="playlists"):
        record(f"{address}/list.m3u8", tmp_path / "out", io.BytesIO())
    camera = parse_cameras([f"cam={address}/list.m3u8"])[0]
    with pytest.raises(VideoError, match=r"cam .* cannot be opened"), open_camera(camera):
        pass
    assert asked
    assert not any("secret" in path for path in asked)


def test_failures_are_one_line_without_the_password(served, tmp_path):
    address, folder, _ = served
    (folder / "text.mp4").write_text("no video " * 100)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = closed.getsockname()[1]
    for source in (f"{address}/none.mp4", f"{address}/text.mp4", f"rtsp://me:hidden@127.0.0.1:{dead}/1?key=hidden"):
        with pytest.raises(VideoError) as error:
            record(source, tmp_path / "out", io.BytesIO())
        assert "cannot be read as a video" in str(error.value)
        assert "hidden" not in str(error.value)
        assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").rglob("*.mkv"))
    assert shown("rtsp://me:hidden@h:99/1?key=hidden") == "rtsp://h:99/1"


def test_a_silent_camera_times_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1"
        with pytest.raises(VideoError, match="check that the address answers"):
            record(source, tmp_path, io.BytesIO(), timeout_s=0.5)


def test_unknown_kind_of_address(tmp_path):
    with pytest.raises(UsageError, match="ftp://"):
        record("ftp://host/v.mp4", tmp_path, io.BytesIO())


def test_standard_input(tmp_path):
    data = clip(tmp_path / "v.mp4").read_bytes()  # its index stands at the end: not readable from a pipe
    path = record("-", tmp_path / "out", io.BytesIO(data))
    assert path.stem == "stdin"
    assert probe(path).frame_count == 50
    made = path.stat().st_mtime_ns
    assert record("-", tmp_path / "out", io.BytesIO(data)).stat().st_mtime_ns == made
    assert not list((tmp_path / "out").glob("*.part"))
    with pytest.raises(VideoError, match="empty"):
        record("-", tmp_path / "out", io.BytesIO())
    with pytest.raises(UsageError, match="--seconds"):
        record("-", tmp_path / "out", io.BytesIO(data), longest_s=3)
