"""The feature store: what it keeps, what it refuses, and how it names damage."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kgvad.errors import FeatureError, KgvadError
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


def manifest(**changes):
    return Manifest(**({"encoder": "toy", "dim": 4, "weights": "ab", "temporal": "mean16"} | changes))


def entry(**changes):
    return VideoEntry(**({"frame_count": 50, "fps": 25.0, "rows": 3} | changes))


@pytest.fixture
def store(tmp_path):
    made = FeatureStore.create(tmp_path, manifest())
    made.add("Fighting/f1", np.arange(12.0).reshape(3, 4), entry())
    return made


def test_round_trip(store, tmp_path):
    again = FeatureStore.open(tmp_path)
    assert again.root == tmp_path / "toy"
    assert again.ids() == ["Fighting/f1"]
    features = again.load("Fighting/f1")
    assert isinstance(features, np.memmap)
    assert features.dtype == np.float16
    np.testing.assert_array_equal(features, np.arange(12).reshape(3, 4))
    assert again.info("Fighting/f1") == entry()
    assert again.fingerprint == store.fingerprint
    assert not list((tmp_path / "toy").rglob(".*"))  # no temporary file stays


def test_uniform_spans_and_the_tail():
    assert entry().spans().tolist() == [[0, 16], [16, 32], [32, 50]]
    assert entry(stride=1, frame_count=3).spans().tolist() == [[0, 1], [1, 2], [2, 3]]


def test_segment_spans_and_the_tail():
    # 1,000 frames are 62 snippets; 3 segments of 62 // 3 = 20 snippets cover 960 frames; the tail is the last one's
    spans = entry(frame_count=1000, layout="segments", segment_snippets=20).spans()
    assert spans.tolist() == [[0, 320], [320, 640], [640, 1000]]


def test_ten_crops(tmp_path):
    store = FeatureStore.create(tmp_path, manifest(crop="ten", crops=10))
    store.add("a", np.ones((10, 3, 4)), entry())
    assert store.load("a").shape == (10, 3, 4)
    with pytest.raises(FeatureError, match=r"shape \[3, 4\] instead of \[10, 3, 4\]"):
        store.add("b", np.ones((3, 4)), entry())


@pytest.mark.parametrize("change", [{"weights": "cd"}, {"temporal": "first"}, {"stride": 8}, {"crop": "centre"}])
def test_fingerprints_never_mix(store, tmp_path, change):
    with pytest.raises(FeatureError, match=rf"made otherwise \({next(iter(change))} "):
        FeatureStore.create(tmp_path, manifest(**change))
    assert FeatureStore.open(tmp_path).ids() == ["Fighting/f1"]


def test_same_fingerprint_continues(store, tmp_path):
    again = FeatureStore.create(tmp_path, manifest())
    again.add("g", np.zeros((3, 4)), entry())
    assert FeatureStore.open(tmp_path).ids() == ["Fighting/f1", "g"]


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_float16_cannot_hold_are_refused(store, value, word):
    features = np.zeros((3, 4))
    features[1, 2] = value
    with pytest.raises(FeatureError, match=f"features of bad.*row 1 holds {word}"):
        store.add("bad", features, entry())
    assert not store.path("bad").exists()
    assert store.ids() == ["Fighting/f1"]


def test_values_beyond_float16_are_refused_with_the_largest(store):
    with pytest.raises(FeatureError, match=r"features of bad reach 1000000, above 65504.*divide"):
        store.add("bad", np.full((3, 4), -1e6), VideoEntry(frame_count=48, fps=30, rows=3))


def test_damage_names_the_file(store):
    path = store.path("Fighting/f1")
    good = path.read_bytes()
    for content in (good[:100], b"", b"hello" * 40):
        path.write_bytes(content)
        with pytest.raises(FeatureError, match=r"f1\.npy cannot be read: .*; extract that video again") as error:
            store.load("Fighting/f1")
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(FeatureError, match=r"f1\.npy is missing"):
        store.load("Fighting/f1")


def test_arrays_that_do_not_fit_the_manifest(store):
    path = store.path("Fighting/f1")
    np.save(path, np.full((3, 4), np.nan, np.float16))
    with pytest.raises(FeatureError, match="row 0 holds NaN"):
        store.load("Fighting/f1")
    np.save(path, np.zeros((2, 4), np.float16))
    with pytest.raises(FeatureError, match=r"shape \[2, 4\] instead of \[3, 4\]"):
        store.load("Fighting/f1")


class Evil:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_inside_an_array_is_never_loaded(store, tmp_path):
    trace = tmp_path / "loaded"
    with store.path("Fighting/f1").open("wb") as file:  # what numpy writes for an array of objects
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickle.dumps(np.array([Evil(trace)], dtype=object)))
    with pytest.raises(FeatureError, match="Python objects, which are never loaded"):
        store.load("Fighting/f1")
    assert not trace.exists()


def test_unknown_video(store):
    with pytest.raises(FeatureError, match="no features of other"):
        store.load("other")


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", "", "a\nb"])
def test_identifiers_stay_inside_the_store(store, tmp_path, name):
    with pytest.raises(FeatureError, match="cannot be the name"):
        store.add(name, np.zeros((3, 4)), entry())
    path = tmp_path / "toy" / "manifest.json"
    data = json.loads(path.read_text())
    data["videos"][name] = data["videos"]["Fighting/f1"]
    path.write_text(json.dumps(data))
    with pytest.raises(FeatureError, match="cannot be the name"):
        FeatureStore.open(tmp_path)


def test_damaged_and_newer_manifest(store, tmp_path):
    path = tmp_path / "toy" / "manifest.json"
    good = json.loads(path.read_text())
    for content, message in (
        ("", "damaged"),
        ("[1]", "manifest.json"),
        (json.dumps(good | {"version": 2}), "newer version"),
        (json.dumps({k: v for k, v in good.items() if k != "dim"}), "dim"),
        (json.dumps(good | {"surprise": 1}), "surprise"),
    ):
        path.write_text(content)
        with pytest.raises(FeatureError, match=message) as error:
            FeatureStore.open(tmp_path)
        assert "\n" not in str(error.value)


def test_opening_nothing_and_several(tmp_path):
    with pytest.raises(FeatureError, match="no features in"):
        FeatureStore.open(tmp_path / "none")
    with pytest.raises(FeatureError, match=r"holds no manifest\.json"):
        FeatureStore.open(tmp_path)
    FeatureStore.create(tmp_path, manifest(encoder="minilm-text"))
    assert FeatureStore.open(tmp_path).manifest.encoder == "minilm-text"
    FeatureStore.create(tmp_path, manifest())
    assert FeatureStore.open(tmp_path).manifest.encoder == "toy"  # captions lie beside features
    FeatureStore.create(tmp_path, manifest(encoder="other"))
    with pytest.raises(FeatureError, match=r"several encoders \(other, toy\)"):
        FeatureStore.open(tmp_path)
    assert FeatureStore.open(tmp_path, "toy").manifest.encoder == "toy"


def test_features_of_another_encoder_are_not_opened_in_its_place(tmp_path):
    FeatureStore.create(tmp_path, manifest())
    for root in (tmp_path, tmp_path / "toy"):
        with pytest.raises(FeatureError, match="has features of toy, and none of i3d; make features with"):
            FeatureStore.open(root, "i3d")
    (tmp_path / "toy").rename(tmp_path / "renamed")
    for root, name in ((tmp_path, "toy"), (tmp_path / "renamed", "toy"), (tmp_path, "renamed")):
        assert FeatureStore.open(root, name).root == tmp_path / "renamed"


def test_adding_enters_all_videos_or_none(tmp_path):
    store = FeatureStore.create(tmp_path, manifest())
    with pytest.raises(KeyboardInterrupt), store.adding():
        store.add("a", np.zeros((3, 4)), entry())
        raise KeyboardInterrupt
    assert FeatureStore.open(tmp_path).ids() == []
    with FeatureStore.open(tmp_path).adding() as again:
        again.add("b", np.zeros((3, 4)), entry())
        assert FeatureStore.open(tmp_path).ids() == []
    assert FeatureStore.open(tmp_path).ids() == ["b"]


WRITER = """
import sys
import numpy as np
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry
store = FeatureStore.create(sys.argv[1], Manifest(encoder="toy", dim=4))
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    store.add(f"{sys.argv[2]}{number}", np.zeros((3, 4)), VideoEntry(frame_count=50, fps=25.0, rows=3))
"""


def test_two_processes_that_write_one_store_lose_nothing(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": "/"}
    writers = [subprocess.Popen([*command, name], **pipes) for name in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        writer.communicate()
    assert FeatureStore.open(tmp_path).ids() == sorted(f"{name}{number}" for name in "ab" for number in range(40))


def test_entry_refuses_nonsense():
    for wrong in ({"rows": 0}, {"fps": float("nan")}, {"layout": "segments"}, {"times_s": [0.0]}):
        with pytest.raises(ValueError):
            entry(**wrong)


REIMPORT = """
import os, signal, sys
import numpy as np
from kgvad.video import store_staging
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

root, when = sys.argv[1:]
end = lambda: os.kill(os.getpid(), signal.SIGKILL)
real, moved = os.replace, []

def replace(source, target):
    to_store = ".staging-" in str(source) and ".staging-" not in str(target)
    if to_store and when == "decided":
        end()
    real(source, target)
    moved.append(to_store)
    if sum(moved) == 2 and when == "moving":
        end()

os.replace = replace
manifest = Manifest(encoder="toy", dim=4, weights="ab", temporal="mean16")
with FeatureStore.create(root, manifest).adding() as store:
    for number in range(3):
        store.add(f"s/v{number}", np.full((2, 4), 7.0), VideoEntry(frame_count=32, fps=25, rows=2))
        if number == 1 and when == "arrays":
            end()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("when", "rows"), [("arrays", 3), ("decided", 2), ("moving", 2), ("never", 2)])
def test_an_import_killed_halfway_leaves_the_old_store_or_the_new_one(tmp_path, when, rows):
    old = FeatureStore.create(tmp_path, manifest())
    for number in range(3):
        old.add(f"s/v{number}", np.full((3, 4), 1.0), entry())
    subprocess.run([sys.executable, "-c", REIMPORT, str(tmp_path), when], check=when == "never")
    store = FeatureStore.open(tmp_path)
    for video in store.ids():
        assert store.load(video).shape == (rows, 4)
        assert store.load(video)[0, 0] == (1 if rows == 3 else 7)
    assert store.ids() == ["s/v0", "s/v1", "s/v2"]
    with store.adding():
        store.add("later", np.zeros((3, 4)), entry())  # the store can be written again
    assert len(FeatureStore.open(tmp_path).ids()) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux mounts a small file system in memory")
def test_an_import_on_a_full_disk_leaves_the_old_store(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here: it needs root")
    try:
        store = FeatureStore.create(disk, manifest())
        store.add("a", np.ones((3, 4)), entry())
        with pytest.raises(KgvadError, match=r"cannot write .*No space left on device"), store.adding():
            for number in range(50):
                rows = 2000
                store.add(f"v{number}", np.ones((rows, 4)), entry(rows=rows, frame_count=rows * 16))
        again = FeatureStore.open(disk)
        assert again.ids() == store.ids() == ["a"]
        assert again.load("a").shape == (3, 4)
        assert not list(again.root.glob(".staging-*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_explicit_spans():
    one = entry(layout="spans", edges=[0, 7, 20, 50])
    assert one.spans().tolist() == [[0, 7], [7, 20], [20, 50]]
    for edges in ([0, 7, 50], [0, 7, 7, 50], [1, 7, 20, 50], [0, 7, 20, 49]):
        with pytest.raises(ValueError, match="edges must be 4 rising frames from 0 to 50"):
            entry(layout="spans", edges=edges)
    with pytest.raises(ValueError, match="edges belong to the layout spans"):
        entry(edges=[0, 7, 20, 50])


def test_names_of_columns_fit_and_change_the_fingerprint():
    with pytest.raises(ValueError, match="2 names for 4 columns"):
        manifest(columns=["a", "b"])
    prints = {manifest(columns=names).fingerprint for names in (None, list("abcd"), list("abdc"))}
    assert len(prints) == 3


def test_the_quality_of_rows_is_kept_as_runs(tmp_path):
    store = FeatureStore.create(tmp_path, Manifest(encoder="e", dim=2))
    quality = ["ok"] * 500 + ["cut"] + ["black"] * 3
    store.add("v", np.zeros((504, 2)), VideoEntry(frame_count=504 * 16, fps=25, rows=504, quality=quality))
    assert '"quality": "ok*500 cut black*3"' in (store.root / "manifest.json").read_text()
    assert FeatureStore.open(tmp_path).info("v").quality == quality
    for text in ("ok*99999999999", "ok*-4", "ok*x", "sunny*504"):
        with pytest.raises(ValueError, match=r"quality|run of rows|invalid literal"):
            VideoEntry(frame_count=504 * 16, fps=25, rows=504, quality=text)
