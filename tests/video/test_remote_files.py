"""Videos in object stores: copied into the cache once, refused where that cannot be."""

import shutil
import sys
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from detector_samples import kgvad
from square_video import write_video

from kgvad.errors import FeatureError, KgvadError, UsageError, VideoError
from kgvad.settings import load_settings
from kgvad.video.feature_store import FeatureStore
from kgvad.video.remote_files import address_of, fetch_videos, upload, working_copy


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
    with pytest.raises(UsageError, match="KGVAD_OFFLINE is set; copy the files here"):
        fetch_videos("memory://bucket", cache, offline=True)
    bucket.store["/bucket/../../evil.mp4"] = bucket.store["/bucket/Fight/a.mp4"]
    with pytest.raises(KgvadError, match="cannot be"):
        fetch_videos("memory://bucket", cache)
    assert not list(tmp_path.rglob("evil.mp4"))
    del bucket.store["/bucket/../../evil.mp4"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(VideoError, match=r"GB free; name fewer files, set KGVAD_CACHE to a larger disk, or mount"):
        fetch_videos("memory://bucket", cache)


def test_the_extra_is_named_where_the_client_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"s3:// needs the package s3fs; install it with: .* 'kgvad\[cloud\]'"):
        fetch_videos("s3://bucket/videos", tmp_path)


def test_a_store_at_an_address_is_written_resumed_and_read(bucket, weights, tmp_path):
    weights("efficientnet-lite0")
    options = ["--encoder", "efficientnet-lite0", "--temporal", "first", "--output", "memory://bucket/features"]
    copy = Path(kgvad("extract", "memory://bucket/Fight", *options).strip())
    assert copy.is_relative_to(load_settings().cache)
    there = bucket.find("/bucket/features")
    assert {PurePosixPath(name).name for name in there} >= {"a.npy", "manifest.json"}
    shutil.rmtree(load_settings().cache / "remote")  # another machine goes on
    assert not [name for name in there if "lock" in name]
    made = {name: bucket.modified(name) for name in there if name.endswith("a.npy")}
    kgvad("extract", "memory://bucket/Normal", *options)
    assert {name: bucket.modified(name) for name in made} == made  # not sent again
    shutil.rmtree(load_settings().cache / "remote")
    store = "memory://bucket/features/efficientnet-lite0"
    assert "videos: 2" in kgvad("features", "check", store)
    (array,) = (load_settings().cache / "remote").rglob("b.npy")
    before = array.stat().st_mtime_ns
    kgvad("features", "check", store)
    assert array.stat().st_mtime_ns == before  # not copied again


def test_a_report_at_an_address(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "v.mp4", 48)
    (tmp_path / "scores.csv").write_text("start,score\n0,.1\n16,.9\n32,.2\n")
    kgvad("explain", "v.mp4", "--scores", "scores.csv", "--output", "memory://bucket/out/v.html")
    assert b"<html" in bucket.cat("/bucket/out/v.html") and len(bucket.find("/bucket/out")) == 1
    (tmp_path / "scores.csv").write_text("no scores")
    with pytest.raises(KgvadError):
        kgvad("explain", "v.mp4", "--scores", "scores.csv", "--output", "memory://bucket/out/w.html")
    assert len(bucket.find("/bucket/out")) == 1


def test_an_upload_that_fails_is_one_line_and_goes_on(bucket, tmp_path, monkeypatch):
    copy = working_copy("memory://bucket/store", tmp_path)
    for name in ("a.npy", "b.npy", "manifest.json"):
        (copy / name).write_text(name)
    real = type(bucket)._open

    def broken(self, path, mode="rb", **options):
        if "w" in mode and path.endswith("b.npy"):
            raise OSError("connection lost")
        return real(self, path, mode, **options)

    monkeypatch.setattr(type(bucket), "_open", broken)
    with pytest.raises(VideoError, match="memory://bucket/store cannot be written: connection lost; try again"):
        upload(copy, "memory://bucket/store")
    assert [PurePosixPath(name).name for name in bucket.find("/bucket/store")] == ["a.npy"]  # no manifest
    monkeypatch.undo()
    assert upload(working_copy("memory://bucket/store", tmp_path), "memory://bucket/store") == 2
    assert upload(copy, "memory://bucket/store") == 0
    with pytest.raises(UsageError, match="KGVAD_OFFLINE is set"):
        working_copy("memory://bucket/store", tmp_path, offline=True)


def test_outputs_and_other_inputs_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "v.mp4", 48)
    with pytest.raises(UsageError, match="ftp://b/x is an address of a kind that nothing is written to; write"):
        kgvad("extract", "v.mp4", "--encoder", "efficientnet-lite0", "--output", "ftp://b/x")
    with pytest.raises(FeatureError, match="ftp://b/i3d is not a local file; only videos and feature stores are read"):
        kgvad("features", "check", "ftp://b/i3d")
    assert address_of("C:/videos") is None and address_of("s3:/b/v.mp4") == "s3://b/v.mp4"
