"""Times of events in the test videos of a folder dataset."""

from fractions import Fraction

import av
import pytest
from numpy import full, uint8

from kgvad.detector.data.folder_annotations import event_frames
from kgvad.detector.data.folder_dataset import folder_truth, with_present_events
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


def test_the_table_may_have_the_forms_of_any_frame_labels(folder):
    for text in ("name;start_s;end_s\none.mp4;0,5;1\n", "video\tstart_frame\tend_frame\nFighting/one\t5\t10\n"):
        (folder / "annotations.csv").write_text(text)
        assert [one.intervals for one in folder_truth(folder, "mine").videos.values() if one.labels] == [((5, 10),)]


def test_a_name_that_several_videos_have_is_refused(folder):
    video = folder / "test/Arson/one.mp4"
    write_video(video, (full((64, 64, 3), 9 * i, uint8) for i in range(20)), 10)
    (folder / "annotations.csv").write_text("video,start_s,end_s\none,0.5,1\n")
    with pytest.raises(FeatureError, match=r"no video 'one' in .*, or several; use the file name, with the sub-folder"):
        folder_truth(folder, "mine")
    (folder / "annotations.csv").write_text("video,start_s,end_s\nArson/one,0.5,1\n")
    found = {one.labels: one.intervals for one in folder_truth(folder, "mine").videos.values()}
    assert found == {("Arson",): ((5, 10),), ("Fighting",): None, (): ()}


def test_seconds_of_a_video_of_varying_rate_follow_its_frames(tmp_path):
    """20 frames at 10 a second, then 20 at 2 a second: a mean of 3.4."""
    times = [i / 10 for i in range(20)] + [2 + i / 2 for i in range(20)]
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(full((48, 64, 3), index, uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "annotations.csv").write_text("video,start_s,end_s\nv,1,5\n")
    assert event_frames(tmp_path, {"v": path}, {"v": ("Fire",)}) == {"v": ((10, 26),)}


def test_without_a_file_abnormal_videos_have_no_frame_labels(folder):
    assert event_frames(folder, {}, {}) == {}
    truth = folder_truth(folder, "mine")
    assert {name.rpartition("/")[2]: one.intervals for name, one in truth.videos.items()} == {"one": None, "two": ()}


def test_events_that_were_taken_out_since_training_do_not_count(folder):
    """`kgvad evaluate` went on with the events of the table at training, without a word."""
    (folder / "annotations.csv").write_text("video,start_s,end_s\none,0.5,1\n")
    trained = folder_truth(folder, "mine")
    events = lambda: [one.intervals for one in with_present_events(trained).videos.values() if one.labels]  # noqa: E731
    assert events() == [((5, 10),)]
    (folder / "annotations.csv").write_text("video,start_s,end_s\n")
    assert events() == [None]
    (folder / "annotations.csv").unlink()
    assert events() == [None]
    (folder / "test/Fighting/one.mp4").unlink()  # nothing says what it would have now
    assert events() == [((5, 10),)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start_s\none,1\n", r"annotations\.csv has no columns of start and end"),
        ("video,start_s,end_s\nthree,0,1\n", "no video 'three'"),
        ("video,start_s,end_s\ntwo,0,1\n", "the normal video .*two has an event; correct its folder or its events"),
        ("video,start_s,end_s\none,1,1\n", "line 2: .* is not an interval"),
        ("video,start_s,end_s\none,nan,2\n", "line 2: .* is not an interval"),
        ("video,start_s,end_s\none,0,\n", "line 2: .* is not an interval"),
    ],
)
def test_a_wrong_line_is_named(folder, text, message):
    (folder / "annotations.csv").write_text(text)
    with pytest.raises(FeatureError, match=message):
        folder_truth(folder, "mine")


def test_events_of_another_category_than_the_folder_are_said(folder, caplog):
    head = "video,category,start_s,end_s\n"
    for same in ("Fighting", "fighting", "Fight", "Anomaly"):
        (folder / "annotations.csv").write_text(f"{head}one,{same},0,1\ntwo,Normal,0,1\n")
        folder_truth(folder, "mine")
    assert "differ from the labels" not in caplog.text
    (folder / "annotations.csv").write_text(f"{head}one,Fighting,0,0.5\none,Arson,1,1.5\n")
    truth = folder_truth(folder, "mine")
    line = f"{folder}/annotations.csv: categories of events differ from the labels: "
    assert caplog.text.count(f"{line}test/Fighting/one is Fighting, its event Arson") == 1
    assert truth.categories == ("Normal", "Fighting")
