import pytest

from kgvad import settings
from kgvad.errors import SettingsError


def test_without_a_file_everything_is_unset(tmp_path):
    assert settings.load_settings(tmp_path).model_dump(exclude_none=True) == {}


def test_relative_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "kgvad.toml").write_text('dataset = "ucf"\nfeatures = "f/i3d"\nrun = "/r"\n')
    found = settings.load_settings(tmp_path)
    assert (found.dataset, found.features, str(found.run)) == ("ucf", tmp_path / "f/i3d", "/r")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset = ", "is not valid TOML"),
        ("datasett = 'ucf'", "datasett: Extra inputs are not permitted; known keys are anchors, contact"),
        ("dataset = 3", "dataset: Input should be a valid string"),
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
    with pytest.raises(SettingsError, match="is not valid TOML"):
        settings.load_settings(tmp_path)


def test_environment_moves_both_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("KGVAD_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "c"))
    assert settings.default_bank("ucf") == tmp_path / "h/anchors/ucf.safetensors"
    assert settings.cache_dir() == tmp_path / "c"
