"""What people bring to ``kgvad features import``: published lists, folders and archives, in small copies."""

import io
import itertools
import logging
import pickle
import re

import numpy as np
import pytest
from detector_samples import kgvad

from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.category_folders import folder_labels
from kgvad.detector.data.frame_labels import read_frame_labels, with_frame_labels
from kgvad.detector.data.labels import find_category, read_labels
from kgvad.errors import FeatureError, KgvadError, UsageError
from kgvad.kg.tables import bundled_tables, load_table
from kgvad.video.feature_store import FeatureStore
from kgvad.video.video_ids import VideoNames, tail_ids
from kgvad.video.write import write_video

RNG = np.random.default_rng(0)


def rows(count=10, dim=16, value=None):
    return np.full((count, dim), value, np.float32) if value is not None else RNG.normal(size=(count, dim)).astype("f4")


def save(folder, arrays):
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, array)


def write(path, *lines, newline="\n", mark=""):
    path.write_bytes((mark + newline.join(lines) + newline).encode())
    return path


def imported(*arguments, out):
    kgvad("features", "import", *arguments, "--output", out)
    return FeatureStore.open(out)


def labels(out):
    return {name: one.labels for name, one in Truth.load(out).videos.items()}


@pytest.mark.parametrize("stream", ["RGB", "Flow"])
def test_the_folder_of_the_authors_path_decides_between_equal_names(tmp_path, stream):
    names = [f"Film.One.1999__#00-01_label_B2-0-0__{crop}.npy" for crop in range(5)]
    save(tmp_path, {f"{kind}/{name}": rows(6, 8, value) for kind, value in (("RGB", 1), ("Flow", 2)) for name in names})
    path = write(tmp_path / "x.list", *(f"/media/me/i3d-features/{stream}/{name}" for name in names))
    store = imported(path, "--dataset", "xd", out=tmp_path / "out")
    assert (store.load("Film.One.1999__#00-01_label_B2-0-0") == {"RGB": 1, "Flow": 2}[stream]).all()


def test_a_tie_between_two_files_names_both(tmp_path):
    save(tmp_path, {"one/a.npy": rows(), "two/a.npy": rows()})
    path = write(tmp_path / "x.list", "/data/features/a.npy")
    with pytest.raises(FeatureError, match=r"x\.list, line 1: .*one/a\.npy or .*two/a\.npy"):
        imported(path, out=tmp_path / "out")
    store = imported(path, tmp_path / "two", out=tmp_path / "out")
    np.testing.assert_allclose(store.load("a"), np.load(tmp_path / "two/a.npy"), rtol=1e-3, atol=1e-3)


def test_flow_is_not_taken_where_the_list_names_rgb(tmp_path):
    save(tmp_path, {"Flow/a__0.npy": rows()})
    with pytest.raises(FeatureError, match=r"1 listed file neither .*a__0\.npy"):
        imported(write(tmp_path / "rgb.list", "/x/RGB/a__0.npy"), out=tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["Normal", "Abnormal"], [(), ("Abnormal",)]),
        (["normal", "AbnormalParking"], [(), ("AbnormalParking",)]),
        (["0", "1"], [(), ("Anomaly",)]),
        (["0.0", "1.0"], [(), ("Anomaly",)]),
        (["NonFight", "Fight"], [(), ("Fight",)]),
        (["Normal", "NonNormal"], [(), ("NonNormal",)]),
        (["Normal", "AbNormal"], [(), ("AbNormal",)]),
        (["non-violence", "Violent"], [(), ("Violent",)]),
        (["Testing_Normal_Videos_Anomaly", "Robbery"], [(), ("Robbery",)]),
    ],
)
def test_labels_are_words(tmp_path, words, expected, caplog):
    save(tmp_path, {f"feat/cam{i}.npy": rows() for i in range(4)})
    path = write(tmp_path / "train.csv", "path,label", *(f"feat/cam{i}.npy,{words[i % 2]}" for i in range(4)))
    with caplog.at_level(logging.INFO):
        imported(path, "--dataset", "mine", out=tmp_path / "out")
    assert list(labels(tmp_path / "out").values()) == expected * 2
    assert f"train: Normal 2, {expected[1][0]} 2" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calm", "fight"], "none of the labels calm, fight means normal; .*--label calm=Normal"),
        (["2", "7"], "the label 2 of mine is a number.*--label 0=Normal --label 2="),
        (["NonStop", "Fight"], "'NonStop' may mean normal or a category.*--label NonStop=Normal"),
    ],
)
def test_labels_that_say_nothing_are_refused_with_the_option_that_says_it(tmp_path, words, message):
    save(tmp_path, {f"{i}.npy": rows() for i in range(2)})
    path = write(tmp_path / "train.csv", "path,label", *(f"{i}.npy,{words[i]}" for i in range(2)))
    with pytest.raises(FeatureError) as caught:
        imported(path, "--dataset", "mine", out=tmp_path / "out")
    assert re.search(message, str(caught.value))
    said = [f"{words[0]}=Normal", f"{words[1]}=Fight"]
    imported(path, "--dataset", "mine", "--label", said[0], "--label", said[1], out=tmp_path / "out")
    assert labels(tmp_path / "out") == {"0": (), "1": ("Fight",)}


def test_stream_and_side_files_of_video_features(tmp_path):
    arrays = {f"i3d/clip{name}_{stream}.npy": rows(5, 32) for name in "AB" for stream in ("rgb", "flow")}
    save(tmp_path, arrays)
    save(tmp_path, {f"i3d/clip{n}_fps.npy": np.array(25.0) for n in "AB"})
    save(tmp_path, {f"i3d/clip{n}_timestamps_ms.npy": np.arange(5.0) for n in "AB"})
    both = imported(tmp_path / "i3d", "-e", "vf", "--stride", 64, out=tmp_path / "out")
    assert both.ids() == ["clipA", "clipB"] and both.info("clipA").frame_count == 320
    joined = np.concatenate([arrays[f"i3d/clipA_{one}.npy"] for one in ("rgb", "flow")], axis=1)
    np.testing.assert_allclose(both.load("clipA"), joined, rtol=1e-3, atol=1e-3)
    flow = imported(tmp_path / "i3d", "--stream", "flow", out=tmp_path / "flow")
    np.testing.assert_allclose(flow.load("clipB"), arrays["i3d/clipB_flow.npy"], rtol=1e-3, atol=1e-3)
    lines = ["i3d/clipA_rgb.npy,Normal", "i3d/clipA_FPS.npy,Normal", "i3d/clipB_rgb.npy,Fighting"]
    path = write(tmp_path / "rgb.csv", "path,label", *lines)
    assert imported(path, "-d", "mine", "--stride", 64, out=tmp_path / "rgb").info("clipB").frame_count == 320
    (tmp_path / "i3d/clipB_rgb.npy").unlink()
    with pytest.raises(FeatureError, match="clipB has no rgb features; choose one stream with --stream"):
        imported(tmp_path / "i3d", out=tmp_path / "lost")


def test_a_store_within_the_folder_of_its_source_is_no_source(tmp_path):
    save(tmp_path, {"in/a.npy": rows(), "in/b.npy": rows()})
    first = imported(tmp_path / "in", out=tmp_path / "in/features")
    save(tmp_path, {"in/c.npy": rows()})
    second = imported(tmp_path / "in", out=tmp_path / "in/features")
    assert first.ids() == ["a", "b"] and second.ids() == ["a", "b", "c"]


def test_all_missing_files_are_named_together_or_left_out(tmp_path, caplog):
    save(tmp_path, {"feat/v=aaa__#1_label_A.npy": rows(), "feat/v=bbb__#1_label_B6-0-0.npy": rows()})
    names = ["v=aaa__#1_label_A,A", "v=bbb__#1_label_B6-0-0,B6-0-0", "v=8cT__#1_label_A,A", "v=x__#1_label_A,A"]
    path = write(tmp_path / "xd.csv", "path,label", *("/home/k/" + name.replace(",", ".npy,") for name in names))
    given = (path, "--dataset", "xd")
    with pytest.raises(FeatureError, match=r"2 listed files .*v=8cT.*line 4.*v=x.*line 5.*--skip-missing"):
        imported(*given, out=tmp_path / "out")
    store = imported(*given, "--skip-missing", out=tmp_path / "out")
    assert len(store.ids()) == 2 and "left out 2 videos" in caplog.text


def test_dotted_names_keep_what_follows_the_dot(tmp_path):
    names = ["Some.Film.1995__#00-01_label_B2-0-0", "Some.Film.1996__#00-05_label_A", "v=abcd__#1_label_A.mp4"]
    save(tmp_path, {f"feat/{name}.npy": rows() for name in names})
    codes = ("B2-0-0", "A", "A")
    lines = (f"feat/{name}.npy,{code}" for name, code in zip(names, codes, strict=True))
    path = write(tmp_path / "train.csv", "path,label", *lines)
    store = imported(path, "--dataset", "xd", out=tmp_path / "out")
    assert store.ids() == sorted(name.removesuffix(".mp4") for name in names)


SPELLINGS = {
    "win.list": (["D:\\vad\\My Features\\{}"], {"newline": "\r\n", "mark": "\ufeff"}),
    "comma.list": (["/data/ucf, clip/{}"], {}),
    "space.list": (["/data/My Features/{}"], {}),
    "label.list": (["/data/My Features/{} {label}"], {}),
    "tab.list": (["/data/My Features/{}\t{label}"], {}),
    "index.csv": (["path,label", "/data/My Features/{},{label}"], {}),
    "comma.csv": (["path,label", "/data/ucf, clip/{},{label}"], {"newline": "\r\n"}),
    "quoted.csv": (["path,label", '"/data/ucf, clip/{}",{label}'], {}),
    "pandas.csv": ([",path,label", "{i},/data/My Features/{},{label}"], {}),
    "upper.csv": (["Path,Label", "/data/My Features/{},{label}"], {"mark": "\ufeff"}),
    "swapped.csv": (["label;file", "{label};/data/My Features/{}"], {}),
    "numbered.list": (["{i} /data/My Features/{}"], {}),
    "leading.csv": (["{label},/data/My Features/{}"], {}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_list_gives_the_same_store(tmp_path, spelling):
    lines, form = SPELLINGS[spelling]
    arrays = {f"{video}__{crop}.npy": rows() for video in ("Abuse001_x264", "Normal_Videos001_x264") for crop in (0, 1)}
    save(tmp_path / "My Features", arrays)
    cells = [(i, name, "Normal" if "Normal" in name else "Abuse") for i, name in enumerate(arrays)]
    body = [lines[-1].format(name, label=label, i=i) for i, name, label in cells]
    path = write(tmp_path / spelling, *lines[:-1], *body, **form)
    store = imported(path, "--dataset", "ucf", out=tmp_path / "out")
    other = imported(tmp_path / "My Features", "--list", path, "-e", "imported", out=tmp_path / "other")
    expected = np.stack([arrays["Abuse001_x264__0.npy"], arrays["Abuse001_x264__1.npy"]])
    for one in (store, other):
        assert one.ids() == ["Abuse001_x264", "Normal_Videos001_x264"]
        np.testing.assert_allclose(one.load("Abuse001_x264"), expected, rtol=1e-3, atol=1e-3)
    assert labels(tmp_path / "out") == {"Abuse001_x264": ("Abuse",), "Normal_Videos001_x264": ()}
    assert store.fingerprint == other.fingerprint


def test_links_to_folders_of_arrays_are_followed(tmp_path):
    save(tmp_path / "disk", {"Fight/a.npy": rows(), "Normal/b.npy": rows()})
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "train").symlink_to("../disk")
    (tmp_path / "disk" / "back").symlink_to("../features")
    assert imported(tmp_path / "features", out=tmp_path / "out").ids() == ["a", "b"]


def test_categories_by_their_aliases_and_normal_folders(tmp_path):
    save(tmp_path, {"Abuse001_x264__0.npy": rows(), "Normal_Videos001_x264__0.npy": rows()})
    path = write(tmp_path / "x.csv", "path,label", "Abuse001_x264__0.npy,RoadAccident",
                 "Normal_Videos001_x264__0.npy,Testing_Normal_Videos_Anomaly")  # fmt: skip
    imported(path, "--dataset", "ucf", out=tmp_path / "out")
    assert labels(tmp_path / "out") == {"Abuse001_x264": ("RoadAccidents",), "Normal_Videos001_x264": ()}


def test_a_published_list_of_videos_finds_the_features_of_each(tmp_path):
    arrays = {f"all/Abuse001_x264__{crop}.npy": rows() for crop in range(5)}
    save(tmp_path, {**arrays, "all/Normal_Videos001_x264__0.npy": rows()})
    write(tmp_path / "Anomaly_Train.txt", "Abuse/Abuse001_x264.mp4",
          "Training_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4")  # fmt: skip
    store = imported(tmp_path / "Anomaly_Train.txt", "--dataset", "ucf", out=tmp_path / "out")
    assert (store.manifest.crops, store.ids()) == (5, ["Abuse001_x264", "Normal_Videos001_x264"])


def test_rows_that_do_not_fit_are_named_with_a_remedy_that_works(tmp_path):
    save(tmp_path, {"a.npy": rows(103), "b.npy": rows(8)})
    write(tmp_path / "frames.csv", "video,n_frames", "a,1700", "b,130")
    with pytest.raises(FeatureError, match=r"1 of 2 videos .* a has 103 rows and 1700 frames; .*--layout even"):
        imported(tmp_path, "--frames", tmp_path / "frames.csv", out=tmp_path / "out")
    store = imported(tmp_path, "--frames", tmp_path / "frames.csv", "--layout", "even", out=tmp_path / "out")
    spans = store.info("a").spans()
    assert spans[0, 0] == 0 and spans[-1, 1] == 1700 and (spans[1:, 0] == spans[:-1, 1]).all()
    assert set(np.diff(spans, axis=1).ravel()) == {16, 17}


UCF = {
    "Anomaly_Train.txt": ["Abuse/Abuse001_x264.mp4", "Training_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4"],
    "Anomaly_Test.txt": ["Abuse/Abuse028_x264.mp4", "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4"],
    "Temporal_Anomaly_Annotation.txt": [
        "Abuse028_x264.mp4  Abuse  165  240  -1  -1", "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1",
    ],
}  # fmt: skip
UCF_VIDEOS = ("Abuse001_x264", "Normal_Videos001_x264", "Abuse028_x264", "Normal_Videos_003_x264")


def ucf(folder, count):
    """Features of four UCF-Crime videos and the official lists; ``count`` rows a video."""
    for name, lines in UCF.items():
        (folder / "lists").mkdir(parents=True, exist_ok=True)
        write(folder / "lists" / name, *lines)
    save(folder / "all_rgbs", {f"{video}.npy": rows(count) for video in UCF_VIDEOS})
    write(folder / "train.list", *(f"all_rgbs/{video}.npy" for video in UCF_VIDEOS[:2]))
    write(folder / "test.list", *(f"all_rgbs/{video}.npy" for video in UCF_VIDEOS[2:]))
    write(folder / "frames.csv", "video,n_frames", "Abuse028_x264,1412", "Normal_Videos_003_x264,2823")
    return (folder / "train.list", folder / "test.list", "--dataset", "ucf", "--lists", folder / "lists")


@pytest.mark.parametrize("count", [32, 200])
def test_equal_rows_are_parts_of_the_video_and_need_its_frames(tmp_path, count):
    given = ucf(tmp_path, count)
    with pytest.raises(FeatureError, match=f"2 test videos have {count} rows and no frame count: Abuse028.*--frames"):
        imported(*given, out=tmp_path / "out")
    store = imported(*given, "--frames", tmp_path / "frames.csv", out=tmp_path / "out")
    spans = store.info("Abuse028_x264").spans()
    assert len(spans) == count and spans[-1].tolist() == [1412 * (count - 1) // count, 1412]
    assert store.info("Abuse001_x264").assumed == ("frame_count",)


def test_text_files_of_32_lines(tmp_path):
    given = ucf(tmp_path, 32)
    array = rows(32)
    for video in UCF_VIDEOS:
        (tmp_path / "all_rgbs" / f"{video}.npy").unlink()
        np.savetxt(tmp_path / "all_rgbs" / f"{video}.txt", array)
    for path in given[:2]:
        path.write_text(path.read_text().replace(".npy", ".txt"))
    store = imported(*given, "--frames", tmp_path / "frames.csv", out=tmp_path / "out")
    np.testing.assert_allclose(store.load("Abuse028_x264"), array, rtol=1e-3, atol=1e-3)
    (tmp_path / "all_rgbs" / "Abuse028_x264.txt").write_text("1 2\n3\n")
    with pytest.raises(FeatureError, match=r"Abuse028_x264\.txt cannot be read"):
        imported(*given, "--frames", tmp_path / "frames.csv", out=tmp_path / "new")


def test_an_annotation_past_the_assumed_end_names_the_video(tmp_path):
    given = ucf(tmp_path, 10)
    with pytest.raises(FeatureError, match=r"Abuse028_x264 \(annotated to frame 240 of 160 assumed\); .*--frames"):
        imported(*given, out=tmp_path / "out")


def test_frames_and_rate_come_from_the_videos_the_list_or_the_option(tmp_path):
    save(tmp_path, {"feat/a.npy": rows(3), "feat/b.npy": rows(3)})
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "a.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(50)), 10)
    store = imported(tmp_path / "feat", "--frames", tmp_path / "v", "--fps", 25, out=tmp_path / "out")
    a, b = store.info("a"), store.info("b")
    assert (a.frame_count, a.fps, a.assumed) == (50, 10, ())
    assert (b.frame_count, b.fps, b.assumed) == (48, 25, ("frame_count",))
    path = write(tmp_path / "x.csv", "path,fps,frames", "feat/a.npy,12.5,47", "feat/b.npy,10,45")
    store = imported(path, "--fps", 30, out=tmp_path / "list")
    assert [(store.info(v).fps, store.info(v).frame_count) for v in "ab"] == [(12.5, 47), (10, 45)]
    assert imported(tmp_path / "feat", out=tmp_path / "none").info("a").assumed == ("fps", "frame_count")


def test_crop_zero_without_suffix(tmp_path):
    arrays = {
        f"train/{v}{crop}.npy": rows(9, 8) for v in UCF_VIDEOS[:2] for crop in ("", *(f"__{i}" for i in range(1, 10)))
    }
    save(tmp_path, arrays)
    path = write(tmp_path / "train.list", *arrays)
    for store in (imported(path, "-d", "ucf", out=tmp_path / "a"), imported(tmp_path / "train", out=tmp_path / "b")):
        assert store.load("Abuse001_x264").shape == (10, 9, 8)
        np.testing.assert_allclose(
            store.load("Abuse001_x264")[0], arrays["train/Abuse001_x264.npy"], rtol=1e-3, atol=1e-3
        )


def test_single_underscores_are_crops_only_where_all_names_have_them(tmp_path):
    save(tmp_path / "crops", {f"v{v}_{crop}.npy": rows() for v in "ab" for crop in range(5)})
    assert imported(tmp_path / "crops", out=tmp_path / "a").load("va").shape == (5, 10, 16)
    assert len(imported(tmp_path / "crops", "--crops", 1, out=tmp_path / "b").ids()) == 10
    save(tmp_path / "names", {f"{name}.npy": rows() for name in ("01_0014", "01_002", "cam_0", "cam_1")})
    assert imported(tmp_path / "names", out=tmp_path / "c").ids() == ["01_0014", "01_002", "cam_0", "cam_1"]


SOLID = RNG.normal(size=(7, 10, 6)).astype("f4")  # [T, crops, D]


@pytest.mark.parametrize(
    ("arrays", "crops"),
    [
        ([SOLID, SOLID[:5]], 10),
        ([SOLID.transpose(1, 0, 2), SOLID[:5].transpose(1, 0, 2)], 10),
        ([SOLID[:, :1], SOLID[:5, :1]], 1),
        ([np.concatenate([SOLID, SOLID])[:10], SOLID], 10),  # one has as many rows as crops
        ([SOLID[:, :3], SOLID[:5, :3]], 3),
    ],
)
def test_one_orientation_for_a_whole_source(tmp_path, arrays, crops):
    save(tmp_path / "in", {f"v{i}.npy": array for i, array in enumerate(arrays)})
    loaded = imported(tmp_path / "in", out=tmp_path / "out").load("v1")
    expected = (
        arrays[1]
        if arrays[1].shape[0] == crops and crops == 10 and arrays[1].shape[1] != 10
        else arrays[1].transpose(1, 0, 2)
    )
    np.testing.assert_allclose(loaded if crops > 1 else loaded[None], expected, rtol=1e-3, atol=1e-3)


def test_an_orientation_that_cannot_be_told_is_asked_for(tmp_path):
    save(tmp_path / "in", {"v.npy": SOLID[:5], "w.npy": SOLID[5:7].repeat(5, axis=0)[:5]})
    with pytest.raises(FeatureError, match=r"axis of the crops is ambiguous in \[5, 10, 6\]; .*--axes"):
        imported(tmp_path / "in", out=tmp_path / "out")
    store = imported(tmp_path / "in", "--axes", "CTD", out=tmp_path / "out")
    np.testing.assert_allclose(store.load("v"), SOLID[:5], rtol=1e-3, atol=1e-3)


def test_pickles_are_refused_as_pickles(tmp_path):
    """The file would leave a trace if it were unpickled."""

    class Danger:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(tmp_path / "cam1.npy", np.array({"rgb": Danger()}, dtype=object))
    with pytest.raises(
        FeatureError, match=r"cam1\.npy is pickled.*np\.load\('cam1\.npy', allow_pickle=True\)"
    ) as caught:
        imported(tmp_path, out=tmp_path / "out")
    assert "damaged" not in str(caught.value) and not (tmp_path / "ran").exists()
    (tmp_path / "cam1.npy").unlink()
    (tmp_path / "result.pkl").write_bytes(pickle.dumps({"a": 1}))
    for source in (tmp_path, tmp_path / "result.pkl"):
        with pytest.raises(FeatureError, match=r"result\.pkl is pickled"):
            imported(source, out=tmp_path / "out")


def test_a_repeated_line_is_dropped_and_both_splits_are_refused(tmp_path, caplog):
    save(tmp_path, {f"{name}.npy": rows() for name in "abc"})
    train = write(tmp_path / "train.csv", "path,label", "a.npy,Normal", "b.npy,Fall", "a.npy,Normal")
    assert len(imported(train, "-d", "m", out=tmp_path / "out").ids()) == 2
    assert "1 repeated line" in caplog.text
    test = write(tmp_path / "test.csv", "path,label", "c.npy,Normal", "b.npy,Fall")
    with pytest.raises(
        FeatureError, match=r"1 videos are in both splits: b \(.*train\.csv, line 3 and .*test\.csv, line 3"
    ):
        imported(train, test, "-d", "m", out=tmp_path / "new")
    with pytest.raises(FeatureError, match=r"1 videos are in the other split of .*: b"):
        imported(test, "-d", "m", out=tmp_path / "out")
    write(tmp_path / "train.csv", "path,label", "a.npy,Normal", "a.npy,Fall")
    with pytest.raises(FeatureError, match=r"line 2 and .*line 3 name the same file with different labels"):
        imported(train, "-d", "m", out=tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "split"),
    [("xd_CLIP_rgbtest", "test"), ("ucf-i3d-test", "test"), ("latest", "train"), ("contest_2024", "train"),
     ("rwf_val", "test"), ("SH_Test_NEW", "test"), ("ucf_CLIP_rgb", "train"), ("validation", "test")],
)  # fmt: skip
def test_the_split_is_a_word_of_the_name_of_a_list(tmp_path, name, split):
    save(tmp_path, {"a.npy": rows(), "b.npy": rows()})
    path = write(tmp_path / f"{name}.csv", "path,label", "a.npy,Normal", "b.npy,Fall")
    imported(path, "-d", "m", out=tmp_path / "out")
    assert {video.split for video in Truth.load(tmp_path / "out").videos.values()} == {split}


def test_spellings_of_a_label_are_one_category():
    assert read_labels(["Normal", "Fight", "fight"], "mine") == {"Normal": (), "Fight": ("Fight",), "fight": ("Fight",)}


@pytest.mark.parametrize("dataset", bundled_tables())
def test_labels_and_annotations_may_use_the_aliases_of_a_bundled_table(dataset):
    table = load_table(dataset)
    for category in table.categories:
        for name in (category.name, *category.aliases):
            assert find_category(name, dataset, table.names) == category.name
            if not name.isdigit():
                meant = () if category.normal else (category.name,)
                assert read_labels([name, "Normal"], dataset, table.names)[name] == meant


def test_categories_may_be_in_any_script():
    paths = {"a": ("\u6253\u67b6", "camera"), "b": ("Normal", "camera"), "c": ("Anomaly-Videos-Part-1", "Abuse")}
    assert folder_labels(paths) == {"a": ("train", "\u6253\u67b6"), "b": ("train", "Normal"), "c": ("train", "Abuse")}


def test_folders_of_arrays_are_splits_and_categories(tmp_path):
    save(tmp_path / "in", {f"{place}/{place.replace('/', '_')}.npy": rows() for place in (
        "train/Fight", "train/NonFight", "val/Fight", "val/NonFight")})  # fmt: skip
    imported(tmp_path / "in", "--dataset", "rwf", out=tmp_path / "out")
    found = {name: (one.split, one.labels) for name, one in Truth.load(tmp_path / "out").videos.items()}
    assert found["train_NonFight"] == ("train", ()) and found["val_Fight"] == ("test", ("Fight",))


def test_new_unlabelled_features_are_scored_and_explained_with_a_run_of_the_same_program(tmp_path):
    save(tmp_path, {f"train/v{i}.npy": rows() for i in range(6)} | {"new/street_2024.npy": rows(14)})
    lines = (f"train/v{i}.npy,{('Normal', 'Fighting')[i % 2]}" for i in range(6))
    path = write(tmp_path / "train.csv", "path,label", *lines)
    imported(path, "--dataset", "mine", out=tmp_path / "out")
    run = tmp_path / "run"
    kgvad("train", "--dataset", "mine", "--features", tmp_path / "out", "--detector", "rtfm", "--set", "width=8",
          "--epochs", 1, "--threshold-folds", 0, "--run", run)  # fmt: skip
    for number, source in enumerate((tmp_path / "new", write(tmp_path / "new.list", "new/street_2024.npy"))):
        new = tmp_path / f"new{number}"
        imported(source, out=new)
        (file,) = kgvad("score", new, "--run", run, "--output", tmp_path / "scores").split()
        assert np.load(file)["scores"].shape == (14,)
    report = kgvad("explain", "street_2024", "--run", run, "--features", tmp_path / "new0", "--no-images")
    assert "30 frames per second are assumed" in report and "16 frames a row" in report
    imported(tmp_path / "new", "--stride", 64, out=tmp_path / "other")
    with pytest.raises(FeatureError, match="import them with --encoder imported and the --stride"):
        kgvad("score", tmp_path / "other", "--run", run, "--output", tmp_path / "scores")


def test_archives_of_segments_and_of_rows_spread_evenly(tmp_path):
    ucf(tmp_path, 4)
    small = (RNG.uniform(-1, 1, (4, 6)) * 127).round().astype(np.int8)
    arrays = {}
    for video in UCF_VIDEOS:
        arrays |= {f"{video}|q": small, f"{video}|s": np.full(4, 0.5, np.float16)}
    np.savez(tmp_path / "logits.npz", **arrays)
    given = (
        tmp_path / "logits.npz",
        "--dataset",
        "ucf",
        "--lists",
        tmp_path / "lists",
        "--frames",
        tmp_path / "frames.csv",
    )
    store = imported(*given, out=tmp_path / "even")
    np.testing.assert_allclose(store.load("Abuse028_x264"), small * 0.5, rtol=1e-3)
    assert store.info("Abuse028_x264").spans().tolist() == [[0, 353], [353, 706], [706, 1059], [1059, 1412]]
    np.savez(tmp_path / "c3d.npz", **{n: a.view(np.uint8) if n.endswith("q") else a for n, a in arrays.items()})
    write(tmp_path / "frames.csv", "video,n_frames", "Abuse028_x264,1412", "Normal_Videos_003_x264,50")
    store = imported(tmp_path / "c3d.npz", *given[1:], out=tmp_path / "segments")
    assert store.info("Abuse028_x264").spans()[0].tolist() == [0, 22 * 16]  # whole snippets
    assert store.info("Normal_Videos_003_x264").spans()[-1].tolist() == [37, 50]  # too short for segments of snippets
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array({"x": 1}, dtype=object))
    (tmp_path / "bad.npz").write_bytes(pickled.getvalue())
    with pytest.raises(FeatureError, match=r"bad\.npz: a .*pickle"):
        imported(tmp_path / "bad.npz", out=tmp_path / "bad")


def test_two_names_of_one_video_are_an_error(tmp_path):
    write(tmp_path / "frames.csv", "video,n_frames", "a.mp4,160", "a,320")
    save(tmp_path, {"in/a.npy": rows()})
    with pytest.raises(KgvadError, match=r"'a\.mp4' and 'a' name the same video"):
        imported(tmp_path / "in", "--frames", tmp_path / "frames.csv", out=tmp_path / "out")
    save(tmp_path, {"in/a.mp4.npy": rows()})
    with pytest.raises(FeatureError, match=r"a\.mp4\.npy and .*a\.npy are features of the same video"):
        imported(tmp_path / "in", out=tmp_path / "out")


@pytest.mark.parametrize("option", [("--layout", "odd"), ("--axes", "XYZ"), ("--stream", "x"), ("--label", "0")])
def test_wrong_options_are_one_line(tmp_path, option):
    save(tmp_path, {"in/a.npy": rows()})
    with pytest.raises(UsageError, match=option[0]):
        kgvad("features", "import", tmp_path / "in", "-o", tmp_path / "out", *option)


def test_help_fits_a_screen(capsys):
    lines = kgvad("features", "import", "--help").splitlines()
    assert len(lines) <= 45


def test_equal_names_in_folders_are_told_apart_by_the_folder(tmp_path):
    save(tmp_path, {f"f/{camera}/{name}.npy": rows() for camera in "ab" for name in ("clip", "other")})
    lines = [f"/me/f/{camera}/{name}.npy,{label},{split}" for camera, label in (("a", "Fight"), ("b", "Normal"))
             for name, split in (("clip", "train"), ("other", "test"))]  # fmt: skip
    path = write(tmp_path / "l.csv", "path,label,split", *lines)
    frames = write(tmp_path / "n.csv", "video,n_frames", "x/a/clip.mp4,150", "x/b/clip.mp4,160")
    store = imported(path, "--dataset", "mine", "--frames", frames, out=tmp_path / "out")
    assert store.ids() == ["a/clip", "a/other", "b/clip", "b/other"]
    assert [store.info(f"{camera}/clip").frame_count for camera in "ab"] == [150, 160]
    np.testing.assert_allclose(store.load("b/clip"), np.load(tmp_path / "f/b/clip.npy"), rtol=1e-3, atol=1e-3)
    assert labels(tmp_path / "out")["a/other"] == ("Fight",)
    found = with_frame_labels(
        Truth.load(tmp_path / "out"), read_frame_labels(write(tmp_path / "a.txt", "v/a/other.mp4 16 48")), {}, "a.txt"
    )
    assert found.videos["a/other"].intervals == ((16, 48),)
    assert found.videos["b/other"].intervals is None


def test_folders_that_do_not_make_other_videos_do_not_tell_them_apart(tmp_path):
    array = rows()
    save(tmp_path, {"rgb/RGB/a.npy": rows(), "rgb/Flow/a.npy": rows(), "copy/x/a.npy": array, "copy/y/a.npy": array})
    with pytest.raises(FeatureError, match="are features of the same video and crop"):
        imported(tmp_path / "rgb", out=tmp_path / "out")
    with pytest.raises(FeatureError, match=r"x/a\.npy and .*y/a\.npy are the same video twice"):
        imported(tmp_path / "copy", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/clip.mp4", "b/clip.mp4"], ["a/clip", "b/clip"]),
        (["x/a/clip.mp4", "y/a/clip.mp4", "b/clip.mp4"], ["x/a/clip", "y/a/clip", "b/clip"]),
        (["D:\\v\\one\\clip.MP4", "D:\\v\\two\\other.MP4"], ["clip", "other"]),
        (["clip.mp4", "dir/clip.avi"], ["clip", "clip"]),
        (["a/clip", "x/a/clip", "b/clip"], ["a/clip", "a/clip", "b/clip"]),
    ],
)
def test_the_shortest_tail_tells_paths_apart(paths, expected):
    assert tail_ids(paths) == expected


def test_names_find_the_identifier_they_mean():
    names = VideoNames(["a/clip", "b/clip", "Abuse/Abuse001_x264"])
    assert names.find("/videos/b/clip.mp4") == "b/clip"
    assert names.find("clip.mp4") is None
    assert names.find("Abuse001_x264.mp4") == names.find("other/Abuse001_x264") == "Abuse/Abuse001_x264"
    with pytest.raises(FeatureError, match="both fit the video 'Abuse/Abuse001_x264'"):
        names.match(["p/Abuse001_x264", "q/Abuse001_x264"], "file")


@pytest.mark.parametrize(
    ("header", "lines", "options", "edges"),
    [
        ("video,start_frame,end_frame", ["c,0,40", "c,40,100", "c,100,130"], [], [0, 40, 100, 130]),
        ("video;start_s;end_s", ["c.mp4;0;1.6", "c.mp4;1.6;4", "c.mp4;4;5.2"], ["--fps", 25], [0, 40, 100, 130]),
        ("name\tstart\tend", ["v/c\t0\t64", "v/c\t16\t80", "v/c\t32\t96"], [], [0, 40, 56, 96]),
        ("video,start,end,row", ["c,10,20,0", "c,30,40,1", "c,41,50,2"], [], [0, 25, 40, 50]),
    ],
)
def test_spans_say_which_frames_a_row_covers(tmp_path, header, lines, options, edges):
    save(tmp_path, {"in/c.npy": rows(3)})
    spans = write(tmp_path / "spans.csv", header, *lines)
    store = imported(tmp_path / "in", "--spans", spans, *options, out=tmp_path / "out")
    assert store.info("c").edges == edges
    assert store.info("c").spans().tolist() == [[a, b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["c,0,40", "c,40,80"], [], "c has 3 rows of features and 2 spans; give one line for each row"),
        (["d,0,40"], [], "1 video without spans: c"),
        (["c,0,40", "c,40,30", "c,80,90"], [], r"line 3: '40' to '30' is not a span"),
        (["c,0,40", "c,60,80", "c,30,90"], [], r"line 4: the span lies before the one above it"),
        (["c,0,40", "c,40,80", "c,80,900"], ["--frames", "n.csv"], "c: its last row ends at frame 900 of 48"),
        (["c,0,40", "c,0,40", "c,0,40"], [], "c: row 1 has no frame of its own"),
        (["c,0,40", "c,40,80", "c,80,x"], [], "line 4: '80' to 'x' is not a span"),
        (["c,0,9", "c,9,12", "c,12,20"], ["--layout", "even"], "--spans says where each row lies"),
    ],
)
def test_spans_that_do_not_fit_name_the_line_or_the_video(tmp_path, monkeypatch, lines, options, message):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, {"in/c.npy": rows(3)})
    write(tmp_path / "n.csv", "video,n_frames", "c,48")
    write(tmp_path / "spans.csv", "video,start_frame,end_frame", *lines)
    with pytest.raises(KgvadError, match=message):
        imported("in", "--spans", "spans.csv", *options, out=tmp_path / "out")


def test_a_frame_rate_beside_the_features_is_used_after_what_is_said(tmp_path, caplog):
    side = {
        "in/a_fps.npy": np.float64(25),
        "in/b_timestamps_ms.npy": np.arange(10) * 640.0,
        "in/c_fps.npy": np.array([10]),
    }
    save(tmp_path, {f"in/{name}_{stream}.npy": rows() for name in "abcd" for stream in ("rgb", "flow")} | side)
    store = imported(tmp_path / "in", out=tmp_path / "out")
    assert [store.info(name).fps for name in "abcd"] == [25, 25, 10, 30]
    assert [bool(store.info(name).assumed.count("fps")) for name in "abcd"] == [False, False, False, True]
    assert imported(tmp_path / "in", "--fps", 12, out=tmp_path / "o2").info("a").fps == 12
    np.save(tmp_path / "in/a_timestamps_ms.npy", np.arange(10) * 2560.0)
    with caplog.at_level(logging.WARNING):
        imported(tmp_path / "in", out=tmp_path / "o3")
    assert "put rows 64 frames apart, not 16" in caplog.text
    np.save(tmp_path / "in/a_fps.npy", np.arange(3))
    with pytest.raises(FeatureError, match=r"a_fps\.npy does not hold one frame rate; .*--fps"):
        imported(tmp_path / "in", out=tmp_path / "o4")
