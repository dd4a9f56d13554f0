import json
from pathlib import Path

import pytest

from kgvad.errors import AnchorError, UsageError
from kgvad.session import Session
from kgvad.settings import load_settings


def test_default_places_follow_the_dataset(tmp_path):
    session = Session(dataset="xd", home=tmp_path)
    assert session.bank_path == tmp_path / "anchors/xd.safetensors"
    assert session.features_root == tmp_path / "features/xd"
    assert session.run_folder == tmp_path / "runs/xd"


def test_the_default_dataset_is_the_only_one_with_features(tmp_path):
    assert Session(home=tmp_path).dataset == "ucf"
    (tmp_path / "features" / "shop").mkdir(parents=True)
    assert Session(home=tmp_path).run_folder == tmp_path / "runs/shop"
    assert Session(home=tmp_path, dataset="xd").dataset == "xd"
    (tmp_path / "features" / "xd").mkdir()
    assert Session(home=tmp_path).dataset == "ucf"


def test_features_without_a_run_choose_no_dataset_for_explaining(tmp_path):
    (tmp_path / "features" / "shop").mkdir(parents=True)
    assert Session(home=tmp_path, explaining=True).dataset == "ucf"
    assert Session(home=tmp_path, explaining=True, run=tmp_path / "r").dataset == "shop"  # the names of its categories
    (tmp_path / "runs" / "shop").mkdir(parents=True)
    assert Session(home=tmp_path, explaining=True).dataset == "shop"


def test_a_named_run_is_explained_in_the_words_of_its_own_dataset(tmp_path):
    """Features of another dataset in the home folder named the categories: "most likely Robbery" of ucf's robbery."""
    for name in ("shop", "other"):
        (tmp_path / "features" / name).mkdir(parents=True)
        (tmp_path / "features" / name / "dataset.json").touch()
    run = tmp_path / "run"
    run.mkdir()
    for name, found in (("xd", "xd"), ("other", "other"), ("unknown", "ucf"), ("../x", "ucf"), (3, "ucf")):
        (run / "config.json").write_text(json.dumps({"dataset": name}))
        assert Session(home=tmp_path, explaining=True, run=run).dataset == found
        assert Session(home=tmp_path, explaining=True, run=run, dataset="shop").dataset == "shop"
        assert Session(home=tmp_path, run=run).dataset == "ucf", "a training does not take the dataset of an old run"
    (run / "config.json").write_text("[]")
    assert Session(home=tmp_path, explaining=True, run=run).dataset == "ucf"


def test_configured_places_win(tmp_path):
    Path("kgvad.toml").write_text('anchors = "b.safetensors"\nfeatures = "f"\nrun = "r"\n')
    session = Session()
    here = Path.cwd()
    assert (session.bank_path, session.features_root, session.run_folder) == (
        here / "b.safetensors", here / "f", here / "r",
    )  # fmt: skip


def test_the_configured_device_reaches_the_session_and_the_command_line_wins(monkeypatch):
    Path("kgvad.toml").write_text('device = "nonsense"\n')
    with pytest.raises(UsageError, match="device = nonsense"):
        _ = Session().device
    assert Session(device="cpu").device == "cpu"
    monkeypatch.setenv("KGVAD_DEVICE", "meta")
    assert Session().device == "meta"


def test_the_configured_store_is_the_graph(tmp_path):
    Path("kgvad.toml").write_text(f'store = "sqlite:///{tmp_path}/own.sqlite"\n')
    with Session() as session:
        assert session.graph.counts()["items"] > 0
    assert (tmp_path / "own.sqlite").is_file()


def test_offline_has_no_client_and_the_service_is_configured():
    assert Session(offline=True).wikidata() is None
    client = Session(endpoint="http://127.0.0.1:9/q", contact="a@b.org").wikidata(tries=2)
    assert (client.endpoint, client.service.settings.contact, client.service.settings.tries) == (
        "http://127.0.0.1:9/q", "a@b.org", 2,
    )  # fmt: skip


def test_a_bank_by_dataset_by_file_and_by_default(tmp_path):
    session = Session(home=tmp_path)
    with pytest.raises(AnchorError, match=r"anchors/ucf\.safetensors does not exist; make it .* --dataset ucf"):
        session.bank_file()
    path = tmp_path / "anchors" / "xd.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert session.bank_file("xd") == path
    assert session.bank_file("own.safetensors") == Path("own.safetensors")
    Path("xd").mkdir()
    assert session.bank_file("xd") == path


def test_no_dataset_called_so():
    with pytest.raises(UsageError, match="unknown dataset 'nothing'; known are"):
        Session(dataset="nothing").table()


def test_settings_are_loaded_once(tmp_path):
    settings = load_settings(dataset="xd")
    assert Session(settings).settings is settings


@pytest.mark.parametrize("place", ["--device", "KGVAD_DEVICE", "the setting device ="])
def test_an_unknown_device_is_named_by_where_it_was_given(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KGVAD_DEVICE", raising=False)
    if place == "KGVAD_DEVICE":
        monkeypatch.setenv("KGVAD_DEVICE", "warp")
    elif place != "--device":
        (tmp_path / "kgvad.toml").write_text('device = "warp"')
    session = Session(device="warp" if place == "--device" else None)
    with pytest.raises(UsageError, match=f"^{place} warp: torch has no such device"):
        _ = session.device
