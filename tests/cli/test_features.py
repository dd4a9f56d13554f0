"""``kgvad features import|list|check|compare``."""

import numpy as np
import pytest
from detector_samples import kgvad, make_archive

from kgvad.errors import UsageError
from kgvad.settings import load_settings
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


def test_list_and_check(tmp_path):
    store = kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf").strip()
    assert store == str(load_settings().features_root("ucf") / "imported")
    header, row = (line.split("\t") for line in kgvad("features", "list").splitlines())
    found = dict(zip(header, row, strict=True))
    assert (found["dataset"], found["encoder"], found["videos"], found["snippets"]) == ("ucf", "imported", "18", "72")
    assert kgvad("features", "list", store).splitlines()[1].endswith(store)
    assert "videos: 18\nsnippets: 72\n" in kgvad("features", "check", store)


def test_check_leaves_out_what_a_store_does_not_say(tmp_path):
    store = FeatureStore.create(tmp_path, Manifest(encoder="mine", dim=4))
    store.add("a", np.ones((3, 4)), VideoEntry(frame_count=48, fps=25, rows=3))
    page = kgvad("features", "check", store.root)
    assert "encoder: mine\ndim: 4\n" in page and "note" not in page


def test_check_reports_every_damaged_array(tmp_path, monkeypatch, capsys):
    store = load_settings().features_root("ucf") / "imported"
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf")
    first, second, *_ = sorted(store.glob("*.npy"))
    first.write_bytes(b"broken")
    np.save(second, np.full((4, 12), np.nan, np.float16))
    monkeypatch.setattr("sys.argv", ["kgvad", "features", "check", str(store)])
    from kgvad.cli import main

    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert stopped.value.code == 1
    assert "snippets: 64" in said.out
    assert first.name in said.err and second.name in said.err and said.err.count("\n") == 2


def test_a_folder_of_arrays(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((3, 4), np.float32))
    with pytest.raises(UsageError, match="dataset of these features is unknown"):
        kgvad("features", "import", tmp_path / "in", "--encoder", "own")
    out = kgvad("features", "import", tmp_path / "in", "--encoder", "own", "--output", tmp_path / "out").strip()
    assert out == str(tmp_path / "out" / "own")
    same = kgvad("features", "compare", out, tmp_path / "in").splitlines()
    assert same[0].startswith("video\tsnippets\t") and same[1].startswith("a\t3\t1.0000")


def test_captions_need_a_store(tmp_path):
    (tmp_path / "captions.json").write_text("{}")
    with pytest.raises(UsageError, match="name the store with --to STORE"):
        kgvad("features", "import", tmp_path / "captions.json", "--dataset", "ucf")
