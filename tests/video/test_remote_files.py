"""Videos in object stores: copied into the cache once, refused where that cannot be."""

import shutil

import fsspec
import pytest
from detector_samples import kgvad
from square_video import write_video

from kgvad.errors import FeatureError, KgvadError, UsageError, VideoError
from kgvad.settings import load_settings
from kgvad.video.feature_store import FeatureStore
from kgvad.video.remote_files import address_of, fetch_videos


@pytest.fixture
def bucket(tmp_path):
    """A store in memory with two videos, in two folders, and other files."""
    video = tmp_path / "v.mp4"
    write_video(video, 48)
    store = fsspec.filesystem("memory")
    for name in ("Fight/a.mp4", "Normal/b.mp4"):
        store.pipe(f"/bucket/{name}", video.read_bytes())
    store.pipe("/bucket/notes.txt", b"x")
    yield store
    store.rm("/bucket", recursive=True)


def test_a_folder_is_copied_once_and_again_where_it_changed(bucket, tmp_path, monkeypatch):
    folder = fetch_videos("memory://bucket", tmp_path / "cache")
    assert sorted(path.name for path in folder.rglob("*.mp4")) == ["a.mp4", "b.mp4"] and folder.name == "bucket"
    before = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    bucket.pipe("/bucket/Normal/b.mp4", bucket.cat("/bucket/Normal/b.mp4") + b"0")
    bucket.rm("/bucket/Fight/a.mp4")
    assert fetch_videos("memory://bucket/Normal/b.mp4", tmp_path / "cache").name == "b.mp4"
    assert fetch_videos("memory://bucket", tmp_path / "cache").is_dir()
    (left,) = folder.rglob("*.mp4")
    assert left.name == "b.mp4" and left.stat().st_mtime_ns != before["b.mp4"]


def test_extract_from_an_address(bucket, weights):
    weights("efficientnet-lite0")
    options = ["--encoder", "efficientnet-lite0", "--temporal", "first"]
    out = kgvad("extract", "memory://bucket/*/*.mp4", *options).strip()
    assert FeatureStore.open(out).ids() == ["Fight/a", "Normal/b"]
    assert (load_settings().cache / "remote").is_dir()


def test_what_cannot_be_copied_is_refused(bucket, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with pytest.raises(UsageError, match="memory://bucket/none holds no video; videos end in"):
        fetch_videos("memory://bucket/none", cache)
    with pytest.raises(UsageError, match="KGVAD_OFFLINE is set; copy the videos here"):
        fetch_videos("memory://bucket", cache, offline=True)
    bucket.store["/bucket/../../evil.mp4"] = bucket.store["/bucket/Fight/a.mp4"]
    with pytest.raises(KgvadError, match="cannot be"):
        fetch_videos("memory://bucket", cache)
    assert not list(tmp_path.rglob("evil.mp4"))
    del bucket.store["/bucket/../../evil.mp4"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(VideoError, match=r"GB free; name fewer videos, set KGVAD_CACHE to a larger disk, or mount"):
        fetch_videos("memory://bucket", cache)


def test_the_extra_is_named_where_the_client_is_missing(tmp_path):
    if "s3fs" in __import__("sys").modules:
        pytest.skip("s3fs is installed")
    with pytest.raises(UsageError, match=r"s3:// needs the package s3fs; install it with: .* 'kgvad\[cloud\]'"):
        fetch_videos("s3://bucket/videos", tmp_path)


def test_outputs_and_other_inputs_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "v.mp4", 48)
    with pytest.raises(UsageError, match=r"--output s3://b/x is an address, and kgvad writes files; write a folder"):
        kgvad("extract", "v.mp4", "--encoder", "efficientnet-lite0", "--output", "s3://b/x")
    with pytest.raises(FeatureError, match=r"s3://b/i3d is no file here; of addresses, kgvad reads videos only"):
        kgvad("features", "check", "s3://b/i3d")
    assert address_of("C:/videos") is None and address_of("s3:/b/v.mp4") == "s3://b/v.mp4"
