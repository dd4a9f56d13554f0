"""Comparing features and taking in those of other programs."""

import numpy as np
import pytest
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.detector.data.feature_import import ImportOptions, import_features
from kgvad.errors import FeatureError, UsageError
from kgvad.video.feature_comparison import compare_arrays, compare_features
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

RNG = np.random.default_rng(0)


def store_of(root, arrays, **changes):
    store = FeatureStore.create(root, Manifest(**({"encoder": "e", "dim": 8} | changes)))
    for video, array in arrays.items():
        store.add(video, array, VideoEntry(frame_count=16 * array.shape[-2], fps=30, rows=array.shape[-2]))
    return root


def test_cosines_worked_by_hand():
    a = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    b = np.array([[2.0, 0.0], [1.0, 0.0]])
    one = compare_arrays("v", a, b)
    assert (one.rows_a, one.rows_b, one.worst_row) == (3, 2, 1)
    assert one.mean_cosine == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert one.min_cosine == pytest.approx(np.sqrt(0.5))
    assert one.verdict == "different"


@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "same"), (0.05, "close"), (0.3, "related"), (3.0, "different")])
def test_verdicts(noise, verdict):
    a = RNG.normal(size=(200, 512))
    assert compare_arrays("v", a, a + noise * RNG.normal(size=a.shape)).verdict == verdict


def test_normalised_features_show_in_the_length_ratio():
    a = RNG.normal(size=(50, 16)) * 4
    one = compare_arrays("v", a, a / np.linalg.norm(a, axis=1, keepdims=True))
    assert one.verdict == "same"
    assert one.length_ratio == pytest.approx(np.median(np.linalg.norm(a, axis=1)))


def test_stores_folders_and_files(tmp_path):
    a = RNG.normal(size=(5, 8))
    store_of(tmp_path / "a", {"v": a, "only_a": a})
    store_of(tmp_path / "b", {"v": np.stack([a] * 10), "only_b": np.stack([a] * 10)}, crops=10)
    (found,) = compare_features(tmp_path / "a", tmp_path / "b")
    assert (found.video, found.verdict) == ("v", "same")
    np.save(tmp_path / "other.npy", a[:3])
    (found,) = compare_features(tmp_path / "a" / "e" / "v.npy", tmp_path / "other.npy")
    assert found.verdict == "same, other length"
    result = CliRunner().invoke(app, ["features", "compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert result.exit_code == 0
    header, line = result.stdout.splitlines()
    assert header.split("\t")[0] == "video"
    assert line.split("\t") == ["v", "5", "1.0000", "1.0000", line.split("\t")[4], "1.000", "same"]


def test_what_cannot_be_compared(tmp_path):
    store_of(tmp_path / "a", {"v": RNG.normal(size=(5, 8)), "w": RNG.normal(size=(5, 8))})
    store_of(tmp_path / "b", {"x": RNG.normal(size=(5, 8)), "y": RNG.normal(size=(5, 8))})
    with pytest.raises(FeatureError, match="no video in common"):
        list(compare_features(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(FeatureError, match="8 and 4 wide"):
        compare_arrays("v", RNG.normal(size=(5, 8)), RNG.normal(size=(5, 4)))
    np.save(tmp_path / "nan.npy", np.full((5, 8), np.nan))
    with pytest.raises(FeatureError, match=r"nan\.npy: row 0 holds NaN"):
        list(compare_features(tmp_path / "nan.npy", tmp_path / "nan.npy"))


@pytest.fixture
def vadclip(tmp_path):
    """Ten crops of two videos as VadCLIP publishes them, and its list with the author's paths."""
    folder = tmp_path / "UCFClipFeatures"
    lines = ["path,label"]
    arrays = {}
    for video, category in (("Abuse001_x264", "Abuse"), ("Normal_Videos001_x264", "Normal")):
        (folder / category).mkdir(parents=True)
        arrays[video] = RNG.normal(size=(10, 7, 8))
        for crop in range(10):
            np.save(folder / category / f"{video}__{crop}.npy", arrays[video][crop].astype(np.float32))
            lines.append(f"/home/author/Desktop/UCFClipFeatures/{category}/{video}__{crop}.npy,{category}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return tmp_path, folder, arrays


def test_vadclip_lists(vadclip):
    root, folder, arrays = vadclip
    store = import_features([root / "list.csv", folder], root / "out", ImportOptions(encoder="vadclip"))
    assert store.ids() == ["Abuse001_x264", "Normal_Videos001_x264"]
    again = FeatureStore.open(root / "out")
    assert (again.manifest.crop, again.manifest.crops, again.manifest.weights) == ("imported", 10, "unknown")
    np.testing.assert_allclose(again.load("Abuse001_x264"), arrays["Abuse001_x264"], rtol=1e-3, atol=1e-3)
    assert again.info("Abuse001_x264").frame_count == 7 * 16


def test_rtfm_lists(tmp_path):
    array = RNG.normal(size=(6, 10, 8)).astype(np.float32)  # [T, crops, D]
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "Arson001_x264_i3d.npy", array)
    np.save(tmp_path / "in" / "not_listed_i3d.npy", array)
    (tmp_path / "ucf.list").write_text("/home/yu/yu_ssd/UCF_Train_ten_crop_i3d/Arson001_x264_i3d.npy\n")
    store = import_features([tmp_path / "in", tmp_path / "ucf.list"], tmp_path / "out")
    assert store.ids() == ["Arson001_x264"]
    np.testing.assert_allclose(store.load("Arson001_x264"), array.transpose(1, 0, 2), rtol=1e-3, atol=1e-3)


def test_import_command_needs_no_list(vadclip):
    root, folder, _ = vadclip
    arguments = ["features", "import", str(folder), "-e", "vadclip", "-o", str(root / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(root / "out" / "vadclip")
    shown = CliRunner().invoke(app, ["features", "check", str(root / "out")])
    assert shown.exit_code == 0
    assert "vadclip" in shown.stdout


def test_comparison_finds_crops_and_sub_folders(vadclip):
    root, folder, arrays = vadclip
    import_features([folder], root / "out", ImportOptions(encoder="vadclip"))
    for one, other in ((folder, root / "out"), (root / "out" / "vadclip", folder), (folder, folder)):
        found = {one.video: one for one in compare_features(one, other)}
        assert set(found) == set(arrays)
        assert all(one.verdict == "same" and one.rows_a == 7 for one in found.values())
    np.save(root / "solid.npy", arrays["Abuse001_x264"].transpose(1, 0, 2))  # [T, crops, D]
    np.save(root / "crop.npy", arrays["Abuse001_x264"][0])
    (only,) = compare_features(root / "solid.npy", root / "crop.npy")
    assert only.verdict == "same"


def test_bad_imports_are_named(vadclip):
    root, folder, _ = vadclip
    with pytest.raises(UsageError, match="none does not exist"):
        import_features([root / "none"], root / "out")
    (root / "wrong.csv").write_text("file,label\na.npy,\nb.npy,Abuse\n")
    with pytest.raises(FeatureError, match=r"wrong\.csv, line 2: a\.npy has no label"):
        import_features([root / "wrong.csv"], root / "out")
    (root / "more.list").write_text("a/Missing__0.npy\nb/Lost__0.npy\n")
    with pytest.raises(FeatureError, match=r"2 listed files .*Missing__0\.npy .*Lost__0\.npy"):
        import_features([folder, root / "more.list"], root / "out")
    path = folder / "Abuse" / "Abuse001_x264__3.npy"
    good = np.load(path)
    np.save(path, good[:5])
    with pytest.raises(FeatureError, match="Abuse001_x264: its crops differ in shape"):
        import_features([folder], root / "out")
    path.write_bytes(b"damage")
    with pytest.raises(FeatureError, match=r"Abuse001_x264__3\.npy cannot be read"):
        import_features([folder], root / "out")
    path.unlink()
    with pytest.raises(FeatureError, match="Abuse001_x264 has no crop 3"):
        import_features([folder], root / "out")
    assert not (root / "out").exists()
