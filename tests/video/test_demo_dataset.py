"""The rendered dataset: labelled, in two splits, and different from clip to clip."""

import csv

import numpy as np
import pytest

from kgvad.errors import UsageError
from kgvad.video.decode import probe
from kgvad.video.demo_dataset import CATEGORIES, DURATION_S, FPS, clips, render_dataset
from kgvad.video.seek import read_frames


def test_it_has_both_splits_and_times_for_the_abnormal_test_clips(tmp_path, monkeypatch):
    from kgvad.video import demo_dataset

    monkeypatch.setattr(demo_dataset, "TRAIN_CLIPS", 1)
    monkeypatch.setattr(demo_dataset, "TEST_CLIPS", 1)
    root = render_dataset(tmp_path / "demo")
    assert sorted(path.name for path in (root / "train").iterdir()) == sorted([*CATEGORIES, "Normal"])
    assert len(list(root.glob("*/Normal/*.mp4"))) == len(list(root.rglob("*.mp4"))) / 2
    rows = list(csv.DictReader((root / "annotations.csv").open()))
    assert [row["category"] for row in rows] == list(CATEGORIES)
    assert all(0 < float(row["start_s"]) < float(row["end_s"]) <= DURATION_S for row in rows)
    info = probe(root / "train/Explosion/Explosion001.mp4")
    assert (info.fps, info.frame_count) == (FPS, FPS * DURATION_S)
    explosion = next(row for row in rows if row["category"] == "Explosion")
    start = round(float(explosion["start_s"]) * FPS)
    path = root / f"test/Explosion/{explosion['video']}.mp4"
    frames = np.stack(list(read_frames(path, [start - 2, start + 1]).values())).astype(float)
    assert frames[1].mean() > frames[0].mean() + 20  # the flash
    render_dataset(root)  # what was rendered is replaced


@pytest.mark.parametrize("name", ["train/Fighting/Fighting001.mp4", "annotations.csv"])
def test_files_of_the_user_stay(tmp_path, name):
    own = tmp_path / name
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("mine")
    with pytest.raises(UsageError, match=f"{name} already exists"):
        render_dataset(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own] and own.read_text() == "mine"


def test_names_are_unique_across_splits():
    names = [clip.name for clip in clips()]
    assert len(set(names)) == len(names)
