"""Published and own frame labels, from an import to an evaluation."""

import json
import re
import shutil

import numpy as np
import pytest
from detector_samples import kgvad

from kgvad.detector.data.annotations import XD_CATEGORIES, Truth, VideoTruth, read_truth
from kgvad.detector.data.frame_labels import Annotated, Event, read_frame_labels, with_frame_labels
from kgvad.errors import FeatureError
from kgvad.video.feature_store import FeatureStore

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A run on eight own videos of 160 frames, four of them for testing, without frame labels."""
    folder = tmp_path_factory.mktemp("shop")
    for split, numbers in (("train", range(4)), ("test", range(4, 8))):
        lines = ["path,label"]
        for number in numbers:
            np.save(folder / f"shop{number}.npy", RNG.normal(size=(10, 8)).astype("f4"))
            lines.append(f"shop{number}.npy,{('Normal', 'Theft')[number % 2]}")
        (folder / f"{split}.csv").write_text("\n".join(lines))
    lists = [folder / "train.csv", folder / "test.csv"]
    kgvad("features", "import", *lists, "--dataset", "shop", "--output", folder / "out")
    kgvad("train", "--dataset", "shop", "--features", folder / "out", "--detector", "rtfm", "--set", "width=8",
          "--epochs", 1, "--threshold-folds", 0, "--run", folder / "run")  # fmt: skip
    return folder


def evaluated(shop, out, *options):
    kgvad("evaluate", shop / "run", "--features", shop / "out", "--resamples", 20, "--json", out, *options)
    return {name: one["mean"] for name, one in json.loads(out.read_text())["methods"][0]["summary"].items()}


def test_without_frame_labels_the_metrics_of_videos_are_measured(shop, tmp_path, caplog):
    found = evaluated(shop, tmp_path / "e.json", "--plots", tmp_path / "plots")
    assert found["video_auc"] is not None and found["frame_auc"] is None and found["ano_auc"] is None
    assert "2 abnormal test videos have no frame labels (shop5, shop7)" in caplog.text
    assert "frame metrics leave them out, and mAP is not measured" in caplog.text


def test_names_that_fit_no_video_and_labels_that_are_kept_are_said(shop, tmp_path, caplog):
    labels = tmp_path / "labels.csv"
    labels.write_text("video,start_frame,end_frame\nshop5,40,90\nshop7,10,60\nshop77,1,9\n")
    evaluated(shop, tmp_path / "e.json", "--annotations", labels)
    assert f"{labels}: 1 name of no video of shop, or of several (shop77)" in caplog.text
    truth = json.loads((shop / "out/dataset.json").read_text())
    truth["videos"]["shop7"]["intervals"] = [[3, 9]]
    copy = shutil.copytree(shop / "out", tmp_path / "out")
    (copy / "dataset.json").write_text(json.dumps(truth))
    labels.write_text("video,start_frame,end_frame\nshop5,40,90\nshop1,1,9\n")
    caplog.clear()
    kgvad("evaluate", shop / "run", "--features", copy, "--annotations", labels, "--resamples", 0)
    assert f"{labels} lacks 1 abnormal test video (shop7)" in caplog.text
    assert "of no video" not in caplog.text  # shop1 is a training video


def test_test_videos_that_are_copies_of_training_videos_are_named(shop, tmp_path, caplog):
    """Published datasets hold copies under several names, and a folder may hold one clip in both of its splits."""
    copy = shutil.copytree(shop / "out", tmp_path / "out")
    kgvad("evaluate", shop / "run", "--features", copy, "--resamples", 0)
    assert "features of a training video" not in caplog.text
    (store,) = (path.parent for path in copy.glob("*/manifest.json"))
    shutil.copy(store / "shop1.npy", store / "shop5.npy")
    kgvad("evaluate", shop / "run", "--features", copy, "--resamples", 0)
    assert (
        "test videos with the features of a training video: shop5 = shop1; the figures may be too good" in caplog.text
    )


def test_test_videos_that_the_run_was_trained_on_are_named(shop, tmp_path, caplog):
    """A split by hash moves as videos are added to a folder."""
    copy = shutil.copytree(shop / "out", tmp_path / "out")
    kgvad("evaluate", shop / "run", "--features", copy, "--resamples", 0)
    assert "was trained on" not in caplog.text
    truth = json.loads((copy / "dataset.json").read_text())
    truth["videos"]["shop1"]["split"] = "test"
    (copy / "dataset.json").write_text(json.dumps(truth))
    kgvad("evaluate", shop / "run", "--features", copy, "--resamples", 0)
    assert "run was trained on 1 of the 5 test videos (shop1), so its figures are too good" in caplog.text
    run = shutil.copytree(shop / "run", tmp_path / "run")
    (run / "training_videos.json").write_text('{"version": 1, "videos": ["elsewhere"]}')
    kgvad("evaluate", run, "--features", copy, "--resamples", 0)
    assert "trained on none of the " in caplog.text and "features of another dataset" in caplog.text


@pytest.mark.parametrize(("start", "end"), [(500, 700), (100, 700)])
def test_an_event_past_the_end_of_a_video_is_refused(shop, tmp_path, start, end):
    """Otherwise it is cut away, and the frames of an abnormal video count as normal."""
    copy = shutil.copytree(shop / "out", tmp_path / "out")
    truth = json.loads((copy / "dataset.json").read_text())
    for video in truth["videos"].values():
        video["frame_count"] = 160
    (copy / "dataset.json").write_text(json.dumps(truth))
    (tmp_path / "labels.csv").write_text(f"video,start_frame,end_frame\nshop5,{start},{end}\n")
    with pytest.raises(FeatureError, match="shop5 is annotated to frame 700, and its scores end at 160; correct its"):
        kgvad("evaluate", shop / "run", "--features", copy, "--annotations", tmp_path / "labels.csv")


def test_test_videos_without_features_are_named(shop, tmp_path, caplog):
    copy = shutil.copytree(shop / "out", tmp_path / "out")
    manifest = json.loads((copy / "imported/manifest.json").read_text())
    del manifest["videos"]["shop6"]
    (copy / "imported/manifest.json").write_text(json.dumps(manifest))
    shown = kgvad("evaluate", shop / "run", "--features", copy, "--resamples", 0)
    assert "3 test videos" in shown
    assert "run: 1 of 4 test videos have no features, or no captions" in caplog.text and "(shop6)" in caplog.text


def test_frames_are_preferred_to_seconds_and_an_assumed_rate_is_said(shop, tmp_path, caplog):
    frames, both, seconds = (tmp_path / f"{name}.csv" for name in ("frames", "both", "seconds"))
    frames.write_text("video,start_frame,end_frame\nshop5,40,90\nshop7,10,60\n")
    both.write_text("video,start_s,end_s,start_frame,end_frame\nshop5,0,1,40,90\nshop7,0,1,10,60\n")
    seconds.write_text("video,start_s,end_s\nshop5,0,1\nshop7,0,1\n")
    assert evaluated(shop, tmp_path / "e.json", "--annotations", frames) == evaluated(
        shop, tmp_path / "e.json", "--annotations", both
    )
    assert "in seconds" not in caplog.text
    evaluated(shop, tmp_path / "e.json", "--annotations", seconds)
    assert "seconds.csv is in seconds, and the frame rate of 4 test videos is assumed (shop4, shop5" in caplog.text


def masks(folder):
    folder.mkdir()
    for video, spans in {"shop5": [(40, 90)], "shop7": [(10, 60), (100, 130)], "shop4": []}.items():
        mask = np.zeros(160, np.int8)
        for start, end in spans:
            mask[start:end] = 1
        np.save(folder / f"{video}.npy", mask)
    return folder


FORMS = {
    "frames.csv": "video,start_frame,end_frame,category\nshop5.mp4,40,90,Theft\nshop7,10,60,theft\n"
    "shop7,100,130,Theft\n"
    "shop4,,,Normal\n",
    "seconds.csv": "video;start_s;end_s\nshop5;1.334;3.0\nshop7;0.334;2\nshop7;3.334;4.3333\n",
    "plain.tsv": "name\tstart\tend\nTheft/shop5.mp4\t40\t90\nshop7\t10\t60\nshop7\t100\t130\n",
    "counted.txt": "Theft/shop5.mp4 160 Theft 40 90 -1 -1\nTheft/shop7.mp4 160 Theft 10 60 100 130\n"
    "Normal/shop4.mp4 160 Normal -1 -1 -1 -1\n",
    "pairs.txt": "shop5 40 90\nshop7.mp4 10 60 100 130\n",
    "masks": None,
}


@pytest.mark.parametrize("form", FORMS)
def test_own_frame_labels_in_every_form_give_the_same_metrics(shop, tmp_path, form):
    path = masks(tmp_path / form) if FORMS[form] is None else tmp_path / form
    if FORMS[form] is not None:
        path.write_text(FORMS[form])
    (tmp_path / "expected.txt").write_text(FORMS["pairs.txt"])
    expected = evaluated(shop, tmp_path / "b.json", "--annotations", tmp_path / "expected.txt")
    assert expected["frame_auc"] is not None
    assert evaluated(shop, tmp_path / "a.json", "--annotations", path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,start_s,end_s\nshop5,9,3\n", "line 2: '9' to '3' is not an interval"),
        ("video,start,end\nshop5,1.5,3.5\n", "not whole frames; call the columns of seconds start_s"),
        ("video,start,end\nshop5,00:00:01,00:00:03\n", "not whole frames; call the columns of seconds start_s"),
        ("video,begin\nshop5,9\n", "no columns of start and end"),
        ("elsewhere 10 20\n", "names no test video of shop; its first is elsewhere"),
        ("video,start_s,end_s\n", "names no test video of shop; name the videos as"),
        ("shop4 10 20\n", "the normal video shop4 has an event"),
        ("video,start,end,label\nshop5,1,20,Fire\n", "shop5 has an event of 'Fire'"),
        ("shop5 10 900\n", "shop5 is annotated to frame 900, and its scores end at 160; .*--frames"),
        ("shop5.mp4 700 Theft 10 20\n", "shop5: 10 rows of 16 frames do not fit its 700 frames"),
        ("shop5 10 20\nshop5.mp4 10 20\n", "'shop5' and 'shop5.mp4' name the same video"),
        ("video,start,end\nshop5,1,9\nshop5.mp4,20,30\n", "'shop5' and 'shop5.mp4' name the same video"),
    ],
)
def test_wrong_frame_labels_name_the_line_or_the_video(shop, tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(FeatureError) as caught:
        evaluated(shop, tmp_path / "e.json", "--annotations", path)
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", 'video,start_s,end_s\n"a,1,2\nb,1,2\n', "a quoted cell goes over several lines"),
        ("a.csv", "video\na\n", "no columns of start and end"),
        ("a.txt", f"a.mp4 {'9' * 400} {'9' * 401}\n", "line 1"),
    ],
)
def test_damaged_frame_labels_are_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(FeatureError, match=message):
        read_frame_labels(tmp_path / name)


def test_events_may_be_of_an_alias_of_the_category(caplog):
    truth = Truth(
        dataset="xd", categories=XD_CATEGORIES, videos={"a": VideoTruth(split="test", labels=("CarAccident",))}
    )
    labels = {"a": Annotated((Event(3, 9, "Car accident"), Event(20, 30, "B6")))}
    found = with_frame_labels(truth, labels, {}, "x.csv")
    assert found.videos["a"].events == (("CarAccident", 3, 9), ("CarAccident", 20, 30))
    assert not caplog.text
    with_frame_labels(truth, {"a": Annotated((Event(3, 9, "Riot"),))}, {}, "x.csv")
    assert "x.csv: categories of events differ from the labels: a is CarAccident, its event Riot" in caplog.text


def test_frames_before_the_category_may_have_a_decimal_point(tmp_path):
    (tmp_path / "a.txt").write_text("a.mp4 120.0 Theft 1 2\n")
    assert read_frame_labels(tmp_path / "a.txt")["a"].frame_count == 120


def test_two_arrays_of_one_name_are_refused(tmp_path):
    for folder in (".", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        np.save(tmp_path / folder / "clip.npy", np.zeros(5))
    with pytest.raises(FeatureError, match="'b/clip' and 'clip' name the same video"):
        read_frame_labels(tmp_path)


def test_arrays_of_frame_labels_must_have_one_number_a_frame(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    with pytest.raises(FeatureError, match=r"a\.npy .*not one number a frame"):
        read_frame_labels(tmp_path)


@pytest.mark.parametrize("values", [[0.1, 0.9, 0.2], [-1, 1, -1]])
def test_scores_and_marks_below_zero_are_no_frame_labels(tmp_path, values):
    """Every frame would be abnormal."""
    np.save(tmp_path / "a.npy", np.array(values))
    with pytest.raises(FeatureError, match=rf"a\.npy .* it holds {values[0]}, not 0 for a normal frame"):
        read_frame_labels(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "# by me\nvideo,start_frame,end_frame\n# one more\na,4,9\nb,nan,NaN\nc,-1.0,-1.0\nd,NA,NA\n"),
        ("a.txt", "# by me\n# of 2026\na 4 9\nb -1 -1\nc -1 -1\nd -1 -1\n"),
        ("a.tsv", "video\tstart_s\tend_s\na\t4,0\t9,0\nb\t\t\nc\t\t\nd\t\t\n"),
    ],
)
def test_comments_and_the_spellings_of_no_event(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_frame_labels(tmp_path / name)
    assert {video: [(one.start, one.end) for one in own.events] for video, own in found.items()} == {
        "a": [(4, 9)], "b": [], "c": [], "d": []
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["Café Süd 1,4,9\n", "Café Süd 1.mp4,4,9\n", "Café Süd 1;Theft;4;9;\n", "Café Süd 1\t4\t9\n"]
)
def test_names_with_blanks_in_tables_without_a_header(tmp_path, line):
    (tmp_path / "a.csv").write_text(line, "utf-8")
    found = read_frame_labels(tmp_path / "a.csv")
    assert {video: [(one.start, one.end) for one in own.events] for video, own in found.items()} == {
        "Café Süd 1": [(4, 9)]
    }


def test_plain_start_and_end_are_said_to_be_frames(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("video,start,end\na,4,9\n")
    caplog.set_level("INFO")
    assert not read_frame_labels(tmp_path / "a.csv")["a"].events[0].in_seconds
    assert "start and end are taken as frames" in caplog.text


def test_copies_of_training_videos_among_the_test_videos_are_named(tmp_path, caplog):
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", RNG.normal(size=(10, 8)).astype("f4"))
    shutil.copy(tmp_path / "a.npy", tmp_path / "copy.npy")
    (tmp_path / "train.csv").write_text("path,label\na.npy,Theft\nb.npy,Normal\n")
    (tmp_path / "test.csv").write_text("path,label\ncopy.npy,Theft\nc.npy,Normal\n")
    lists = [tmp_path / "train.csv", tmp_path / "test.csv"]
    kgvad("features", "import", *lists, "--dataset", "shop", "--output", tmp_path / "out")
    assert "1 video with the same features in the training and the test list: a = copy" in caplog.text


def test_a_dataset_may_be_called_like_the_folder_of_its_features(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    kgvad("train", "--dataset", "shop", "--features", shop / "out", "--detector", "rtfm", "--set", "width=8",
          "--epochs", 1, "--threshold-folds", 0, "--run", tmp_path / "run")  # fmt: skip
    assert (tmp_path / "run/config.json").is_file()


def test_normal_videos_alone_train_nothing_and_say_so(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"a{number}.npy", RNG.normal(size=(10, 8)).astype("f4"))
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"a{n}.npy,Normal\n" for n in range(3)))
    kgvad("features", "import", tmp_path / "train.csv", "--dataset", "calm", "--output", tmp_path / "out")
    with pytest.raises(FeatureError, match="all 3 videos of calm are normal; a detector needs abnormal ones too"):
        kgvad("train", "--dataset", "calm", "--features", tmp_path / "out", "--run", tmp_path / "run")


def test_xd_violence_from_its_published_annotations(tmp_path):
    film, normal = "Film.Three.2003__#00-05_label_B1-0-0", "v=qqq__#1_label_A"
    (tmp_path / "annotations.txt").write_text(f"{film} 30 110\n")
    for name in (film, normal):
        np.save(tmp_path / f"{name}__0.npy", RNG.normal(size=(12, 4)).astype("f4"))
    path = tmp_path / "xd_CLIP_rgbtest.csv"
    path.write_text(f"path,label\n/home/me/{film}__0.npy,B1-0-0\n/home/me/{normal}__0.npy,A\n")
    given = ("features", "import", path, "--dataset", "xd", "--output")
    kgvad(*given, tmp_path / "out")
    truth = Truth.load(tmp_path / "out")
    assert truth.videos[film].intervals == ((30, 110),) and truth.videos[normal].split == "test"
    assert FeatureStore.open(tmp_path / "out").info(film).frame_count == 192
    (tmp_path / "frames.json").write_text(json.dumps({f"{film}.mp4": 200}))
    kgvad(*given, tmp_path / "counted", "--frames", tmp_path / "frames.json")
    assert FeatureStore.open(tmp_path / "counted").info(film).frame_count == 200
    (tmp_path / "annotations_multiclasses.txt").write_text(f"{film} B1 30 110\n")
    assert read_truth("xd", tmp_path).videos[film].events == (("Fighting", 30, 110),)


def test_shanghaitech_from_its_published_lists(tmp_path):
    (tmp_path / "SH_Train_new.txt").write_text("01_0014,1\n01_002,0\n")
    (tmp_path / "SH_Test_NEW.txt").write_text("01_0015,1,-1\n01_004,0,128\n")
    (tmp_path / "test_frame_mask").mkdir()
    np.save(tmp_path / "test_frame_mask" / "01_0015.npy", np.repeat([0, 1, 0], [50, 20, 60]))
    truth = read_truth("shanghaitech", tmp_path)
    assert truth.videos["01_0015"].intervals == ((50, 70),) and truth.videos["01_0015"].frame_count == 130
    assert truth.videos["01_004"].frame_count == 128 and truth.split("train") == ["01_0014", "01_002"]


def test_frame_counts_in_the_annotation_of_ucf_crime(tmp_path):
    (tmp_path / "Anomaly_Train.txt").write_text("Abuse/Abuse001_x264.mp4\n")
    (tmp_path / "Anomaly_Test.txt").write_text("Abuse/Abuse028_x264.mp4\n")
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text("Abuse028_x264.mp4 1412 Abuse 165 240 -1 -1\n")
    video = read_truth("ucf", tmp_path).videos["Abuse028_x264"]
    assert (video.frame_count, video.intervals) == (1412, ((165, 240),))


def test_a_comma_within_a_header_of_semicolons_is_no_delimiter(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("video;start_s;end_s;remarks, if any\na;1,5;2,5;\n")
    (event,) = read_frame_labels(path)["a"].events
    assert (event.start, event.end, event.in_seconds) == (1.5, 2.5, True)
