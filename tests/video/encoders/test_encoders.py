"""Encoders: the published networks give the right answers, and frames are cut as documented."""

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kgvad.errors import FeatureError, UsageError, WeightsError
from kgvad.video.encoders import efficientnet_network, i3d_network
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.sampling import Sampling, cut


@pytest.fixture
def frames():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (2, 16, 60, 80, 3), np.uint8)


@pytest.mark.parametrize(
    ("rule", "stride", "positions"),
    [
        ("mean16", 16, tuple(range(16))),
        ("mean4", 16, (2, 6, 10, 14)),
        ("centre", 16, (8,)),
        ("first", 16, (0,)),
        ("mean16", 1, (0,)),
        ("mean4", 1, (0,)),
        ("mean4", 8, (1, 3, 5, 7)),
    ],
)
def test_temporal_rules(rule, stride, positions):
    assert Sampling(temporal=rule, stride=stride).positions == positions


def test_crop_windows_are_the_published_ones():
    frame = np.zeros((256, 340, 3), np.uint8)
    frame[..., 0] = np.arange(256)[:, None]  # row
    frame[..., 1] = np.minimum(np.arange(340), 255)  # column
    views = cut(frame, "ten")
    assert [view.shape for view in views] == [(224, 224, 3)] * 10
    assert [tuple(view[0, 0, :2]) for view in views[:5]] == [(16, 58), (0, 0), (0, 116), (32, 0), (32, 116)]
    assert np.array_equal(views[0], frame[16:240, 58:282])
    for plain, mirrored in zip(views[:5], views[5:], strict=True):
        assert np.array_equal(mirrored, plain[:, ::-1])
    assert len(cut(frame, "centre")) == 1
    for five, one in zip(cut(frame, "five"), views[:5], strict=True):
        assert np.array_equal(five, one)


def test_efficientnet_knows_what_it_sees(weights):
    """A drawing and scikit-learn's two photographs, by their ILSVRC 2012 class numbers."""
    from PIL import Image, ImageDraw
    from sklearn.datasets import load_sample_image

    network = efficientnet_network.EfficientNetLite0()
    path = weights("efficientnet-lite0") / "efficientnet-lite0.pth"
    network.load_published(torch.load(path, weights_only=True))
    light = Image.new("RGB", (224, 224), (120, 170, 220))
    draw = ImageDraw.Draw(light)
    draw.rectangle((75, 20, 150, 204), fill=(20, 20, 20))
    for top, colour in ((30, (240, 30, 30)), (88, (60, 50, 10)), (146, (10, 50, 20))):
        draw.ellipse((87, top, 137, top + 50), fill=colour)
    photos = [Image.fromarray(load_sample_image(name)).resize((224, 224)) for name in ("flower.jpg", "china.jpg")]
    pixels = torch.stack([torch.from_numpy(np.array(p)) for p in (light, *photos)]).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        _, logits = network.eval()((pixels - 127) / 128)
    assert logits[0].argmax() == 920  # traffic light
    assert logits[1].argmax() == 985  # daisy: the nearest of the 1,000 classes to the flower
    assert {663, 698} & set(logits[2].topk(5).indices.tolist())  # monastery, palace


def test_folding_the_batch_norm_changes_nothing():
    """The folded network equals convolution followed by batch norm (eps 1e-3), with TensorFlow's padding."""
    torch.manual_seed(0)
    conv = efficientnet_network._Conv(3, 5, 3, stride=2)
    state = {
        "c.weight": torch.randn(5, 3, 3, 3),
        "n.weight": torch.rand(5) + 0.5,
        "n.bias": torch.randn(5),
        "n.running_mean": torch.randn(5),
        "n.running_var": torch.rand(5) + 0.1,
    }
    efficientnet_network.EfficientNetLite0._fold(conv, state, "c", "n")
    x = torch.randn(1, 3, 8, 8)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))  # an even side and stride 2: one row, at the far end
    y = torch.nn.functional.conv2d(padded, state["c.weight"], stride=2)
    y = torch.nn.functional.batch_norm(
        y, state["n.running_mean"], state["n.running_var"], state["n.weight"], state["n.bias"], eps=1e-3
    )
    torch.testing.assert_close(conv(x), y.clamp(0, 6), rtol=1e-4, atol=1e-5)


def test_i3d_shapes(weights):
    weights("i3d-k400")
    encoder = load_visual_encoder("i3d")
    assert encoder.decode_size(320, 240) == (341, 256)
    assert encoder.decode_size(240, 320) == (256, 341)
    snippet = np.random.default_rng(0).integers(0, 256, (1, 16, 256, 341, 3), np.uint8)
    features = encoder.encode(snippet)
    assert features.shape == (1, 1024)
    network = encoder.runner.torch_network
    middle = torch.from_numpy(snippet[0, :, 16:240, 58:282].copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected, logits = network(middle)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert logits.shape == (1, 400)


def test_i3d_same_padding_matches_tensorflow():
    # TensorFlow: total = max((ceil(n / s) - 1) s + k - n, 0), the smaller half in front
    x = torch.zeros(1, 1, 16, 112, 7)
    assert i3d_network._same(x, (3, 3, 3), (2, 2, 2)).shape[-3:] == (17, 113, 9)
    assert i3d_network._same(x, (1, 1, 1), (1, 1, 1)).shape == x.shape
    ones = i3d_network._same(torch.ones(1, 1, 4, 4, 4), (3, 3, 3), (2, 2, 2))
    assert ones[0, 0, 0, 0, 0] == 1  # nothing in front
    assert ones[0, 0, 4, 0, 0] == 0  # one plane late


def test_efficientnet_averages_its_four_frames(frames, weights):
    weights("efficientnet-lite0")
    encoder = load_visual_encoder("efficientnet-lite0")
    assert encoder.dim == 1280
    features = encoder.encode(frames)
    assert features.shape == (2, 1280)
    one = load_visual_encoder("efficientnet-lite0", stride=1)
    singles = np.stack([one.encode(frames[:, i : i + 1]) for i in (2, 6, 10, 14)])
    np.testing.assert_allclose(features, singles.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(encoder.encode(frames[:, [2, 6, 10, 14]]), features, rtol=1e-5)


def test_five_and_ten_crops(frames, weights):
    weights("efficientnet-lite0")
    ten = load_visual_encoder("efficientnet-lite0", crop="ten", temporal="first")
    assert ten.decode_size(1920, 1080) == (340, 256)
    rows = ten.encode(frames[:1])
    assert rows.shape == (1, 10, 1280)
    centre = load_visual_encoder("efficientnet-lite0", crop="centre", temporal="first")
    np.testing.assert_allclose(centre.encode(frames[:1]), rows[:, 0], rtol=1e-4, atol=1e-5)
    five = load_visual_encoder("efficientnet-lite0", crop="five", temporal="first")
    assert five.encode(frames[:1]).tobytes() == np.ascontiguousarray(rows[:, :5]).tobytes()
    assert len({one.fingerprint for one in (centre, five, ten)}) == 3
    mirrored = ten.encode(frames[:1, :, :, ::-1])
    np.testing.assert_allclose(mirrored[:, 5], rows[:, 0], rtol=0.02, atol=0.05)


def test_fingerprints_tell_settings_apart(weights):
    weights("efficientnet-lite0")
    made = {
        load_visual_encoder("efficientnet-lite0", crop=crop, temporal=rule, stride=stride).fingerprint
        for crop in ("plain", "centre")
        for rule in ("mean4", "mean16")
        for stride in (16, 1)
    }
    assert len(made) == 8
    assert load_visual_encoder("efficientnet-lite0").fingerprint in made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vgg"}, "unknown visual encoder 'vgg'.*efficientnet-lite0, i3d, i3d-actions, clip, blip"),
        ({"name": "i3d", "temporal": "first"}, "i3d sees whole snippets"),
        ({"name": "efficientnet-lite0", "temporal": "clip"}, "sees single frames"),
        ({"name": "efficientnet-lite0", "precision": "fp16"}, "unknown precision 'fp16'; use fp32, bf16"),
        ({"name": "efficientnet-lite0", "crop": "left"}, "unknown crop rule 'left'.*plain, centre, five, ten"),
        ({"name": "efficientnet-lite0", "stride": 0}, "stride is 0"),
        ({"name": "efficientnet-lite0", "device": "abacus"}, "unknown device 'abacus'"),
    ],
)
def test_wrong_options_name_the_right_ones(options, message):
    with pytest.raises(UsageError, match=message):
        load_visual_encoder(**options)


def test_wrong_arrays_are_refused(frames, weights):
    weights("efficientnet-lite0")
    encoder = load_visual_encoder("efficientnet-lite0")
    with pytest.raises(FeatureError, match="uint8"):
        encoder.encode(frames.astype(np.float32))
    with pytest.raises(FeatureError, match="5 frames instead of 16"):
        encoder.encode(frames[:, :5])


@pytest.mark.parametrize("damage", ["cut", "bit"])
def test_converted_weights_are_made_again_when_damaged(weights, tmp_path, monkeypatch, damage):
    source = weights("efficientnet-lite0")
    monkeypatch.setenv("KGVAD_WEIGHTS", str(source))
    monkeypatch.setenv("KGVAD_CACHE", str(tmp_path))
    first = load_visual_encoder("efficientnet-lite0")
    converted = tmp_path / "weights/efficientnet-lite0/converted.safetensors"
    whole = converted.read_bytes()
    damaged = bytearray(whole[:1000] if damage == "cut" else whole)
    damaged[-5] ^= 0x40  # among the tensors, where safetensors itself notices nothing
    converted.write_bytes(damaged)
    second = load_visual_encoder("efficientnet-lite0")
    picture = np.zeros((1, 16, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(first.encode(picture), second.encode(picture))
    assert len(converted.read_bytes()) == len(whole)  # safetensors writes its metadata in any order
    with safe_open(converted, "np") as file:
        assert file.metadata()["version"] == "3"


def test_default_is_blip_with_a_said_fallback(only_weights, capsys):
    only_weights("efficientnet-lite0")
    capsys.readouterr()  # it may have been fetched just now
    assert load_visual_encoder(None).name == "efficientnet-lite0"
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "BLIP" in lines[0]
    assert "efficientnet-lite0" in lines[0]
    with pytest.raises(WeightsError, match="blip-itm-base-coco"):  # named by the user: never replaced
        load_visual_encoder("blip")
