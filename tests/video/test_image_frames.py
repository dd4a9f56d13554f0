"""Videos that come as images: folders and archives of frames, in natural order, at a given rate."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from detector_samples import kgvad
from PIL import Image

from kgvad.errors import UsageError, VideoError
from kgvad.video.decode import VideoReader, probe
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import FeatureStore
from kgvad.video.image_frames import as_videos, natural

GREYS = [20 * index for index in range(12)]  # of 12 frames; natural order differs from alphabetical order


def frames(folder, suffix=".png", size=(64, 48), name="{}"):
    folder.mkdir(parents=True)
    for index, grey in enumerate(GREYS, 1):
        Image.new("RGB", size, (grey, grey, grey)).save(folder / f"{name.format(index)}{suffix}")
    return folder


def greys(path):
    return [int(frame.picture.mean()) for frame in VideoReader(path).frames()]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".bmp", ".tif", ".PNG"])
def test_a_folder_of_images_is_a_video(tmp_path, suffix):
    path = as_videos(frames(tmp_path / "01_0014", suffix), tmp_path / "cache", 10)
    assert path.name == "01_0014.mkv"
    np.testing.assert_allclose(greys(path), GREYS, atol=3)
    info = VideoReader(path).info
    assert (info.fps, info.width, info.height) == (10, 64, 48)
    assert info.duration_s == pytest.approx(1.2, abs=0.01)


def test_folders_of_folders_keep_their_names(tmp_path):
    for name in ("01_0014", "01_0015"):
        frames(tmp_path / "testing" / "frames" / name, ".jpg", name="img{}")
    found = find_videos(as_videos(tmp_path / "testing", tmp_path / "cache", 24))
    assert sorted(found) == ["frames/01_0014", "frames/01_0015"]


def test_archives_are_read_without_unpacking(tmp_path):
    folder = frames(tmp_path / "a", ".jpg")
    for file, inside in (("one.zip", "x/"), ("flat.zip", "")):
        with zipfile.ZipFile(tmp_path / file, "w") as bundle:
            for image in folder.iterdir():
                bundle.write(image, f"{inside}{image.name}")
        path = as_videos(tmp_path / file, tmp_path / "cache", 10)
        assert path.stem == file.removesuffix(".zip")
        np.testing.assert_allclose(greys(path), GREYS, atol=3)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as bundle:
        for image in folder.iterdir():
            bundle.write(image, f"../../{image.name}")
            bundle.write(image, f"b/{image.name}")
    with pytest.raises(VideoError, match="leads outside the archive"):
        as_videos(tmp_path / "bad.zip", tmp_path / "cache", 10)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as bundle:
        for image in folder.iterdir():
            bundle.write(image, f"01_0014/{image.name}")
            bundle.write(image, f"01_0015/{image.name}")
    assert sorted(find_videos(as_videos(tmp_path / "two.zip", tmp_path / "cache", 10))) == ["01_0014", "01_0015"]


def test_the_video_is_made_again_only_when_images_or_rate_change(tmp_path):
    folder = frames(tmp_path / "a")
    first = as_videos(folder, tmp_path / "cache", 10)
    made = first.stat().st_mtime_ns
    assert as_videos(folder, tmp_path / "cache", 10).stat().st_mtime_ns == made
    Image.new("RGB", (64, 48), (255, 255, 255)).save(folder / "13.png")
    assert len(greys(as_videos(folder, tmp_path / "cache", 10))) == 13
    assert VideoReader(as_videos(folder, tmp_path / "cache", 5)).info.fps == 5


def test_what_is_wrong_with_an_image_is_named(tmp_path, capsys):
    folder = frames(tmp_path / "a")
    as_videos(folder, tmp_path / "cache")
    assert "25 frames a second are assumed; name another rate with --fps" in capsys.readouterr().err
    Image.new("RGB", (32, 48)).save(folder / "13.png")
    with pytest.raises(
        VideoError, match=r"13\.png is 32 x 48, the first image 64 x 48; give one folder for each video"
    ):
        as_videos(folder, tmp_path / "cache", 10)
    (folder / "13.png").write_bytes(b"no image")
    with pytest.raises(VideoError, match=r"13\.png cannot be read: it is not an image; take it out"):
        as_videos(folder, tmp_path / "cache", 10)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="--fps is for folders of images"):
        as_videos(tmp_path, tmp_path / "cache", 10)


def test_a_damaged_image_costs_its_video_only(tmp_path, capsys):
    for name in ("a", "b"):
        frames(tmp_path / "in" / name)
    (tmp_path / "in/a/13.png").write_bytes(b"no image")
    found = find_videos(as_videos(tmp_path / "in", tmp_path / "cache", 10))
    assert sorted(found) == ["a", "b"] and probe(found["b"]).width == 64
    assert "13.png cannot be read: it is not an image" in capsys.readouterr().err
    with pytest.raises(VideoError, match="is empty"):
        probe(found["a"])
    (tmp_path / "in/a/13.png").write_bytes((tmp_path / "in/a/12.png").read_bytes())
    found = find_videos(as_videos(tmp_path / "in", tmp_path / "cache", 10))
    assert probe(found["a"]).width == 64


def test_extract_and_explain_read_folders_of_images(tmp_path, weights):
    weights("efficientnet-lite0")
    random = np.random.default_rng(0)
    for name in ("01_0014", "01_0015"):
        folder = tmp_path / "testing" / "frames" / name
        folder.mkdir(parents=True)
        for index in range(40):
            picture = (
                random.integers(0, 256, (48, 64, 3), np.uint8)
                if 16 <= index < 32
                else np.full((48, 64, 3), 90, np.uint8)
            )
            Image.fromarray(picture).save(folder / f"{index}.jpg")
    store = FeatureStore.open(
        kgvad("extract", tmp_path / "testing", "-e", "efficientnet-lite0", "--fps", 10, "-o", tmp_path / "f").strip()
    )
    assert store.ids() == ["frames/01_0014", "frames/01_0015"]
    assert (store.info("frames/01_0014").frame_count, store.info("frames/01_0014").fps) == (40, 10)
    report = kgvad(
        "explain",
        tmp_path / "testing" / "frames" / "01_0014",
        "-e",
        "efficientnet-lite0",
        "--fps",
        10,
        "--no-images",
        "--no-actions",
    )
    assert "01_0014.mkv" in report and "4 seconds of video" in report


def archive(path, *names, suffix=".jpg"):
    """An archive of two images in each folder of ``names``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    Image.new("RGB", (64, 48)).save(out, "JPEG")
    with zipfile.ZipFile(path, "w") as bundle:
        for name in names:
            for index in (1, 2):
                bundle.writestr(f"{name}{index}{suffix}", out.getvalue())
    return path


def test_images_beside_the_folders_of_an_archive_are_a_video_too(tmp_path):
    found = find_videos(as_videos(archive(tmp_path / "a.zip", "", "b/"), tmp_path / "cache", 10))
    assert sorted(found) == ["a", "b"]


def test_a_folder_and_an_archive_of_one_name_are_refused(tmp_path):
    frames(tmp_path / "in" / "x", ".jpg")
    archive(tmp_path / "in" / "x.zip", "")
    with pytest.raises(VideoError, match="the images of x as a folder and as an archive"):
        as_videos(tmp_path / "in", tmp_path / "cache", 10)


def test_hidden_folders_are_passed_over(tmp_path):
    frames(tmp_path / "in" / "x", ".jpg")
    frames(tmp_path / "in" / ".thumbnails", ".jpg")
    assert as_videos(tmp_path / "in", tmp_path / "cache", 10).name == "x.mkv"


def test_an_image_that_claims_too_many_pixels_is_one_line(tmp_path):
    folder = frames(tmp_path / "a")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    content = b"IDAT" + zlib.compress(b"0")
    chunks = [struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in (header, content)]
    (folder / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(VideoError, match=r"3\.png cannot be read: .*exceeds limit"):
        as_videos(folder, tmp_path / "cache", 10)


def test_natural_order_of_any_digits():
    assert sorted(["10.jpg", "9" * 5000 + ".jpg", "2.jpg", "007.jpg", "1²2.jpg"], key=natural) == [
        "1²2.jpg", "2.jpg", "007.jpg", "10.jpg", "9" * 5000 + ".jpg"]  # fmt: skip


def test_an_archive_is_opened_once(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.zip", "x/", "y/")
    opened = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda *given, kind=zipfile.ZipFile: opened.append(given) or kind(*given))
    as_videos(path, tmp_path / "cache", 10)
    assert len(opened) == 1
