"""Lists of feature files of VadCLIP, RTFM and DeepMIL."""

import json

import numpy as np
import pytest
from detector_samples import kgvad

from kgvad.detector.data.annotations import Truth
from kgvad.errors import FeatureError, KgvadError
from kgvad.video.feature_store import FeatureStore

LIKE = ["Abuse001_x264", "Arson002_x264", "Normal_Videos003_x264", "Normal_Videos004_x264"]


def crops_of(number, count=10):
    random = np.random.default_rng(number)
    return random.normal(size=(count, 5 + number, 6)).astype(np.float32) + 3 * (number < 2)


@pytest.fixture
def listed(tmp_path):
    """VadCLIP's form: a file for each crop, paths of another machine, labels beside them."""
    folder = tmp_path / "clip" / "features"
    folder.mkdir(parents=True)
    lines = ["path,label"]
    for number, video in enumerate(LIKE):
        for crop, array in enumerate(crops_of(number)):
            np.save(folder / f"{video}__{crop}.npy", array)
            label = "Normal" if "Normal" in video else video[:5]
            lines.append(f"/home/somebody/Desktop/{label}/{video}__{crop}.npy,{label}")
    path = tmp_path / "clip" / "ucf_CLIP_rgb.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_training_takes_a_list_as_its_features(listed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KGVAD_HOME", str(tmp_path / "home"))
    given = ["train", "--dataset", "ucf", "--features", listed, "--run", tmp_path / "run", "--set", "anchors=false"]
    assert kgvad(*given, "--epochs", 1, "--set", "width=8").split() == [str(tmp_path / "run")]
    store = FeatureStore.open(tmp_path / "home" / "features" / "ucf")
    assert (store.manifest.crops, store.manifest.dim, len(store.ids())) == (10, 6, 4)
    np.testing.assert_allclose(store.load("Arson002_x264"), crops_of(1), atol=4e-3)  # kept as float16
    assert store.info("Arson002_x264").frame_count == 6 * 16
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["videos"], config["abnormal_videos"], config["encoder"]) == (4, 2, "imported")
    before = store.path("Arson002_x264").stat().st_mtime_ns
    kgvad(*given, "--epochs", 1, "--set", "width=8")  # nothing is imported twice
    assert store.path("Arson002_x264").stat().st_mtime_ns == before


def test_training_and_test_lists_together(listed, tmp_path):
    video = "Burglary005_x264"
    np.save(listed.parent / "features" / f"{video}__5.npy", crops_of(1, 1)[0])
    test = listed.parent / "ucf_CLIP_rgbtest.csv"
    test.write_text(f"path,label\n/home/somebody/{video}__5.npy,Burglary\n")
    out = tmp_path / "store"
    assert kgvad("features", "import", listed, test, "-d", "ucf", "-o", out).strip() == str(out / "imported")
    truth, store = Truth.load(out), FeatureStore.open(out)
    assert truth.videos[video].split == "test" and truth.videos[video].labels == ("Burglary",)
    assert truth.videos[LIKE[2]].labels == () and truth.videos[LIKE[0]].split == "train"
    np.testing.assert_allclose(store.load(video).mean(0), crops_of(1, 1)[0], atol=4e-3)  # its only crop


def test_a_plain_list_of_files_with_crops_inside(tmp_path):
    for number, video in enumerate(LIKE):
        np.save(tmp_path / f"{video}_i3d.npy", crops_of(number).transpose(1, 0, 2))  # [T, crops, D]
    path = tmp_path / "ucf-i3d.list"
    path.write_text("".join(f"/data/UCF/{video}_i3d.npy\n" for video in LIKE))
    kgvad("features", "import", path, "--dataset", "ucf", "--output", tmp_path / "out", "--encoder", "rtfm-i3d")
    store = FeatureStore.open(tmp_path / "out", "rtfm-i3d")
    np.testing.assert_allclose(store.load(LIKE[3]), crops_of(3), atol=4e-3)
    assert Truth.load(tmp_path / "out").videos["Abuse001_x264"].labels == ("Abuse",)


def test_codes_of_xd_violence_and_other_categories(tmp_path):
    names = {"A.Film__#00-01_label_B2-G-0": "B2-G-0", "B.Film__#00-02_label_A": "A"}
    for name in names:
        np.save(tmp_path / f"{name}__0.npy", crops_of(0, 1)[0])
    path = tmp_path / "xd.csv"
    path.write_text("path,label\n" + "".join(f"/x/{name}__0.npy,{label}\n" for name, label in names.items()))
    kgvad("features", "import", path, "--dataset", "xd", "--output", tmp_path / "xd")
    labels = {name: video.labels for name, video in Truth.load(tmp_path / "xd").videos.items()}
    assert list(labels.values()) == [("Shooting", "Explosion"), ()]
    path.write_text(path.read_text().replace(",B2-G-0", ",Flood").replace(",A\n", ",normal\n"))
    kgvad("features", "import", path, "--dataset", "dams", "--output", tmp_path / "dams")
    assert Truth.load(tmp_path / "dams").categories == ("Normal", "Flood")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: "path,label\n", "names no feature file"),
        (lambda t: t.replace("__3.npy,Abuse", "__3.npy"), "line 5: .* has no label"),
        (
            lambda t: t.replace("Abuse001_x264__3", "Abuse009_x264__3"),
            "1 listed file neither .*Abuse009_x264__3.npy",
        ),
        (lambda t: t.replace(",Abuse", ",Ufo"), "'Ufo' is not a category of ucf"),
    ],
)
def test_a_wrong_list_is_one_line(listed, tmp_path, change, message):
    listed.write_text(change(listed.read_text()))
    with pytest.raises(KgvadError, match=message) as caught:
        kgvad("features", "import", listed, "--dataset", "ucf", "--output", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_wrong_files_are_named(listed, tmp_path):
    out, features = tmp_path / "out", listed.parent / "features"
    given = ["features", "import", listed, "--dataset", "ucf", "--output", out]
    array = np.load(features / "Abuse001_x264__2.npy")
    np.save(features / "Abuse001_x264__2.npy", array[:3])
    with pytest.raises(FeatureError, match="Abuse001_x264: its crops differ in shape"):
        kgvad(*given)
    array[2, 2] = np.nan
    np.save(features / "Abuse001_x264__2.npy", array)
    with pytest.raises(FeatureError, match=r"Abuse001_x264__2\.npy: row 2 holds NaN"):
        kgvad(*given)
    np.save(features / "Abuse001_x264__2.npy", crops_of(0)[2])
    (tmp_path / "counts.csv").write_text("video,n_frames\nAbuse001_x264,5000\n")
    with pytest.raises(FeatureError, match="do not fit 16 frames a row: Abuse001_x264 has 5 rows and 5000"):
        kgvad(*given, "--frames", tmp_path / "counts.csv")
