"""Where training finds its inputs: a folder of videos is prepared with the objects that the command gives."""

import numpy as np
import pytest
from brightness import Brightness
from detector_samples import kgvad
from toy_bank import toy_bank

from kgvad.detector.data.folder_dataset import FolderTools
from kgvad.detector.run import TrainConfig
from kgvad.detector.training.inputs import Sources, can_score_video, find_training_data
from kgvad.errors import FeatureError, UsageError
from kgvad.kg.datasets import resolve_dataset
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry
from kgvad.video.write import write_video

WITHOUT_ANCHORS = TrainConfig(detector="sultani")


def unused(*arguments):
    raise AssertionError("nothing is missing")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr("kgvad.video.extract_folder._default_workers", lambda *_: 1)  # a worker would load it by name
    for name in ("Fighting/a", "Normal/b", "Normal/c"):
        path = tmp_path / "shop" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, (np.full((48, 64, 3), 90 + n, np.uint8) for n in range(40)), 25)
    return resolve_dataset(str(tmp_path / "shop"))


def test_only_missing_features_are_extracted(shop, tmp_path):
    root, named = tmp_path / "features", []
    sources = Sources(root, root, tmp_path / "bank.safetensors", encoder="brightness")
    tools = FolderTools(lambda name: named.append(name) or Brightness(), unused, unused)
    data = find_training_data(shop, sources, WITHOUT_ANCHORS, tools)
    assert (named, data.dataset, data.bank) == (["brightness"], "shop", None)
    assert data.store.ids() == sorted(data.truth.videos) and len(data.store.ids()) == 3
    found = Sources(root, root, tmp_path / "bank.safetensors")  # the only features there are
    assert find_training_data(shop, found, WITHOUT_ANCHORS, FolderTools(unused, unused, unused)).store.ids()
    assert (root / "dataset.json").is_file()


def test_videos_without_captions_are_left_out_where_captions_are_the_features(shop, tmp_path, caplog):
    """Embeddings of captions cannot be extracted: it ended with "unknown visual encoder 'words-text'"."""
    words = FeatureStore.create(tmp_path, Manifest(encoder="words-text", dim=4, weights="w", temporal="mean"))
    entry = VideoEntry(frame_count=32, fps=25, rows=2, source_bytes=1)
    path = shop.path / "Normal/b.mp4"
    entry = entry.model_copy(
        update={"source_bytes": path.stat().st_size, "source_mtime_ns": path.stat().st_mtime_ns, "source": path.name}
    )
    words.add("Normal/b", np.ones((2, 4)), entry)
    sources = Sources(tmp_path, tmp_path, tmp_path / "bank.safetensors", encoder="words-text")
    data = find_training_data(shop, sources, WITHOUT_ANCHORS, FolderTools(unused, unused, unused))
    assert data.store.ids() == ["Normal/b"]
    assert f"2 videos without words-text features in {tmp_path} are left out" in caplog.text


def test_videos_without_features_of_another_program_are_left_out(shop, tmp_path, caplog):
    store = FeatureStore.create(tmp_path, Manifest(encoder="i3d", dim=4))
    store.add("Normal/b", np.ones((2, 4)), VideoEntry(frame_count=32, fps=25, rows=2))
    sources = Sources(tmp_path, tmp_path, tmp_path / "bank.safetensors", encoder="i3d")
    data = find_training_data(shop, sources, WITHOUT_ANCHORS, FolderTools(unused, unused, unused))
    assert data.store.ids() == ["Normal/b"] and not can_score_video(data.store)
    assert f"2 videos without i3d features in {tmp_path} are left out" in caplog.text


def test_a_replaced_video_is_extracted_again(shop, tmp_path):
    root = tmp_path / "features"
    sources = Sources(root, root, tmp_path / "bank.safetensors", encoder="brightness")
    tools = FolderTools(lambda name: Brightness(), unused, unused)
    before = find_training_data(shop, sources, WITHOUT_ANCHORS, tools).store.load("Normal/b").copy()
    write_video(shop.path / "Normal/b.mp4", (np.full((48, 64, 3), 200, np.uint8) for _ in range(40)), 25)
    after = find_training_data(shop, sources, WITHOUT_ANCHORS, tools).store.load("Normal/b")
    assert before.mean() < 150 < after.mean()


def test_a_bank_of_the_user_is_kept(shop, tmp_path):
    toy_bank().save(tmp_path / "bank.safetensors")
    root, tools = tmp_path / "features", FolderTools(lambda name: Brightness(), unused, unused)
    mine = Sources(root, root, tmp_path / "bank.safetensors", keep_anchors=True, encoder="brightness")
    data = find_training_data(shop, mine, TrainConfig(), tools)
    assert data.bank.fingerprint == toy_bank().fingerprint


def test_a_bank_of_the_user_without_one_of_the_folders_is_refused_by_name(shop, tmp_path, caplog):
    """The error named neither the bank nor --anchors, and the log said that anchors were made of the folders' names."""
    (shop.path / "Fighting").rename(shop.path / "Rockfall")
    toy_bank().save(tmp_path / "bank.safetensors")
    root, tools = tmp_path / "features", FolderTools(lambda name: Brightness(), unused, unused)
    mine = Sources(root, root, tmp_path / "bank.safetensors", keep_anchors=True, encoder="brightness")
    with pytest.raises(UsageError, match=r"bank.safetensors has no anchors of Rockfall; .*--anchors"):
        find_training_data(shop, mine, TrainConfig(), tools)
    assert "its anchor is built" not in caplog.text


def test_what_is_missing_is_named_with_the_command(tmp_path):
    sources = Sources(tmp_path / "features", tmp_path / "features", tmp_path / "bank.safetensors")
    tools = FolderTools(unused, unused, unused)
    with pytest.raises(FeatureError, match=r"no features of ucf .*kgvad extract VIDEOS --dataset ucf"):
        find_training_data(resolve_dataset("ucf"), sources, WITHOUT_ANCHORS, tools)


def test_a_folder_is_extracted_on_the_device_of_the_command_line(shop, tmp_path, monkeypatch):
    devices = []
    monkeypatch.setattr(
        "kgvad.video.encoders.base.load_visual_encoder", lambda name, device: devices.append(device) or Brightness()
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kgvad.toml").write_text('device = "cuda:7"\n')
    options = ["--encoder", "brightness", "--detector", "sultani", "--epochs", 1, "--batch", 1]
    run = kgvad("train", "--dataset", shop.path, *options, "--device", "cpu", "--run", tmp_path / "run").strip()
    assert devices == ["cpu"] and run == str(tmp_path / "run")
