"""Times of events in the test videos of a folder dataset."""

import pytest
from numpy import full, uint8

from kgvad.detector.data.folder_annotations import event_frames
from kgvad.detector.data.folder_dataset import folder_truth
from kgvad.errors import FeatureError
from kgvad.video.write import write_video


@pytest.fixture
def folder(tmp_path):
    for name in ("test/Fighting/one", "test/Normal/two"):
        write_video(tmp_path / f"{name}.mp4", (full((64, 64, 3), 9 * i, uint8) for i in range(20)), 10)
    return tmp_path


def test_seconds_become_frames_and_ground_truth(folder):
    (folder / "annotations.csv").write_text("video,category,start_s,end_s\none,Fighting,0.51,1.0\none,Fighting,0,0.2\n")
    truth = folder_truth(folder, "mine")
    video = next(name for name in truth.videos if name.endswith("one"))
    assert truth.videos[video].intervals == ((0, 2), (5, 10))  # 10 frames per second, frames touched are abnormal
    assert truth.videos[video].split == "test"


def test_without_a_file_abnormal_videos_have_no_frame_labels(folder):
    assert event_frames(folder, {}) == {}
    truth = folder_truth(folder, "mine")
    assert {name.rpartition("/")[2]: one.intervals for name, one in truth.videos.items()} == {"one": None, "two": ()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start_s\none,1\n", "no column 'end_s'"),
        ("video,start_s,end_s\nthree,0,1\n", "no video 'three'"),
        ("video,start_s,end_s\none,1,1\n", "line 2: not an interval"),
        ("video,start_s,end_s\none,nan,2\n", "line 2: not an interval"),
        ("video,start_s,end_s\none,0,\n", "line 2: not an interval"),
    ],
)
def test_a_wrong_line_is_named(folder, text, message):
    (folder / "annotations.csv").write_text(text)
    with pytest.raises(FeatureError, match=message):
        folder_truth(folder, "mine")
