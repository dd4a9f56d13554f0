"""Files that people bring in forms nobody published: read right, or refused in one line with a remedy."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad

from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.data.frame_labels import read_frame_labels
from kgvad.errors import FeatureError, KgvadError, UsageError
from kgvad.video.feature_store import FeatureStore

RNG = np.random.default_rng(0)


def rows(count=10, dim=8):
    return RNG.normal(size=(count, dim)).astype("f4")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("f").mkdir()
    for name in "ab":
        np.save(f"f/{name}.npy", rows())


def imported(*arguments):
    kgvad("features", "import", *arguments, "--output", "out")
    return FeatureStore.open("out")


def labels():
    return {name: one.labels for name, one in Truth.load("out").videos.items()}


@pytest.mark.parametrize(
    "text",
    [
        "path|label\nf/a.npy|Normal\nf/b.npy|Fight\n",
        "f/a.npy|Normal\nf/b.npy|Fight\n",
        "# videos of the shop\nf/a.npy Normal\nf/b.npy Fight\n",
        "Feature_Path,Class_Name\nf/a.npy,Normal\nf/b.npy,Fight\n",
        "video label;File Path\nNormal;f/a.npy\nFight;f/b.npy\n",
        "path,label\nF/A.NPY,Normal\nF/B.NPY,Fight\n",
        "a,Normal\nb,Fight\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_lists_in_other_spellings(text, encoding):
    Path("l.csv").write_bytes(text.encode(encoding))
    imported("l.csv", "--dataset", "mine")
    assert {name.lower(): one for name, one in labels().items()} == {"a": (), "b": ("Fight",)}


def test_a_label_may_name_several_categories():
    Path("l.csv").write_text("path,label\nf/a.npy,Normal\nf/b.npy,Fight|Arson\n")
    imported("l.csv", "--dataset", "mine")
    assert labels()["b"] == ("Fight", "Arson")


def test_labels_of_minus_one_and_one_are_refused_with_a_remedy_that_works():
    Path("l.csv").write_text("path,label\nf/a.npy,-1\nf/b.npy,1\n")
    with pytest.raises(FeatureError, match="say which one is normal: --label -1=Normal --label 1=Anomaly"):
        imported("l.csv", "--dataset", "mine")
    imported("l.csv", "--dataset", "mine", "--label", "-1=Normal", "--label", "1=Anomaly")
    assert labels() == {"a": (), "b": ("Anomaly",)}


def test_an_unknown_code_of_xd_in_a_name_is_refused():
    np.save("f/v=x__#1_label_B3-0-0.npy", rows())
    with pytest.raises(FeatureError, match="'B3-0-0' has the unknown part 'B3'"):
        imported("f", "--dataset", "xd")


def test_folders_named_after_a_split_and_a_set_are_splits():
    for part in ("TRAINING_SET", "test_videos"):
        for category in ("Normal", "Fight"):
            Path("g", category, part).mkdir(parents=True)
            np.save(Path("g", category, part, f"{part}_{category}.npy"), rows())
    imported("g", "--dataset", "mine")
    assert {name: one.split for name, one in Truth.load("out").videos.items()} == {
        "TRAINING_SET_Normal": "train", "TRAINING_SET_Fight": "train", "test_videos_Normal": "test",
        "test_videos_Fight": "test",
    }  # fmt: skip


def test_composed_and_decomposed_names_are_one_name():
    composed, apart = (unicodedata.normalize(form, "Vidéo_é") for form in ("NFC", "NFD"))
    Path("g").mkdir()
    np.save(f"g/{apart}.npy", rows())
    Path("n.csv").write_text(f"video,n_frames\n{apart}.mp4,158\n")
    Path("l.csv").write_text(f"path,label\ng/{composed}.npy,Normal\n")
    store = imported("l.csv", "--dataset", "mine", "--frames", "n.csv")
    assert store.info(composed).frame_count == 158


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g/a.mat", b"MATLAB 5.0", r"\.mat files are not read; convert .*scipy\.io\.loadmat\('a\.mat'\)"),
        ("g/a.h5", b"\x89HDF", r"a\.h5 cannot be read: .*; copy it again"),
        ("g/a.csv", b"1.5,2\n3,4\n", r"\.csv files are not read; convert .*loadtxt"),
        ("g/a.npy.gz", b"\x1f\x8b", r"\.gz files are not read; convert .*gzip\.open"),
        ("g/a.csv.gz", b"\x1f\x8b", r"packed lists and texts are not read; unpack it: gunzip -k a\.csv\.gz"),
        ("g/a.pt", b"PK\x03\x04", r"is pickled, .*torch\.load\('a\.pt', weights_only=True\)"),
        ("g/a.txt", b"1 2 3\n4 5\n", "line 2 has 2 numbers, the first has 3"),
    ],
)
def test_other_formats_are_refused_with_the_line_that_converts_them(name, content, message):
    Path("g").mkdir()
    Path(name).write_bytes(content)
    with pytest.raises(KgvadError, match=message):
        imported("g")
    if not name.endswith(".csv"):
        with pytest.raises(KgvadError, match=message):
            imported(name)
    else:
        with pytest.raises(KgvadError, match="holds numbers, not names of files"):
            imported(name)


def test_an_archive_of_several_arrays_in_a_folder_is_refused_with_what_to_do():
    np.savez("f/c.npz", rgb=rows(), flow=rows())
    with pytest.raises(FeatureError, match=r"c\.npz holds 2 arrays \(rgb, flow\), not one; save each .*NAME_rgb\.npy"):
        imported("f")


def test_text_without_numbers_in_a_folder_of_features_is_passed_over():
    Path("f/README.txt").write_text("These are features\nof two videos\n")
    assert imported("f").ids() == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("video,start_s,end_s\nv,00:01:05,00:02:10.5\n", (65, 130.5)),
        ("video;start_s;end_s\nv;1,5;2,5\n", (1.5, 2.5)),
        ("filename,start time,end time\nv.mp4,10,20\n", (10, 20)),
        ("video,begin_frame,end_frame\nv,10,20\n", (10, 20)),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_frame_labels_in_other_spellings(text, span, encoding):
    Path("a.csv").write_bytes(text.encode(encoding))
    (event,) = read_frame_labels(Path("a.csv"))["v"].events
    assert (event.start, event.end) == span
    assert event.in_seconds == ("frame" not in text)


def test_frame_labels_as_text_and_as_a_row():
    Path("m").mkdir()
    Path("m/v.txt").write_text("0\n1\n1\n0\n")
    np.save("m/w.npy", np.array([[0, 0, 1]]))
    found = read_frame_labels(Path("m"))
    assert [(e.start, e.end) for e in found["v"].events] == [(1, 3)] and found["v"].frame_count == 4
    assert [(e.start, e.end) for e in found["w"].events] == [(2, 3)] and found["w"].frame_count == 3
    np.save("m/w.npy", np.array([0, np.nan]))
    with pytest.raises(FeatureError, match=r"w\.npy cannot be read: it holds NaN"):
        read_frame_labels(Path("m"))
    np.save("gt.npy", np.zeros(9))
    with pytest.raises(FeatureError, match=r"gt\.npy does not name its videos; name a folder"):
        read_frame_labels(Path("gt.npy"))


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("video;n_frames;fps\na.mp4;158;29,97\n", "utf-8", (158, 29.97)),
        ("video,n_frames\nv/a.mp4,158\n", "utf-16", (158, 30)),
        ("video,fps\na,25\n", "utf-8", (160, 25)),
    ],
)
def test_tables_of_frame_counts_in_other_spellings(text, encoding, expected):
    Path("n.csv").write_bytes(text.encode(encoding))
    found = imported("f", "--frames", "n.csv").info("a")
    assert (found.frame_count, found.fps) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 158\nb 160\n", "is not a table with the columns video and n_frames"),
        ("video,duration\na,6.3\n", "is not a table with the columns video and n_frames"),
        ("video,n_frames,fps\na,158,x\n", "a: 'x' is not a frame rate"),
        ("video,n_frames\nc,158\n", r"n\.csv has none of these videos, but c"),
    ],
)
def test_tables_of_frame_counts_that_say_nothing_are_refused(text, message):
    Path("n.csv").write_text(text)
    with pytest.raises(FeatureError, match=message):
        imported("f", "--frames", "n.csv")


def test_crops_with_hyphens():
    Path("g").mkdir()
    for crop in range(3):
        np.save(f"g/a-crop-{crop}.npy", rows())
    assert imported("g").load("a").shape == (3, 10, 8)


TRAIN = "Abuse/Abuse001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos002_x264.mp4\n"
TEST = "Abuse/Abuse003_x264.mp4\n"


def ucf(annotation, train=TRAIN):
    Path("Anomaly_Train.txt").write_text(train)
    Path("Anomaly_Test.txt").write_text(TEST)
    Path("Temporal_Anomaly_Annotation.txt").write_bytes(annotation.encode("utf-16"))
    return read_truth("ucf", ".")


@pytest.mark.parametrize("train", [TRAIN.replace("/", "\\"), TRAIN.replace("Abuse/", "UCF_Crimes/Videos/Abuse/")])
def test_official_lists_of_ucf_with_other_paths(train):
    truth = ucf("Abuse003_x264.mp4  Abuse  10  20  -1  -1\n", train)
    assert truth.videos["Abuse001_x264"].labels == ("Abuse",)
    assert truth.videos["Abuse003_x264"].intervals == ((10, 20),)


def test_the_annotation_of_ucf_under_the_name_of_its_archive():
    ucf("Abuse003_x264.mp4  Abuse  10  20  -1  -1\n")
    Path("Temporal_Anomaly_Annotation.txt").rename("Temporal_Anomaly_Annotation_for_Testing_Videos.txt")
    assert read_truth("ucf", ".").videos["Abuse003_x264"].intervals == ((10, 20),)


@pytest.mark.parametrize(
    ("annotation", "train", "message"),
    [
        ("Abuse003_x264.mp4 Abuse 20 10 -1 -1\n", TRAIN, "line 1: .* a start below the end"),
        ("Abuse003_x264.mp4 Abuse 20 -1 -1 -1\n", TRAIN, "line 1: .* a start below the end"),
        (
            "Abuse003_x264.mp4 Abuse 1 9\nAbuse003_x264.mp4 Abuse 20 30\n",
            TRAIN,
            "line 2: Abuse003_x264 is listed twice",
        ),
        ("Abuse003_x264.mp4 Abuse 1 9\n", TEST, r"Anomaly_Test\.txt, line 1: Abuse003_x264 is listed twice"),
        ("Abuse003_x264.mp4 Abuse 1 9\n", "\n", r"Anomaly_Train\.txt is empty"),
    ],
)
def test_wrong_official_lists_of_ucf_name_the_line(annotation, train, message):
    with pytest.raises(FeatureError, match=message):
        ucf(annotation, train)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v=a__#1_label_G-0-0 20 10\n", "a start below the end"),
        ("v=a__#1_label_G-0-0 -5 10\n", "a start below the end"),
        ("v=a__#1_label_A 10 20\n", "is normal by its name and has intervals"),
        ("v=a__#1_label_G-0-0 1 2\nv=a__#1_label_G-0-0.mp4 3 4\n", "line 2: v=a__#1_label_G-0-0 is listed twice"),
    ],
)
def test_wrong_annotations_of_xd_name_the_line(text, message):
    Path("annotations.txt").write_text(text)
    with pytest.raises(FeatureError, match=message):
        read_truth("xd", ".")


def test_shanghaitech_lists_with_suffixes_and_blanks():
    Path("test_frame_mask").mkdir()
    np.save("test_frame_mask/01_0015.npy", np.array([0, 1, 1, 0]))
    Path("SH_Train_new.txt").write_text("01_001.avi 0\n")
    Path("SH_Test_NEW.txt").write_text("01_0015.avi 1 -1\n01_002.avi 0 300\n")
    truth = read_truth("shanghaitech", ".")
    assert truth.videos["01_0015"].intervals == ((1, 3),) and truth.videos["01_002"].frame_count == 300
    Path("SH_Train_new.txt").write_text("01_0015,1\n")
    with pytest.raises(FeatureError, match="01_0015 is listed twice, here or in the other split"):
        read_truth("shanghaitech", ".")


def test_a_pipe_is_no_features(tmp_path):
    os.mkfifo(tmp_path / "features")
    with pytest.raises(UsageError, match="features is a pipe or a device; name a list"):
        kgvad("features", "import", tmp_path / "features", "--dataset", "shop", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
