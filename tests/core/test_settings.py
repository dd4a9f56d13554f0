import runpy
import sys
from types import SimpleNamespace

import pytest

from kgvad import settings, toml
from kgvad.errors import SettingsError


def test_without_a_file_there_are_defaults(tmp_path):
    found = settings.load_settings(tmp_path)
    assert (found.dataset, found.features, found.device, found.language) == (None, None, "auto", "en")


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "kgvad.toml").write_text('device = "cuda"\nendpoint = "http://file"\nlanguage = "de"\n')
    monkeypatch.setenv("KGVAD_DEVICE", "mps")
    monkeypatch.setenv("KGVAD_ENDPOINT", "http://environment")
    monkeypatch.setenv("KGVAD_LANGUAGE", "")  # counts as not set
    found = settings.load_settings(tmp_path, device="cpu", endpoint=None)
    assert (found.device, found.endpoint, found.language) == ("cpu", "http://environment", "de")


def test_a_wrong_value_in_the_environment_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KGVAD_LANGUAGE", "fr")
    with pytest.raises(
        SettingsError, match=r"the environment \(KGVAD_\.\.\.\): language: Input should be 'en' or 'de'"
    ):
        settings.load_settings(tmp_path)


def test_a_list_in_the_environment_is_json(tmp_path, monkeypatch):
    monkeypatch.setenv("KGVAD_SINKS", '["webhook:https://example.org/alarms"]')
    assert settings.load_settings(tmp_path).sinks == ("webhook:https://example.org/alarms",)
    monkeypatch.setenv("KGVAD_SINKS", "webhook:https://example.org/alarms")
    with pytest.raises(SettingsError, match="KGVAD_SINKS is not a list in JSON; write for example"):
        settings.load_settings(tmp_path)


def test_relative_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "kgvad.toml").write_text('dataset = "ucf"\nfeatures = "f/i3d"\nrun = "/r"\n')
    found = settings.load_settings(tmp_path)
    assert (found.dataset, found.features, str(found.run)) == ("ucf", tmp_path / "f/i3d", "/r")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset = ", "is not valid TOML"),
        (
            "datasett = 'ucf'",
            "unknown key 'datasett'; known keys are anchors, cache, cameras, caption_model, captioner, contact",
        ),
        ("dataset = 3", "dataset: Input should be a valid string"),
        ("sinks = 'webhook:https://example.org'", "sinks: Input should be a list; correct the value"),
        ("home = 3", "home: Input should be a path; correct the value"),
    ],
)
def test_a_wrong_file_is_named_with_the_key(tmp_path, text, message):
    (tmp_path / "kgvad.toml").write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        settings.load_settings(tmp_path)
    assert str(tmp_path / "kgvad.toml") in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "kgvad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not UTF-8 text; save it as UTF-8"):
        settings.load_settings(tmp_path)


def test_environment_moves_both_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("KGVAD_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "c"))
    assert settings.load_settings().bank_path("ucf") == tmp_path / "h/anchors/ucf.safetensors"
    assert settings.cache_dir() == tmp_path / "c"


def test_a_file_cannot_name_a_service_that_videos_are_sent_to(tmp_path, monkeypatch):
    """A kgvad.toml may lie in a folder that somebody else made."""
    (tmp_path / "kgvad.toml").write_text('captioner = "https://somewhere.example/v1"\n')
    with pytest.raises(SettingsError, match="captioner: an address in a file"):
        settings.load_settings(tmp_path)
    (tmp_path / "kgvad.toml").write_text('captioner = "some/model"\n')
    monkeypatch.setenv("KGVAD_CAPTIONER", "http://localhost:8000/v1")
    assert settings.load_settings(tmp_path).captioner == "http://localhost:8000/v1"


def test_before_python_3_11_toml_is_read_by_the_package_that_became_the_standard_one(monkeypatch):

    parser = SimpleNamespace(loads=None)
    monkeypatch.setitem(sys.modules, "tomli", parser)
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    assert runpy.run_path(toml.__file__)["tomllib"] is parser
