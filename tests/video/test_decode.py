"""Decoding: exact frames and times, and every kind of bad file as one line."""

import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from kgvad.errors import UsageError, VideoError
from kgvad.video.container import Decoding
from kgvad.video.decode import VideoReader, probe
from kgvad.video.seek import read_frames
from kgvad.video.write import write_video


def pictures(count, height=48, width=64):
    """Grey pictures whose brightness is 4 times their index: a frame can be told by its mean."""
    return [np.full((height, width, 3), 4 * index, np.uint8) for index in range(count)]


def indices(stack):
    return np.rint(stack.reshape(len(stack), -1).mean(1) / 4).astype(int).tolist()


@pytest.fixture
def grey(tmp_path):
    return write_video(tmp_path / "grey.mp4", pictures(40), 25)


def test_snippets_are_consecutive_and_the_tail_is_left_out(grey):
    snippets = list(VideoReader(grey).snippets())
    assert [s.shape for s in snippets] == [(16, 48, 64, 3)] * 2  # floor(40 / 16)
    assert indices(np.concatenate(snippets)) == list(range(32))


@pytest.mark.parametrize(("period", "wanted"), [(0, (0,)), (-1, (0,)), (2, (2,)), (2, (-1,))])
def test_frames_that_no_index_has_are_refused(grey, period, wanted):
    with pytest.raises(UsageError, match="give 0 <= wanted < period"):
        next(VideoReader(grey).frames(period, wanted))


@pytest.mark.parametrize("rate", [0, -2, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(grey, rate):
    for sampled in (VideoReader(grey).sampled(rate), VideoReader(grey).sampled(2, rate)):
        with pytest.raises(UsageError, match="give a positive number"):
            next(sampled)


@pytest.mark.parametrize(("count", "rows"), [(16, 1), (31, 1), (32, 2), (47, 2), (48, 3)])
def test_number_of_snippets_is_the_floor(tmp_path, count, rows):
    path = write_video(tmp_path / "v.mp4", pictures(count), 25)
    assert len(list(VideoReader(path).snippets())) == rows
    assert len(list(VideoReader(path).snippets(positions=(2, 6, 10, 14)))) == rows  # also where frame 15 is not wanted
    assert len(list(VideoReader(path).snippets(positions=(0,)))) == rows


def test_wanted_positions_only(grey):
    snippets = list(VideoReader(grey).snippets(positions=(2, 6, 10, 14)))
    assert [indices(s) for s in snippets] == [[2, 6, 10, 14], [18, 22, 26, 30]]


def test_stride_one_gives_every_frame(grey):
    assert indices(np.concatenate(list(VideoReader(grey).snippets(stride=1)))) == list(range(40))


def test_scaling_while_decoding(grey):
    assert next(VideoReader(grey, size=(20, 30)).snippets()).shape == (16, 30, 20, 3)


def test_odd_sizes(tmp_path):
    path = write_video(tmp_path / "odd.mp4", pictures(16, 47, 61), 25)
    (snippet,) = VideoReader(path).snippets()
    assert snippet.shape == (16, 47, 61, 3)
    assert indices(snippet) == list(range(16))


def test_times_of_a_variable_frame_rate_come_from_the_timestamps(tmp_path):
    times = [0.04 * i for i in range(20)] + [0.8 + 0.5 * i for i in range(20)]
    path = write_video(tmp_path / "vfr.mp4", pictures(40), 25, times_s=times)
    reader = VideoReader(path)
    assert len(list(reader.snippets())) == 2
    for info in (reader.info, probe(path, exact=True)):
        assert info.variable_rate
        assert info.frame_count == 40
        np.testing.assert_allclose(info.frame_times, times, atol=1e-3)
        assert info.seconds(32) == pytest.approx(0.8 + 0.5 * 12, abs=1e-3)  # 32 / 25 would say 1.28
        assert info.seconds(40) == pytest.approx(info.duration_s)


def test_constant_rate_is_the_declared_one(tmp_path):
    info = probe(write_video(tmp_path / "v.mp4", pictures(20), Fraction(30000, 1001)), exact=True)
    assert info.fps == 30000 / 1001
    assert not info.variable_rate
    assert info.duration_s == pytest.approx(20 * 1001 / 30000)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_single_frames_by_index(tmp_path, suffix):
    path = write_video(tmp_path / f"v{suffix}", pictures(60), 25)
    found = read_frames(path, [59, 0, 17])
    assert {index: indices(picture[None])[0] for index, picture in found.items()} == {0: 0, 17: 17, 59: 59}
    with pytest.raises(VideoError, match="no frame 60"):
        read_frames(path, [60])


def rotate(path, turns):
    """Write a rotation by ``turns`` quarter turns clockwise into the track header of an mp4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version, flags and 36 bytes of times and layers come before the matrix
    one, wide = 0x10000, 0x40000000
    a, b, c, d = {0: (one, 0, 0, one), 1: (0, one, -one, 0), 2: (-one, 0, 0, -one), 3: (0, -one, one, 0)}[turns]
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, wide)
    path.write_bytes(data)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_is_applied(tmp_path, turns):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # white top left corner
    path = write_video(tmp_path / "phone.mp4", [picture] * 16, 25)
    rotate(path, turns)
    info = probe(path)
    assert (info.width, info.height) == ((48, 64) if turns % 2 else (64, 48))
    frame = next(VideoReader(path).snippets())[0]
    expected = np.rot90(picture, -turns)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 6
    scaled = next(VideoReader(path, size=(30, 40)).snippets())[0]  # (width, height) as displayed
    assert scaled.shape == (40, 30, 3)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_missing_folder_and_empty(tmp_path):
    with pytest.raises(VideoError, match="does not exist") as error:
        probe(tmp_path / "none.mp4")
    assert "none.mp4" in one_line(error)
    with pytest.raises(VideoError, match="is a folder"):
        probe(tmp_path)
    (tmp_path / "zero.mp4").touch()
    with pytest.raises(VideoError, match=r"zero\.mp4 is empty"):
        probe(tmp_path / "zero.mp4")


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.srt"])
def test_text_is_no_video(tmp_path, name):
    path = tmp_path / name
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nNot a video at all.\n" * 50)
    with pytest.raises(VideoError) as error:
        probe(path)
    assert name in one_line(error)


def test_playlist_cannot_reach_other_files(tmp_path, grey):
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError):
        probe(path)


def test_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", pictures(16), 25).rename(tmp_path / "http:x.mp4")
    monkeypatch.chdir(tmp_path)
    assert probe("http:x.mp4").frame_count == 16


def test_audio_only(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="has sound but no picture"):
        probe(path)


def test_picture_is_no_video(tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    with pytest.raises(VideoError, match="is not a video"):
        probe(tmp_path / "photo.png")


def noisy(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(count)]


def test_truncated_mp4_without_index_is_one_line(tmp_path):
    path = write_video(tmp_path / "cut.mp4", noisy(60), 25)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])  # the index stands at the end of the file and is lost
    with pytest.raises(VideoError, match="cut off") as error:
        probe(path)
    assert "cut.mp4" in one_line(error)


def test_truncated_container_is_read_as_far_as_it_goes(tmp_path, capsys):
    path = write_video(tmp_path / "cut.mkv", noisy(100), 25)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    rows = len(list(VideoReader(path).snippets()))
    assert 2 <= rows <= 5
    assert VideoReader(path).info.frame_count >= 1


def test_truncated_mp4_with_index_warns_that_it_is_cut(tmp_path, capsys):
    path = tmp_path / "cut.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"g": "8"}
        for picture in noisy(80):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    reader = VideoReader(path)
    rows = len(list(reader.snippets()))
    assert 1 <= rows < 5
    assert 16 <= reader.info.frame_count < 60 and reader.info.damaged
    assert "cut short" in capsys.readouterr().err


def test_frames_that_the_decoder_guessed_are_damage(tmp_path, capsys):
    """The decoder conceals bad data without an error."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (120, 160, 3), np.uint8)
    path = write_video(tmp_path / "v.mp4", [np.roll(base, index, axis=1) for index in range(60)], 25)
    whole = VideoReader(path)
    assert len(list(whole.frames())) == 60 and not whole.info.damaged
    data = bytearray(path.read_bytes())
    for start in range(len(data) // 3, len(data) // 2, 500):
        data[start : start + 20] = rng.bytes(20)
    path.write_bytes(data)
    reader = VideoReader(path)
    assert 50 <= len(list(reader.frames())) <= 60 and reader.info.damaged
    assert re.search(r"v.mp4 is damaged: the decoder guessed parts of \d+ of its \d+ frames", capsys.readouterr().err)
    with pytest.raises(VideoError, match="is damaged"):
        list(VideoReader(path, decoding=Decoding(strict=True)).frames())


def test_damage_in_the_middle_does_not_stop_the_rest(tmp_path, capfd):
    path = write_video(tmp_path / "damaged.mkv", noisy(64), 25)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    assert len(list(VideoReader(path).snippets())) >= 1


def test_shorter_than_a_snippet(tmp_path):
    path = write_video(tmp_path / "short.mp4", pictures(9), 25)
    with pytest.raises(VideoError, match=r"short\.mp4 has 9 frames, fewer than one snippet of 16") as error:
        list(VideoReader(path).snippets())
    one_line(error)


def test_memory_does_not_grow_with_length(tmp_path):
    """Peak of live pictures stays at one snippet: nothing keeps the earlier ones."""
    import tracemalloc

    def peak(count):
        path = write_video(tmp_path / f"{count}.mp4", (np.zeros((96, 128, 3), np.uint8) for _ in range(count)), 25)
        tracemalloc.start()
        for _ in VideoReader(path).snippets():
            pass
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    short, long = peak(64), peak(640)
    assert long < short * 1.3 + 100_000  # 576 more pictures would be 21 MB


def test_strict_makes_a_cut_video_an_error(tmp_path):
    path = tmp_path / "cut.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        for picture in noisy(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert 0 < len(list(VideoReader(path).frames())) < 60
    with pytest.raises(VideoError, match="--strict"):
        list(VideoReader(path, decoding=Decoding(strict=True)).frames())


def test_missing_hardware_falls_back_with_one_warning(grey, caplog):
    for _ in range(2):
        reader = VideoReader(grey, decoding=Decoding(hardware="no-such-decoder"))
        assert len(list(reader.frames())) == 40
    assert caplog.text.count("no-such-decoder") == 1
