"""CLIP, BLIP and SigLIP image sides: tiny random checkpoints give what transformers itself gives."""

import json

import numpy as np
import pytest
import torch

from kgvad.errors import UsageError, WeightsError
from kgvad.video.encoders.base import load_visual_encoder, options_of
from kgvad.video.extract import manifest_of

SIDE = 32


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=small | {"vocab_size": 50},
        vision_config=small | {"image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory):
    import transformers

    torch.manual_seed(1)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BlipConfig(
        text_config=small | {"vocab_size": 50, "encoder_hidden_size": 16},
        vision_config=small | {"image_size": SIDE, "patch_size": 8},
        image_text_hidden_size=10,
    )
    folder = tmp_path_factory.mktemp("blip")
    transformers.BlipForImageTextRetrieval(config).save_pretrained(folder)
    mean = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(mean))
    return folder


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def siglip_folder(request, tmp_path_factory):
    import transformers

    torch.manual_seed(2)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    size = {"image_size": SIDE} if request.param == "siglip" else {"num_patches": (SIDE // 8) ** 2}
    prefix = request.param.capitalize()
    config = getattr(transformers, f"{prefix}Config")(
        text_config=small | {"vocab_size": 50, "max_position_embeddings": 8, "projection_size": 16},
        vision_config=small | size | {"patch_size": 8},
    )
    folder = tmp_path_factory.mktemp(request.param)
    getattr(transformers, f"{prefix}Model")(config).save_pretrained(folder)
    return folder


@pytest.fixture
def snippet():
    return np.random.default_rng(5).integers(0, 256, (2, 16, SIDE, SIDE, 3), np.uint8)


def normalised(frames, mean, std):
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def test_clip_features_are_the_mean_of_the_projected_frames(clip_folder, snippet):
    import transformers

    encoder = load_visual_encoder(str(clip_folder))
    assert (encoder.name, encoder.dim) == ("clip", 12)
    features = encoder.encode(snippet)
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixels = normalised(
        snippet.reshape(-1, SIDE, SIDE, 3),
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    )
    with torch.inference_mode():
        embeds = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    np.testing.assert_allclose(features, embeds.view(2, 16, -1).mean(1).numpy(), rtol=1e-3, atol=1e-5)


def test_blip_features_are_those_that_its_text_is_compared_with(blip_folder, snippet):
    import transformers

    encoder = load_visual_encoder(str(blip_folder), temporal="first")
    assert (encoder.name, encoder.dim) == ("blip", 10)
    features = encoder.encode(snippet)
    model = transformers.BlipForImageTextRetrieval.from_pretrained(blip_folder).eval()
    pixels = normalised(snippet[:, 0], (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))  # of its own preprocessor_config.json
    tokens = torch.tensor([[1, 7, 9, 2]])
    with torch.inference_mode():
        cosines = model(input_ids=tokens, pixel_values=pixels, use_itm_head=False).itm_score[:, 0]
        hidden = model.text_encoder(input_ids=tokens).last_hidden_state[:, 0]
        text = torch.nn.functional.normalize(model.text_proj(hidden), dim=-1)[0].numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ text, cosines.numpy(), rtol=1e-3, atol=1e-5)


def test_siglip_features_are_those_that_transformers_gives_for_the_prepared_frame(siglip_folder, snippet):
    """The whole frame, with the library's own preprocessing: for SigLIP 2 of any aspect ratio also its patches."""
    import transformers

    encoder = load_visual_encoder(str(siglip_folder), temporal="first")
    assert (encoder.name, encoder.dim) == (siglip_folder.name[:-1], 16)
    assert encoder.decode_size(640, 360) == (SIDE, SIDE)
    if encoder.name == "siglip":
        processor = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    else:
        processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=(SIDE // 8) ** 2)
    inputs = processor(images=list(snippet[:, 0]), return_tensors="pt")
    model = transformers.AutoModel.from_pretrained(siglip_folder).eval()
    with torch.inference_mode():
        found = model.get_image_features(**inputs)
    expected = found if isinstance(found, torch.Tensor) else found.pooler_output
    np.testing.assert_allclose(encoder.encode(snippet), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_bf16_features_are_close_and_are_not_mixed(clip_folder, snippet):
    full = load_visual_encoder(str(clip_folder))
    half = load_visual_encoder(str(clip_folder), precision="bf16")
    exact, rounded = full.encode(snippet), half.encode(snippet)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()
    assert half.fingerprint != full.fingerprint
    assert manifest_of(half).precision == "bf16" and manifest_of(full).precision is None
    assert options_of(half).precision == "bf16"  # a worker loads the same


def test_any_number_of_threads_gives_the_same_bytes(clip_folder):
    clips = np.random.default_rng(0).integers(0, 256, (3, 16, SIDE, SIDE, 3), np.uint8)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(load_visual_encoder(str(clip_folder)).encode(clips))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_clip_scales_the_shorter_side_and_takes_the_middle(clip_folder, blip_folder):
    clip = load_visual_encoder(str(clip_folder), temporal="first")
    assert clip.decode_size(640, 360) == (57, SIDE)
    assert clip.decode_size(360, 640) == (SIDE, 57)
    wide = np.zeros((1, 16, SIDE, 57, 3), np.uint8)
    wide[:, :, :, 12:44] = np.random.default_rng(0).integers(0, 256, (1, 16, SIDE, 32, 3), np.uint8)
    borders = wide.copy()
    borders[:, :, :, :12] = 255
    borders[:, :, :, 44:] = 255
    np.testing.assert_array_equal(clip.encode(wide), clip.encode(borders))  # what is cut off does not count
    assert load_visual_encoder(str(blip_folder)).decode_size(640, 360) == (SIDE, SIDE)


def test_a_clip_processor_would_prepare_a_frame_the_same_way(clip_folder):
    """Against transformers' own CLIP preprocessing (bicubic, shorter side, middle) on a smooth full-size frame."""
    import transformers

    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    rows, columns = np.mgrid[0:90, 0:160]
    frame = np.stack([rows * 2, columns, (rows + columns) % 200], -1).astype(np.uint8)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    pixels = torch.as_tensor(np.asarray(processor(images=[frame])["pixel_values"]))
    with torch.inference_mode():
        expected = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)[0].numpy()
    ours = load_visual_encoder(str(clip_folder), temporal="first").encode(np.repeat(frame[None, None], 16, 1))[0]
    cosine = ours @ expected / np.linalg.norm(ours) / np.linalg.norm(expected)
    assert cosine > 0.999


@pytest.mark.parametrize("crop", ["centre", "ten"])
def test_crops_of_joint_encoders(clip_folder, crop):
    encoder = load_visual_encoder(str(clip_folder), crop=crop, temporal="centre")
    assert encoder.decode_size(640, 360) == (340, 256)
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 256, 340, 3), np.uint8)
    assert encoder.encode(frames).shape == ((1, 12) if crop == "centre" else (1, 10, 12))


def test_fingerprint_follows_the_weights(clip_folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(clip_folder, copy)
    assert load_visual_encoder(str(copy)).fingerprint == load_visual_encoder(str(clip_folder)).fingerprint
    tensors = load_file(copy / "model.safetensors")
    tensors["visual_projection.weight"][0, 0] += 1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert load_visual_encoder(str(copy)).fingerprint != load_visual_encoder(str(clip_folder)).fingerprint


def test_damaged_and_foreign_folders(clip_folder, tmp_path):
    import shutil

    with pytest.raises(UsageError, match="not a folder in the Transformers layout"):
        load_visual_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UsageError, match="model of type 'vit'"):
        load_visual_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is not valid JSON"):
        load_visual_encoder(str(tmp_path))
    cut = tmp_path / "cut"
    shutil.copytree(clip_folder, cut)
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded") as error:
        load_visual_encoder(str(cut))
    assert "\n" not in str(error.value)
    (cut / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        load_visual_encoder(str(cut))


def test_loading_prints_nothing(clip_folder, blip_folder, capfd):
    load_visual_encoder(str(clip_folder))
    load_visual_encoder(str(blip_folder))
    out = capfd.readouterr()
    assert out.out == ""
    assert out.err == ""
