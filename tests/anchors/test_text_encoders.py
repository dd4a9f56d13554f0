"""Text encoders: the same vectors as transformers' own models, on tiny checkpoints and on the real MiniLM."""

import numpy as np
import pytest
import torch
import transformers
from anchors_samples import checkpoint

from kgvad.anchors.text_encoders import HubEncoder, load_text_encoder
from kgvad.errors import UsageError, WeightsError

TEXTS = [
    "a man walking",
    "robbery , a kind of theft",
    "a masked man pointing a gun with smoke",
    "fire",
    "a dog attacks a person",
]


def reference(kind, folder, text):
    """One sentence at a time, without padding, through transformers' public models."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    with torch.no_grad():
        if kind == "bert":
            vector = transformers.BertModel.from_pretrained(folder)(ids, mask).last_hidden_state[0].mean(0)
        elif kind == "blip":
            model = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
            image = torch.zeros(1, 3, 32, 32)
            # without the matching head the model gives the cosine of image and text: undo the image by its own vector
            state = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
            vector = model.text_proj(state)[0]
            seen = torch.nn.functional.normalize(
                model.vision_proj(model.vision_model(pixel_values=image)[0][:, 0]), dim=-1
            )
            own = model(ids, image, use_itm_head=False, attention_mask=mask)[0]
            assert torch.allclose(own, seen @ torch.nn.functional.normalize(vector, dim=0)[:, None], atol=1e-5)
        elif kind == "clip":
            out = transformers.CLIPModel.from_pretrained(folder).get_text_features(ids, mask)
            vector = getattr(out, "pooler_output", out)[0]
        else:
            padded = transformers.AutoTokenizer.from_pretrained(folder)(
                text, padding="max_length", max_length=32, return_tensors="pt"
            )["input_ids"]
            out = transformers.SiglipModel.from_pretrained(folder).get_text_features(padded)
            vector = getattr(out, "pooler_output", out)[0]
    return (vector / vector.norm()).numpy()


@pytest.mark.parametrize(
    ("kind", "joint", "dim"), [("bert", None, 32), ("blip", "blip", 16), ("clip", "clip", 24), ("siglip", None, 32)]
)
def test_vectors_are_those_of_transformers(tmp_path, kind, joint, dim):
    folder = checkpoint(kind, tmp_path / kind)
    encoder = load_text_encoder(str(folder))
    assert (encoder.joint, encoder.dim) == (joint, dim)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), dim)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.abs(vector - reference(kind, folder, text)).max() < 1e-5


@pytest.mark.parametrize("kind", ["bert", "blip", "clip", "siglip"])
def test_token_embeddings_give_the_vectors_of_their_tokens_and_gradients(tmp_path, kind):
    encoder = load_text_encoder(str(checkpoint(kind, tmp_path)))
    ids, mask = encoder.tokens(TEXTS)
    embeddings = encoder.table(ids).clone().requires_grad_(True)
    vectors = encoder.encode_embeddings(ids, mask, embeddings)
    assert np.abs(vectors.detach().numpy() - encoder.encode(TEXTS)).max() < 1e-5
    vectors[0, 0].backward()
    assert embeddings.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in encoder.table.parameters())
    # the hook is gone: plain encoding is as before
    assert np.abs(encoder.encode(TEXTS) - vectors.detach().numpy()).max() < 1e-5


def test_blip_cls_is_the_state_before_the_projection(tmp_path):
    folder = checkpoint("blip", tmp_path)
    raw, projected = HubEncoder("blip-cls", folder), HubEncoder("blip", folder)
    assert raw.dim == 32 and raw.joint is None and raw.fingerprint != projected.fingerprint
    model = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    ids, mask = raw.tokens(["fire"])
    with torch.no_grad():
        state = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state[0, 0]
    assert np.abs(raw.encode(["fire"])[0] - (state / state.norm()).numpy()).max() < 1e-5


def test_order_and_batch_do_not_matter_and_long_text_keeps_its_end(tmp_path):
    encoder = load_text_encoder(str(checkpoint("clip", tmp_path)))
    many = [" ".join(["fire", "smoke", "gun"][: i % 3 + 1] * (i % 7 + 1)) for i in range(150)]
    vectors = encoder.encode(many)
    assert np.abs(vectors[77] - encoder.encode([many[77]])[0]).max() < 1e-5
    ids, _ = encoder.tokens(["fire " * 500])
    assert ids.shape == (1, 32) and ids[0, -1] == encoder.frame()[1]
    assert encoder.encode([]).shape == (0, 24)
    assert np.isfinite(encoder.encode(["", "\x00\ud7ff🙂" * 20])).all()


def test_unknown_names_and_damaged_folders_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"unknown text encoder .word2vec.*minilm"):
        load_text_encoder("word2vec")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UsageError, match="gpt2"):
        load_text_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        load_text_encoder(str(tmp_path))
    folder = checkpoint("bert", tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded") as error:
        load_text_encoder(str(folder))
    assert "\n" not in str(error.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        load_text_encoder(str(folder))


def test_only_the_default_falls_back(only_weights, capsys):
    only_weights("minilm-l6")
    capsys.readouterr()  # it may have been fetched just now
    with pytest.raises(WeightsError, match="blip"):
        load_text_encoder("blip")
    assert load_text_encoder(None).name == "minilm"
    assert capsys.readouterr().err.count("\n") == 1


def test_real_minilm_knows_what_is_alike(weights):
    weights("minilm-l6")
    encoder = load_text_encoder("minilm")
    fire, blaze, queue = encoder.encode(["a house on fire", "a building is burning", "people waiting in a queue"])
    assert encoder.dim == 384
    assert fire @ blaze > 0.6 > 0.3 > fire @ queue


def test_a_bank_remembers_the_folder_of_its_encoder(tmp_path):
    from kgvad.anchors.bank import EncoderInfo

    folder = checkpoint("bert", tmp_path)
    encoder = load_text_encoder(str(folder))
    about = EncoderInfo(name=encoder.name, fingerprint="f", dim=encoder.dim, joint=None, folder=encoder.folder)
    assert encoder.name == "minilm" and about.source == str(folder.absolute())
    assert load_text_encoder(about.source).fingerprint == encoder.fingerprint
    assert EncoderInfo(name="blip", fingerprint="f", dim=2, joint="blip").source == "blip"
