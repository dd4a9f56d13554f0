"""``kgvad datasets get`` against a hub on loopback, with small stand-ins of the layouts of the recipes."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from detector_samples import kgvad
from hub_server import Hub, serve

from kgvad.detector.data.annotations import Truth
from kgvad.errors import DatasetError, FeatureError, KgvadError
from kgvad.settings import load_settings
from kgvad.sources import recipe as recipes
from kgvad.video.feature_store import FeatureStore

KINDS = ("Arson", "Fighting", "Normal")
FRAMES = 900
SPLIT = "UCF_Crimes-Train-Test-Split/Anomaly_Detection_splits"


def npy(array):
    out = io.BytesIO()
    np.save(out, np.asarray(array, np.float32))
    return out.getvalue()


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return out.getvalue()


def videos(first, last):
    """(folder, name) of each video of the numbers ``first`` to ``last``."""
    for number in range(first, last):
        kind = KINDS[number % 3]
        if kind != "Normal":
            yield kind, f"{kind}{number:03d}_x264"
        else:
            part = "Training" if first == 0 else "Testing"
            yield f"{part}_Normal_Videos_Anomaly", f"Normal_Videos{number:03d}_x264"


TRAIN, TEST = list(videos(0, 12)), list(videos(12, 18))
ANNOTATION = [
    f"{name}.mp4  {place.split('_')[0]}  {'-1  -1' if 'Normal' in place else '300  500'}  -1  -1"
    for place, name in TEST
]


def official():
    def listed(part):
        return "\n".join(f"{place}/{name}.mp4" for place, name in part).encode()

    return {
        f"{SPLIT}/Anomaly_Train.txt": listed(TRAIN),
        f"{SPLIT}/Anomaly_Test.txt": listed(TEST),
        "Temporal_Anomaly_Annotation_for_Testing_Videos.txt": "\n".join(ANNOTATION).encode(),
    }


def ground_truth():
    labels = {name: [0.0] * FRAMES for _, name in TEST}
    return {"ground_truth.json": json.dumps(labels).encode()}


def rgb_flow():
    random = np.random.default_rng(0)
    members = {}
    for place, name in TRAIN + TEST:
        for stream in ("rgb", "flow"):
            array = random.uniform(size=(32, 1024))
            if "Normal" not in place:
                array[10:18, KINDS.index(place) * 8 :][:, :8] += 2
            members[f"all_{stream}s/{place}/{name}.mp4.npy"] = npy(array)
    return {"ucf-crime-rgb-flow.zip": zipped(members)}


@pytest.fixture
def server(monkeypatch, tmp_path):
    files = {
        "nmcnamee24/ucf-crime-rgb-flow-features": rgb_flow(),
        "jinmang2/ucf_crime": official(),
        "jinmang2/ucf_crime_tencrop_i3d_seg32": ground_truth(),
    }
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "cache"))
    with serve(Hub(files)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture(autouse=True)
def smaller(monkeypatch):
    """The bundled recipes with the numbers of files of the stand-ins."""
    counts = {"ucf-rgb-flow": 18, "ucf-i3d-tencrop": None, "ucf-i3d-seg32": None, "xd-i3d-rgb": None, "xd-videos": None}
    known = dict(recipes.recipes())
    for name, count in counts.items():
        one = known[name]
        if one.features is not None:
            parts = tuple(part.model_copy(update={"count": count}) for part in one.features.part)
            one = one.model_copy(update={"features": one.features.model_copy(update={"part": parts})})
        if one.videos is not None:
            one = one.model_copy(update={"videos": one.videos.model_copy(update={"count": count})})
        known[name] = one
    monkeypatch.setattr(recipes, "recipes", lambda: known)


def store(dataset, encoder):
    return FeatureStore.open(load_settings().features_root(dataset), encoder)


def test_two_streams_of_segments_are_checked_joined_and_labelled(server, caplog):
    folder = Path(kgvad("datasets", "get", "ucf-rgb-flow").strip())
    said = caplog.text
    for line in ("licence, as its page states it: see its card", "free:", "cannot score video here", "not been tried"):
        assert line in said
    assert "next: kgvad train --dataset ucf" in said
    made = store("ucf", "rgb-flow")
    assert folder == made.root and len(made.ids()) == 18 and made.manifest.dim == 2048
    truth = Truth.load(folder.parent)
    assert [len(truth.split("train")), len(truth.split("test"))] == [12, 6]
    entry = made.info(TEST[0][1])
    assert entry.frame_count == FRAMES and entry.spans()[-1].tolist()[1] == FRAMES and entry.rows == 32
    record = json.loads((folder / "source.json").read_text())
    assert record["licence"] == "see its card" and all(len(one["commit"]) == 40 for one in record["files"])
    assert not (load_settings().cache / "datasets" / "ucf-rgb-flow").exists()
    asked = len(server.ranges)
    assert kgvad("datasets", "get", "ucf").strip() == str(folder) and len(server.ranges) == asked


def test_the_whole_path_as_typed(server, weights):
    weights("minilm-l6")
    with pytest.raises(
        FeatureError, match=r"there are no features of ucf .* get published ones with: kgvad datasets get ucf-rgb-flow"
    ):
        kgvad("train")
    kgvad("build-anchors", "--dataset", "ucf")
    kgvad("datasets", "get", "ucf-rgb-flow")
    kgvad("train", "--epochs", 1)
    assert "AUC" in kgvad("evaluate")


def test_train_fetches_when_asked(server, caplog):
    kgvad("train", "--fetch", "--set", "anchors=false", "--epochs", 1)
    assert len(store("ucf", "rgb-flow").ids()) == 18
    assert caplog.text.count("cannot score video here") == 2  # of get and of train


def test_an_interrupted_get_continues_and_a_changed_file_starts_again(server, monkeypatch):
    import huggingface_hub.file_download as library

    name = "ucf-crime-rgb-flow.zip"
    with monkeypatch.context() as patch:
        patch.setattr(library.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        patch.setattr(library.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        server.cut[name] = 100_000
        with pytest.raises((KeyboardInterrupt, KgvadError, AssertionError)):
            kgvad("datasets", "get", "ucf-rgb-flow")
    kgvad("datasets", "get", "ucf-rgb-flow")
    assert [one for one in server.ranges if one[0] == name][-1][1] is not None
    assert len(store("ucf", "rgb-flow").ids()) == 18


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda files: files["ucf-crime-rgb-flow.zip"].pop(f"all_rgbs/Arson/{TRAIN[0][1]}.mp4.npy"),
            "17 arrays .* expects 18",
        ),
        (
            lambda files: files["ucf-crime-rgb-flow.zip"].update({"extra/x.npy": npy(np.ones((32, 4)))}),
            "is in no folder that",
        ),
        (
            lambda files: files["ucf-crime-rgb-flow.zip"].update(
                {f"all_rgbs/Arson/{TRAIN[0][1]}.mp4.npy": npy(np.ones((30, 1024)))}
            ),
            r"has the shape \[30, 1024\] of float32, not of 32 segments",
        ),
    ],
)
def test_what_differs_from_the_recipe_is_refused(server, spoil, message):
    files = server.files["nmcnamee24/ucf-crime-rgb-flow-features"]
    with zipfile.ZipFile(io.BytesIO(files["ucf-crime-rgb-flow.zip"])) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    spoil({"ucf-crime-rgb-flow.zip": members})
    files["ucf-crime-rgb-flow.zip"] = zipped(members)
    with pytest.raises(DatasetError, match=message):
        kgvad("datasets", "get", "ucf-rgb-flow")
    assert not load_settings().features_root("ucf").exists()


def test_ground_truth_of_another_form_is_refused_and_can_be_replaced(server, tmp_path):
    server.files["jinmang2/ucf_crime_tencrop_i3d_seg32"] = {"ground_truth.json": b"[1, 2]"}
    with pytest.raises(DatasetError, match=r"ground_truth\.json is not .*; give frame counts with --frames"):
        kgvad("datasets", "get", "ucf-rgb-flow")
    table = tmp_path / "frames.csv"
    table.write_text("video,n_frames\n" + "".join(f"{name},{FRAMES}\n" for _, name in TEST))
    kgvad("datasets", "get", "ucf-rgb-flow", "--frames", table)
    assert store("ucf", "rgb-flow").info(TEST[0][1]).frame_count == FRAMES


def test_too_little_space_is_said_before_anything_is_fetched(server, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5 * 10**6))
    with pytest.raises(DatasetError, match=r"ucf-rgb-flow needs .* which has 5 MB free; free space, or move kgvad"):
        kgvad("datasets", "get", "ucf-rgb-flow")
    assert not server.ranges


def test_ten_crops_one_file_a_video(server):
    """RTFM's layout: [T, 10, D], train and test in folders."""
    crops = {}
    for part, place in ((TRAIN, "UCF_Train_ten_crop_i3d"), (TEST, "UCF_Test_ten_crop_i3d")):
        for number, (_, name) in enumerate(part):
            crops[f"{place}/{name}_i3d.npy"] = npy(np.random.default_rng(1).normal(size=(40 + number, 10, 2048)))
    server.files["jinmang2/ucf-crime-tencrop-i3d"] = crops
    kgvad("datasets", "get", "ucf-i3d-tencrop")
    made = store("ucf", "i3d-tencrop")
    assert (len(made.ids()), made.manifest.crops, made.manifest.dim) == (18, 10, 2048)


def test_segments_to_train_and_snippets_to_test(server):
    random = np.random.default_rng(2)
    train = {f"{name}_i3d.npy": npy(random.normal(size=(10, 32, 2048))) for _, name in TRAIN}
    test = {f"{name}_i3d.npy": npy(random.normal(size=(10, FRAMES // 16, 2048))) for _, name in TEST}
    server.files["jinmang2/ucf_crime_tencrop_i3d_seg32"] |= {"train.zip": zipped(train), "test.zip": zipped(test)}
    kgvad("datasets", "get", "ucf-i3d-seg32")
    made = store("ucf", "i3d-seg32")
    assert (made.info(TRAIN[0][1]).rows, made.info(TEST[0][1]).rows, made.manifest.crops) == (32, FRAMES // 16, 10)


XD = {
    "1-1004": ["v=63ehKu7tYlY__#1_label_G-0-0", "Some.Film.1995__#00-10_label_A"],
    "test_videos": ["Some.Film.1996__#00-10_label_B2-0-0", "v=abc__#1_label_A"],
}


def test_xd_violence_keeps_dotted_names_and_takes_its_annotation(server):
    arrays = {f"data/i3d_rgb/{place}/{name}.npy": npy(np.ones((10, 1024))) for place, own in XD.items() for name in own}
    annotation = f"{XD['test_videos'][0]} 30 110\n".encode()
    server.files["jherng/xd-violence"] = arrays | {"data/test_annotations.txt": annotation}
    folder = Path(kgvad("datasets", "get", "xd-i3d-rgb").strip())
    truth = Truth.load(folder.parent)
    assert truth.videos[XD["test_videos"][0]].intervals == ((30, 110),)
    assert truth.videos[XD["test_videos"][0]].labels == ("Shooting",)
    assert (truth.videos[XD["test_videos"][1]].split, truth.videos[XD["test_videos"][1]].labels) == ("test", ())
    assert truth.videos[XD["1-1004"][0]].labels == ("Explosion",)
    assert len(store("xd", "i3d-rgb").ids()) == 4


def test_videos_are_laid_out_as_the_lists_name_them(server):
    files = server.files["jinmang2/ucf_crime"]
    abnormal = {
        f"Anomaly-Videos-Part-1/{place}/{name}.mp4": name.encode()
        for place, name in TRAIN + TEST
        if "Normal" not in place
    }
    files["Anomaly-Videos-Part-1.zip"] = zipped(abnormal)
    files["Training-Normal-Videos-Part-1.zip"] = zipped({f"{n}.mp4": n.encode() for p, n in TRAIN if "Normal" in p})
    files["Testing_Normal_Videos.zip"] = zipped({f"T/{n}.mp4": n.encode() for p, n in TEST if "Normal" in p})
    folder = Path(kgvad("datasets", "get", "ucf", "--videos").strip())
    for place, name in TRAIN + TEST:
        assert (folder / place / f"{name}.mp4").read_bytes() == name.encode()
    assert (folder / "Anomaly_Train.txt").is_file()
    del files["Testing_Normal_Videos.zip"]
    with pytest.raises(DatasetError, match="jinmang2/ucf_crime has 0 files"):
        kgvad("datasets", "get", "ucf-videos", "--output", folder.parent / "again")


def test_videos_of_xd_violence_with_labels_of_both_parts(server):
    from kgvad.detector.data.annotations import read_truth

    clips = {f"data/video/{place}/{name}.mp4": name.encode() for place, own in XD.items() for name in own}
    server.files["jherng/xd-violence"] = clips | {
        "data/test_annotations.txt": f"{XD['test_videos'][0]} 3 11\n".encode()
    }
    folder = Path(kgvad("datasets", "get", "xd", "--videos").strip())
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4")) == sorted(
        f"{'test' if place == 'test_videos' else 'train'}/{name}.mp4" for place, own in XD.items() for name in own
    )
    truth = read_truth("xd", folder)
    assert sorted(truth.split("train")) == sorted(XD["1-1004"]) and sorted(truth.split("test")) == sorted(
        XD["test_videos"]
    )


def test_a_source_that_no_program_may_fetch_says_what_to_do(server):
    from typer.testing import CliRunner

    from kgvad.cli import app

    result = CliRunner().invoke(app, ["datasets", "get", "msad"])
    assert result.exit_code == 1 and not server.ranges
    for line in ("page: https://huggingface.co/datasets/Liyun1009/MSAD", "save: the videos", "then: kgvad extract "):
        assert line in result.stdout


def test_every_bundled_recipe_is_listed_and_says_that_it_was_not_tried():
    rows = [line.split("\t") for line in kgvad("datasets", "get").splitlines()]
    assert len(rows) > 15 and all(row[rows[0].index("tried")] == "no" for row in rows[1:])


def test_another_package_adds_a_source(monkeypatch):
    from importlib.metadata import EntryPoint

    theirs = recipes.SourceRecipe(
        name="theirs", dataset="ucf", about="x", page="p", licence="l", manual=recipes.Manual(save="s", command="c")
    )
    import kgvad.sources.recipe as module

    monkeypatch.setattr(EntryPoint, "load", lambda self: theirs)
    monkeypatch.setattr(
        "kgvad.plugins.installed", lambda group, path: [EntryPoint("theirs", "their.module:recipe", group)]
    )
    found = module._load()
    assert found["theirs"] == theirs and "ucf-rgb-flow" in found
