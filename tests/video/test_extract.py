"""Extraction of one video and of folders: resumable, parallel, and never stopped by one bad file."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness
from dying_worker import extract_or_die
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.errors import FeatureError, UsageError, VideoError
from kgvad.video import extract_folder as extract_folder_module
from kgvad.video.container import Decoding
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.encoders.efficientnet import EfficientNetEncoder
from kgvad.video.encoders.efficientnet_network import EfficientNetLite0
from kgvad.video.encoders.pretrained import state_of
from kgvad.video.extract import AHEAD, extract_video, extract_videos, find_videos
from kgvad.video.extract_folder import extract_folder
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry
from kgvad.video.sampling import Sampling
from kgvad.video.write import write_video


def moving(count, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (48, 64, 3), np.uint8)
    return [np.roll(base, index, axis=1) for index in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, count in (("Fighting/f1", 40), ("Fighting/f2", 35), ("Normal/n1", 50)):
        (root / name).parent.mkdir(exist_ok=True)
        write_video(root / f"{name}.mp4", moving(count, count), 25)
    return root


@pytest.fixture
def encoder(weights):
    weights("efficientnet-lite0")
    return load_visual_encoder("efficientnet-lite0")


def test_rows_are_in_order_across_batches(tmp_path):
    pictures = [np.full((48, 64, 3), 10 * (i // 16), np.uint8) for i in range(16 * 7 + 3)]
    path = write_video(tmp_path / "steps.mp4", pictures, 25)
    seen = []
    made = extract_video(path, Brightness(), advance=lambda units=1, description=None: seen.append(units))
    np.testing.assert_allclose(made.features[:, 0], np.arange(7) * 10, atol=2)
    assert made.info.frame_count == 115
    assert made.entry.spans()[-1].tolist() == [96, 115]
    assert seen == [2, 2, 2, 1]


def test_a_failing_encoder_does_not_hang(tmp_path):
    class Failing(Brightness):
        def encode(self, snippets):
            raise FeatureError("no")

    path = write_video(tmp_path / "long.mp4", moving(400), 25)
    with pytest.raises(FeatureError):
        extract_video(path, Failing())


def test_nan_from_an_encoder_is_an_error(tmp_path):
    class Broken(Brightness):
        def encode(self, snippets):
            return np.full((len(snippets), 1), np.nan, np.float32)

    path = write_video(tmp_path / "v.mp4", moving(16), 25)
    with pytest.raises(FeatureError, match=r"v\.mp4: row 0 holds NaN"):
        extract_video(path, Broken())


def test_errors_of_decoding_arrive(tmp_path):
    path = write_video(tmp_path / "short.mp4", moving(5), 25)
    with pytest.raises(VideoError, match="fewer than one snippet"):
        extract_video(path, Brightness())


def test_variable_rate_keeps_row_times(tmp_path):
    times = [0.04 * i for i in range(16)] + [0.64 + 0.5 * i for i in range(24)]
    path = write_video(tmp_path / "vfr.mp4", moving(40), 25, times_s=times)
    entry = extract_video(path, Brightness()).entry
    np.testing.assert_allclose(entry.times_s[:2], [0, 0.64], atol=2e-3)
    assert extract_video(write_video(tmp_path / "c.mp4", moving(40), 25), Brightness()).entry.times_s is None


def test_features_of_another_shape_than_the_encoder_says_are_refused(tmp_path):
    class Wide(Brightness):
        def encode(self, snippets):
            return np.repeat(super().encode(snippets), 2, axis=1)

    path = write_video(tmp_path / "a.mp4", moving(40), 25)
    with pytest.raises(FeatureError, match=r"brightness gave features of shape \[2, 2\] instead of \[2, 1\]; repair"):
        extract_video(path, Wide())


def test_identifiers(tmp_path):
    for name in ("a.mp4", "a.avi", "b/c.MKV", ".hidden.mp4", "notes.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(find_videos(tmp_path)) == ["a.avi", "a.mp4", "b/c"]
    assert list(find_videos(tmp_path / "notes.dat")) == ["notes.dat"]  # named outright
    with pytest.raises(UsageError, match="does not exist"):
        find_videos(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no video"):
        find_videos(tmp_path / "empty")


def test_folder_equals_single_videos(folder, tmp_path, encoder):
    done = extract_folder(folder, tmp_path, encoder, workers=1)
    assert sorted(done.made) == ["Fighting/f1", "Fighting/f2", "Normal/n1"]
    store = FeatureStore.open(tmp_path)
    assert store.fingerprint == encoder.fingerprint
    made = extract_video(folder / "Normal/n1.mp4", encoder)
    np.testing.assert_allclose(store.load("Normal/n1"), made.features, atol=2e-3)
    assert store.info("Normal/n1") == made.entry
    assert made.info.frame_count == 50
    assert store.load("Normal/n1").shape == (3, 1280)


@pytest.mark.slow
def test_processes_give_the_same_features(folder, tmp_path, encoder):
    one = extract_folder(folder, tmp_path / "one", encoder, workers=1).store
    two = extract_folder(folder, tmp_path / "two", encoder, workers=2).store
    assert one.ids() == two.ids()
    for video in one.ids():
        assert one.path(video).read_bytes() == two.path(video).read_bytes()


def test_resumes_and_notices_changes(folder, tmp_path, encoder):
    extract_folder(folder, tmp_path / "out", encoder, workers=1)
    store = FeatureStore.open(tmp_path / "out")
    before = {video: store.path(video).stat().st_mtime_ns for video in store.ids()}
    store.path("Fighting/f2").unlink()  # as if killed before it was written
    time.sleep(0.01)
    again = extract_folder(folder, tmp_path / "out", encoder, workers=1)
    assert again.made == ["Fighting/f2"]
    assert again.reused == ["Fighting/f1", "Normal/n1"]
    assert store.path("Fighting/f1").stat().st_mtime_ns == before["Fighting/f1"]
    os.utime(folder / "Normal/n1.mp4")
    assert extract_folder(folder, tmp_path / "out", encoder, workers=1).made == ["Normal/n1"]


def test_interrupted_extraction_keeps_what_is_done(folder, tmp_path):
    """Ctrl-C in the second video: decoding ends too, the store stays whole, and the next call makes only the rest."""
    encoder = Brightness()
    calls = []

    def interrupted(snippets):
        calls.append(len(snippets))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Brightness.encode(encoder, snippets)

    encoder.encode = interrupted
    with pytest.raises(KeyboardInterrupt):
        extract_folder(folder, tmp_path, encoder, workers=1)
    assert decoding_threads() == []
    assert FeatureStore.open(tmp_path).ids() == ["Fighting/f1"]
    assert len(extract_folder(folder, tmp_path, Brightness(), workers=1).made) == 2


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name == "decoding"]


class Watched(Brightness):
    """Notes what it was given to encode, and how many clips of which video had been decoded by then."""

    def __init__(self, total):
        self.total = total
        self.encoded = []
        self.decoded = []
        self.ahead = []
        self.sampling = WatchedSampling(self.decoded)

    def encode(self, snippets):
        self.encoded.extend(snippets)
        deadline = time.monotonic() + 30  # until decoding is as far ahead as it always may be
        while len(self.decoded) < min(len(self.encoded) + 3, self.total) and time.monotonic() < deadline:
            time.sleep(0.002)
        self.ahead.append(len(self.decoded) - len(self.encoded))
        return super().encode(snippets)


class WatchedSampling(Sampling):
    def __init__(self, decoded):
        super().__init__()
        object.__setattr__(self, "decoded", decoded)

    def clips(self, reader):
        for clip in super().clips(reader):
            self.decoded.append(reader.path.name)
            yield clip


def test_decoding_goes_ahead_by_a_few_batches_and_into_the_next_video(tmp_path):
    paths = [write_video(tmp_path / f"{name}.mp4", moving(16 * 9, seed), 25) for seed, name in enumerate("ab")]
    encoder = Watched(total=18)
    videos = extract_videos(paths, encoder)
    first = next(videos)
    assert encoder.decoded[-1] == "b.mp4"  # begun before the first one was finished
    second = next(videos)
    assert list(videos) == [] and decoding_threads() == []
    # two batches wait, one is put into the queue, and of one a clip may be decoded
    assert 3 <= max(encoder.ahead) <= 2 * (AHEAD + 2)
    for made, path in zip((first, second), paths, strict=True):
        alone = extract_video(path, Brightness())
        assert made.features.tobytes() == alone.features.tobytes() and made.entry == alone.entry


def test_memory_does_not_grow_with_the_video(tmp_path):
    """Features that stay lie between pictures that do not: a heap that they split would grow by each batch."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("there is no /proc, which tells the memory of a process")

    def resident_mb():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    state = {name: np.full_like(value, 0.01) for name, value in state_of(EfficientNetLite0()).items()}
    encoder = EfficientNetEncoder(state, "none", Sampling(stride=1), "cpu")
    paths = [write_video(tmp_path / f"{frames}.mp4", [moving(1)[0]] * frames, 25) for frames in (32, 192)]
    extract_video(paths[0], encoder)
    before = resident_mb()
    assert extract_video(paths[1], encoder).features.shape == (192, 1280)
    assert resident_mb() - before < 50  # a batch of pictures has 10 MB, and there are 12


def test_videos_that_fail_cost_themselves_only(tmp_path):
    """A file that cannot be read, one that is too short and one that the encoder refuses, between two that are fine."""

    class Refuses(Brightness):
        def encode(self, snippets):
            if snippets.mean() > 200:
                raise FeatureError("too bright")
            return super().encode(snippets)

    (tmp_path / "text.mp4").write_text("no video")
    pictures = {"good": moving(40), "short": moving(5), "bright": [np.full((48, 64, 3), 250, np.uint8)] * 200}
    for name, frames in pictures.items():
        write_video(tmp_path / f"{name}.mp4", frames, 25)
    names = ["good", "text", "bright", "short", "good"]
    results = list(extract_videos([tmp_path / f"{name}.mp4" for name in names], Refuses()))
    assert [type(result) for result in results[1:4]] == [VideoError, FeatureError, VideoError]
    assert results[0].features.tobytes() == results[4].features.tobytes()
    assert decoding_threads() == []


def test_extraction_twice_gives_the_same_bytes(tmp_path, encoder):
    """Whatever the batch, and in one process as in a worker."""
    path = write_video(tmp_path / "v.mp4", moving(16 * 5), 25)
    expected = extract_video(path, encoder).features.tobytes()
    for batch in (1, 3):
        encoder.batch = batch
        assert extract_video(path, encoder, decoding=Decoding(threads=batch)).features.tobytes() == expected


def test_command_goes_on_past_bad_files_and_exits_1(folder, tmp_path, weights):
    import shutil

    weights("efficientnet-lite0")
    videos = tmp_path / "videos"
    shutil.copytree(folder, videos)
    (videos / "text.mp4").write_text("no video")
    (videos / "zero.mp4").touch()
    write_video(videos / "short.mp4", moving(3), 25)
    arguments = ["extract", str(videos), "--encoder", "efficientnet-lite0", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--workers", "1"])
    assert result.exit_code == 1
    assert result.stdout == f"{tmp_path / 'out' / 'efficientnet-lite0'}\n"
    lines = result.stderr.splitlines()
    assert "failed: short, text, zero" in lines[-1]
    assert sum("warning" in line for line in lines) == 3
    assert FeatureStore.open(tmp_path / "out").ids() == ["Fighting/f1", "Fighting/f2", "Normal/n1"]


def test_command_refuses_another_fingerprint(folder, tmp_path, weights):
    weights("efficientnet-lite0")
    arguments = ["extract", str(folder / "Fighting/f1.mp4"), "-e", "efficientnet-lite0", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    result = CliRunner().invoke(app, [*arguments, "--temporal", "first"])
    assert isinstance(result.exception, FeatureError)
    assert "made otherwise (temporal mean4 there, first here)" in str(result.exception)


def test_a_video_that_ends_its_process_costs_that_video_only(folder, tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(extract_folder_module, "_extract_in_worker", extract_or_die)
    done = extract_folder(folder, tmp_path, encoder, workers=2)
    assert sorted(done.made) == ["Fighting/f2", "Normal/n1"]
    assert list(done.failed) == ["Fighting/f1"] and "f1.mp4 ended the process" in done.failed["Fighting/f1"]


def test_a_slow_manifest_is_written_seldom(tmp_path, monkeypatch):
    store = FeatureStore.create(tmp_path, Manifest(encoder="e", dim=2))
    writes, enter = [], FeatureStore.enter

    def slow(self, entries):
        writes.append(sorted(entries))
        time.sleep(0.02)
        enter(self, entries)

    monkeypatch.setattr(FeatureStore, "enter", slow)
    entry = VideoEntry(frame_count=16, fps=25, rows=1)
    with pytest.raises(KeyboardInterrupt), extract_folder_module._Entries(store) as entries:
        for number in range(20):
            entries.add(f"v{number:02d}", entry)
        raise KeyboardInterrupt
    assert writes == [["v00"], [f"v{number:02d}" for number in range(1, 20)]]
    assert len(FeatureStore.open(tmp_path).ids()) == 20
