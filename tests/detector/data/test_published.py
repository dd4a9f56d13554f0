"""Ground truth in the forms in which the authors of UBnormal, MSAD, UCSD Ped2 and Avenue publish it."""

import numpy as np
import pytest
from anchors_samples import tiny_bank
from detector_samples import kgvad
from PIL import Image
from scipy.io import savemat

from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.run import Run
from kgvad.errors import FeatureError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def facts(truth):
    return {name: (one.split, one.labels, one.intervals, one.frame_count) for name, one in truth.videos.items()}


def ubnormal(folder):
    for part in ("training", "validation", "test"):
        for kind in ("normal", "abnormal"):
            write(folder / "scripts" / f"{kind}_{part}_video_names.txt", f"{kind}_scene_1_scenario_{part}\n")
    return folder


def test_ubnormal_from_lists_and_tracks(tmp_path):
    name = "abnormal_scene_1_scenario_test"
    ubnormal(tmp_path)
    with pytest.raises(FeatureError, match=f"has no {name}_tracks.txt of the abnormal test video"):
        read_truth("ubnormal", tmp_path)
    tracks = write(tmp_path / "Scene1" / f"{name}_annotations" / f"{name}_tracks.txt", "1,10,19\n2,15,30\n3,50,50\n")
    found = facts(read_truth("ubnormal", tmp_path))
    assert found[name] == ("test", ("Anomaly",), ((10, 31), (50, 51)), None)
    assert found["normal_scene_1_scenario_test"] == ("test", (), (), None)
    assert found["abnormal_scene_1_scenario_validation"] == ("train", ("Anomaly",), None, None)
    assert len(found) == 6
    tracks.unlink()
    write(tmp_path / "frame_level_gt" / f"{name}.txt", "0\n1\n1\n0\n")
    assert facts(read_truth("ubnormal", tmp_path))[name][2] == ((1, 3),)


HEADER = "name,scenario,total frames,starting frame of anomaly,ending frame of anomaly\n"


def test_msad_counts_frames_from_one(tmp_path):
    write(tmp_path / "anomaly_annotation.csv", HEADER + "Assault_1,shop,426,55,426\nTraffic_accident_12,road,300,1,9\n")
    write(tmp_path / "MSAD_I3D_WS_Train.list", "/data/MSAD-I3D/Traffic_accident_12_i3d.npy\n")
    write(
        tmp_path / "MSAD_I3D_WS_Test.list",
        "/data/MSAD-I3D-abnormal-testing/Assault_1_i3d.npy\n/data/MSAD-I3D-normal-testing/MSAD_normal_testing_003_i3d.npy\n",
    )
    truth = read_truth("msad", tmp_path)
    assert facts(truth) == {
        "Traffic_accident_12": ("train", ("Traffic accident",), None, 300),
        "Assault_1": ("test", ("Assault",), ((54, 426),), 426),
        "MSAD_normal_testing_003": ("test", (), (), None),
    }
    write(tmp_path / "MSAD_I3D_WS_Test.list", "Assault_2_i3d.npy\n")
    with pytest.raises(FeatureError, match="has no line for the abnormal test video Assault_2"):
        read_truth("msad", tmp_path)
    write(tmp_path / "anomaly_annotation.csv", "name,start\nAssault_1,3\n")
    with pytest.raises(FeatureError, match=r"anomaly_annotation\.csv, line 2: not name, total frames, starting frame"):
        read_truth("msad", tmp_path)


def test_videos_of_msad_may_have_the_prefix_of_its_table(tmp_path):
    write(
        tmp_path / "anomaly_annotation.csv",
        "name,total frames,starting frame of anomaly,ending frame of anomaly\nMSAD_object_falling_2,90,11,20\n",
    )
    write(tmp_path / "train.list", "MSAD_fire_1\nMSAD_normal_training_3\n")
    write(tmp_path / "test.list", "MSAD_object_falling_2\n")
    labels = {name: one.labels for name, one in read_truth("msad", tmp_path).videos.items()}
    assert list(labels.values()) == [("Fire",), (), ("Object falling",)]


def test_the_categories_of_msad_are_those_of_its_table():
    from kgvad.detector.data.published.readers import MSAD_CATEGORIES
    from kgvad.kg.tables import load_table

    assert set(MSAD_CATEGORIES) == set(load_table("msad").names)


def frames(folder, count, marked=()):
    folder.mkdir(parents=True)
    for index in range(count):
        Image.new("L", (6, 4), 255 * (index in marked)).save(folder / f"{index + 1:03d}.tif")


@pytest.fixture
def ped2(tmp_path):
    frames(tmp_path / "Train" / "Train001", 5)
    frames(tmp_path / "Test" / "Test001", 8)
    frames(tmp_path / "Test" / "Test002", 9)
    return tmp_path


EXPECTED = {
    "Train001": ("train", (), None, 5),
    "Test001": ("test", ("Anomaly",), ((2, 8),), 8),
    "Test002": ("test", ("Anomaly",), ((0, 3), (5, 9)), 9),
}


def test_ped2_from_its_script(ped2):
    script = (
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [3:8];\nTestVideoFile{end+1}.gt_frame = [1:3, 6:9];\n"
    )
    write(ped2 / "Test" / "UCSDped2.m", script)
    assert facts(read_truth("ped2", ped2)) == EXPECTED
    write(ped2 / "Test" / "UCSDped2.m", "TestVideoFile{end+1}.gt_frame = [3:8];\n")
    with pytest.raises(FeatureError, match=r"UCSDped2\.m has 1 videos, .* has 2 test videos"):
        read_truth("ped2", ped2)


def test_ped2_from_masks_and_from_a_matlab_file(ped2):
    with pytest.raises(FeatureError, match=r"has neither UCSDped2\.m nor masks in Test001_gt"):
        read_truth("ped2", ped2)
    frames(ped2 / "Test" / "Test001_gt", 8, range(2, 8))
    frames(ped2 / "Test" / "Test002_gt", 9, (0, 1, 2, 5, 6, 7, 8))
    assert facts(read_truth("ped2", ped2)) == EXPECTED
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.array([[3], [8]]), np.array([[1, 6], [3, 9]])
    savemat(ped2 / "ped2.mat", {"gt": cells})
    assert facts(read_truth("ped2", ped2)) == EXPECTED


def test_avenue_from_masks_and_from_a_matlab_file(tmp_path):
    for number, marked in ((1, (1, 2)), (2, ())):
        cells = np.empty((1, 6), object)
        for frame in range(6):
            cells[0, frame] = np.full((4, 5), int(frame in marked), np.uint8)
        place = tmp_path / "ground_truth_demo" / "testing_label_mask"
        place.mkdir(parents=True, exist_ok=True)
        savemat(place / f"{number}_label.mat", {"volLabel": cells})
    expected = {"01": ("test", ("Anomaly",), ((1, 3),), 6), "02": ("test", (), (), 6)}
    assert facts(read_truth("avenue", tmp_path)) == expected
    for part, name in (("training", "01"), ("training", "03"), ("testing", "01"), ("testing", "02")):
        write(tmp_path / f"{part}_videos" / f"{name}.avi", "")
    found = facts(read_truth("avenue", tmp_path))
    assert found["training_videos/01"][0] == found["03"][0] == "train"
    assert found["testing_videos/01"] == expected["01"] and found["02"] == expected["02"]
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.array([[2], [3]]), np.zeros((2, 0))
    (tmp_path / "m").mkdir()
    savemat(tmp_path / "m" / "avenue.mat", {"gt": cells})
    assert {name: one[2] for name, one in facts(read_truth("avenue", tmp_path / "m")).items()} == {
        "01": ((1, 3),),
        "02": (),
    }


def test_a_damaged_matlab_file_is_one_line(tmp_path):
    (tmp_path / "avenue.mat").write_bytes(b"no matlab file")
    with pytest.raises(FeatureError, match=r"avenue\.mat cannot be read: .*; copy it again"):
        read_truth("avenue", tmp_path)


def test_numbers_beyond_any_frame_are_one_line(tmp_path):
    write(tmp_path / "anomaly_annotation.csv", HEADER + "Assault_1,shop,1e999,55,426\n")
    with pytest.raises(FeatureError, match=r"anomaly_annotation\.csv, line 2"):
        read_truth("msad", tmp_path)
    write(tmp_path / "m" / "UCSDped2.m", f"gt_frame = [1:{'9' * 5000}];")
    with pytest.raises(FeatureError, match=r"UCSDped2\.m cannot be read"):
        read_truth("ped2", tmp_path / "m")
    for part in ("training", "test"):
        for kind in ("normal", "abnormal"):
            write(tmp_path / "u" / f"{kind}_{part}_video_names.txt", f"{kind}_{part}\n")
    write(tmp_path / "u" / "abnormal_test_tracks.txt", "1,nan,inf\n")
    with pytest.raises(FeatureError, match=r"abnormal_test_tracks\.txt does not hold object, first frame, last frame"):
        read_truth("ubnormal", tmp_path / "u")


def test_masks_of_avenue_that_are_no_cell_are_refused(tmp_path):
    savemat(tmp_path / "1_label.mat", {"volLabel": np.ones((4, 5, 6), np.uint8)})
    with pytest.raises(FeatureError, match=r"1_label\.mat: volLabel is not a cell with one mask a frame"):
        read_truth("avenue", tmp_path)


def features(folder, shifts):
    random = np.random.default_rng(0)
    for name, shift in shifts.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, random.normal(shift, 1, (10, 8)).astype("f4"))


def test_labels_without_categories_train_against_one_abnormal_category(tmp_path, tmp_path_factory):
    videos = {f"{number:02d}_{part}": number % 2 for number in range(8) for part in ("train", "test")}
    (tmp_path / "test_frame_mask").mkdir()
    for name, label in videos.items():
        if label and name.endswith("test"):
            np.save(tmp_path / "test_frame_mask" / f"{name}.npy", np.arange(160) // 40 == 1)
    for file, part, end in (("SH_Train_new.txt", "train", ""), ("SH_Test_NEW.txt", "test", ",160")):
        write(tmp_path / file, "".join(f"{name},{y}{end}\n" for name, y in videos.items() if name.endswith(part)))
    features(tmp_path / "feat", {f"{name}_i3d": label for name, label in videos.items()})
    kgvad("features", "import", tmp_path / "feat", "-d", "shanghaitech", "--lists", tmp_path, "-o", tmp_path / "f")
    bank, _, _ = tiny_bank(tmp_path_factory)
    bank.save(tmp_path / "bank.safetensors")
    run = tmp_path / "run"
    kgvad(
        "train",
        "-d",
        "shanghaitech",
        "--features",
        tmp_path / "f",
        "--anchors",
        tmp_path / "bank.safetensors",
        "--epochs",
        1,
        "--run",
        run,
    )
    trained = Run.load(run)
    assert trained.config.categories == ("Anomaly", "Normal")
    own = len(bank.of("Robbery")) + len(bank.of("Arson"))
    assert len(trained.bank.of("Anomaly")) == own and trained.bank.of("Normal") == bank.of("Normal")
    mean = bank.anchors[:2].mean(axis=0)
    np.testing.assert_allclose(trained.bank.anchors[0], mean / np.linalg.norm(mean), rtol=1e-5)
    table = kgvad("evaluate", run, "--features", tmp_path / "f")
    assert "n/a" in table  # one category is no choice


def test_the_list_splits_a_set_whose_training_videos_are_normal(tmp_path):
    write(tmp_path / "UCSDped2.m", "TestVideoFile{end+1}.gt_frame = [41:80];\n" * 12)
    names = [*(f"Train{number:03d}" for number in range(1, 17)), *(f"Test{number:03d}" for number in range(1, 13))]
    features(tmp_path / "feat", dict.fromkeys(names, 0))
    train, test = names[:12] + names[16:22], names[12:16] + names[22:]
    for part, own in (("train", train), ("test", test)):
        write(tmp_path / f"{part}.list", "".join(f"/me/{name}.npy\n" for name in own))
    kgvad("features", "import", tmp_path / "train.list", tmp_path / "test.list", "-d", "ped2", "-o", tmp_path / "f")
    truth = Truth.load(tmp_path / "f")
    assert truth.split("train") == train and set(truth.split("test")) == set(test)
    assert truth.videos["Train013"].intervals == () and truth.videos["Test007"].intervals == ((40, 80),)


def test_avenue_keeps_the_folders_that_tell_its_equal_names_apart(tmp_path):
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.array([[2], [3]]), np.zeros((2, 0))
    savemat(tmp_path / "avenue.mat", {"gt": cells})
    features(tmp_path / "feat", {"training_videos/01": 0, "testing_videos/01": 0, "testing_videos/02": 0})
    kgvad("features", "import", tmp_path / "feat", "-d", "avenue", "--lists", tmp_path, "-o", tmp_path / "f")
    found = facts(Truth.load(tmp_path / "f"))
    assert found["training_videos/01"][:2] == ("train", ())
    assert found["testing_videos/01"][:3] == ("test", ("Anomaly",), ((1, 3),))
    assert found["02"][:3] == ("test", (), ())


def test_both_names_of_a_violent_video_of_xd_are_one(tmp_path):
    write(tmp_path / "annotations.txt", "v=a__#1_label_G-0-0 10 20\nv=b__#1_label_B1-0-0.mp4 30 40\n")
    truth = read_truth("xd", tmp_path)
    assert truth.videos["v=b__#1_label_B1-0-0"].intervals == ((30, 40),)


@pytest.mark.parametrize("dataset", ["ucf", "msad", "ped2"])
def test_one_of_the_lists_in_place_of_their_folder_is_named(dataset, tmp_path):
    with pytest.raises(FeatureError, match=r"train\.txt is a file; name the folder of the dataset's official lists"):
        read_truth(dataset, write(tmp_path / "train.txt", "Abuse001\n"))
