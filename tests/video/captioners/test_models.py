"""Captioners by name: models with random weights, a service on loopback, and everything that is no captioner."""

import base64
import io
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from captioner_samples import blip, chat
from chat_service import chat_service
from PIL import Image

from kgvad.errors import KgvadError, UsageError, WeightsError
from kgvad.video.captioners.base import CaptionerOptions, Clip, load_captioner


def clip(grey, pictures=4):
    part = [np.full((48, 64, 3), grey + i, np.uint8) for i in range(pictures)]
    return Clip(part, part, part)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return blip(root / "blip"), chat(root / "chat")


def test_blip_captions_one_picture_whatever_the_batch(models):
    captioner = load_captioner(str(models[0]))
    assert captioner.pictures == 1
    one, two = captioner.caption([clip(20, 1), clip(200, 1)])
    assert captioner.caption([clip(20, 1)]) == [one]
    assert captioner.caption([clip(200, 1)]) == [two]


def test_a_model_that_chats_sees_the_clip_between_its_neighbours(models):
    captioner = load_captioner(str(models[1]))
    assert captioner.pictures == 4
    (text,) = captioner.caption([clip(20)])
    assert captioner.caption([clip(20)]) == [text]


def test_the_prompt_changes_the_fingerprint(models):
    plain = load_captioner(str(models[1])).fingerprint
    assert load_captioner(str(models[1])).fingerprint == plain
    assert load_captioner(str(models[1]), options=CaptionerOptions(prompt="what is this")).fingerprint != plain
    with pytest.raises(UsageError, match="--prompt"):
        load_captioner(str(models[0]), options=CaptionerOptions(prompt="what is this"))


def test_a_damaged_model_is_one_line(tmp_path):
    broken = blip(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(WeightsError, match="broken"):
        load_captioner(str(broken))


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "/tmp"])
def test_what_is_no_captioner_is_one_line(name):
    with pytest.raises(UsageError, match=r"unknown captioner .*; use blip, OWNER/MODEL"):
        load_captioner(name)


def test_offline_nothing_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="somebody/model"):
        load_captioner("somebody/model")
    with pytest.raises(WeightsError, match="blip-image-captioning-base"):
        load_captioner("blip")


def test_own_code_runs_only_for_the_model_that_was_named(models):
    with pytest.raises(UsageError, match="--trust-remote-code names other/model"):
        load_captioner(str(models[0]), options=CaptionerOptions(trusted="other/model"))


def test_a_service_gets_the_pictures_and_the_prompts():
    with chat_service("a fight") as service:
        captioner = load_captioner(service.address, options=CaptionerOptions(model="tiny"))
        assert captioner.caption([clip(20), clip(200)]) == ["a fight", "a fight"]
    content = service.seen[0][2]["messages"][1]["content"]
    pictures = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    assert len(pictures) == 12  # three clips of four pictures
    data = base64.b64decode(pictures[0].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (64, 48)
    with pytest.raises(UsageError, match="--model"):
        load_captioner(service.address)


def test_a_package_registers_a_captioner(monkeypatch):
    points = [
        EntryPoint("mine", "captioner_samples:made", "kgvad.captioners"),
        EntryPoint("gone", "captioner_samples:nothing", "kgvad.captioners"),
        EntryPoint("text", "captioner_samples:TEMPLATE", "kgvad.captioners"),
    ]
    monkeypatch.setattr("kgvad.plugins.installed", lambda group, path: points)
    assert load_captioner("mine").name == "brightness"
    with pytest.raises(KgvadError, match=r"captioner 'gone' .* cannot be loaded"):
        load_captioner("gone")
    with pytest.raises(KgvadError, match=r"captioner 'text' .* is not a factory"):
        load_captioner("text")
