"""Text encoders: vectors equal to those of transformers, loading by name, folder and entry point."""

import subprocess
import sys
import types

import numpy as np
import pytest
import torch
import transformers
from anchors_samples import TABLE, checkpoint

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.build import build_bank, open_vocabulary
from kgvad.anchors.text_encoders import load_text_encoder, takes_prompts, text_encoder_names
from kgvad.anchors.transformers_encoder import TransformersEncoder
from kgvad.errors import KgvadError, UsageError, WeightsError
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import parse_table
from kgvad.session import Session

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
    embeddings = encoder.token_embeddings(ids).clone().requires_grad_(True)
    vectors = encoder.encode_embeddings(ids, mask, embeddings)
    assert np.abs(vectors.detach().numpy() - encoder.encode(TEXTS)).max() < 1e-5
    vectors[0, 0].backward()
    assert embeddings.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in encoder.token_embeddings.parameters())
    # the hook is gone: plain encoding is as before
    assert np.abs(encoder.encode(TEXTS) - vectors.detach().numpy()).max() < 1e-5


def test_blip_cls_is_the_state_before_the_projection(tmp_path):
    folder = checkpoint("blip", tmp_path)
    raw, projected = TransformersEncoder("blip-cls", folder), TransformersEncoder("blip", folder)
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
    assert ids.shape == (1, 32) and ids[0, -1] == encoder.boundary_ids()[1]
    assert encoder.encode([]).shape == (0, 24)
    assert np.isfinite(encoder.encode(["", "\x00\ud7ff🙂" * 20])).all()


def test_a_folder_may_be_a_path_and_one_string_is_not_taken_letter_by_letter(tmp_path):
    encoder = load_text_encoder(checkpoint("bert", tmp_path))
    assert encoder.encode(["a man"]).shape == (1, 32)
    with pytest.raises(TypeError, match="give a list of strings"):
        encoder.encode("a man")


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


def test_only_the_default_falls_back_to_minilm(only_weights, capsys):
    only_weights("minilm-l6")
    capsys.readouterr()  # it may have been fetched just now
    with pytest.raises(WeightsError, match="blip"):
        load_text_encoder("blip")
    assert load_text_encoder(None).name == "minilm"
    assert capsys.readouterr().err.count("\n") == 1


def test_real_minilm_ranks_similar_sentences_first(weights):
    weights("minilm-l6")
    encoder = load_text_encoder("minilm")
    fire, blaze, queue = encoder.encode(["a house on fire", "a building is burning", "people waiting in a queue"])
    assert encoder.dim == 384
    assert fire @ blaze > 0.6 > 0.3 > fire @ queue


class Plugin:
    """A text encoder of another package: two letters counted."""

    name, dim, fingerprint, joint = "letters", 2, "letters-1", None

    def __init__(self, device):
        self.device = device

    def encode(self, texts):
        counts = np.array([[1 + text.count("a"), 1 + text.count("e")] for text in texts], np.float32).reshape(-1, 2)
        return counts / np.hypot(counts[:, :1], counts[:, 1:])


class Nameless:
    def __init__(self, device):
        self.dim = 2


def broken(device):
    raise RuntimeError("no\nlicence")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package whose metadata registers encoders, as pip would install it."""
    package = tmp_path / "site"
    (package / "letters-1.0.dist-info").mkdir(parents=True)
    (package / "letters-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: letters\nVersion: 1.0\n")
    names = {
        "letters": "Plugin",
        "other-name": "Plugin",
        "nameless": "Nameless",
        "broken": "broken",
        "minilm": "broken",
    }
    lines = [f"{name} = letters_plugin:{target}" for name, target in names.items()]
    (package / "letters-1.0.dist-info" / "entry_points.txt").write_text("\n".join(["[kgvad.text_encoders]", *lines]))
    module = types.ModuleType("letters_plugin")
    module.Plugin, module.Nameless, module.broken = Plugin, Nameless, broken
    monkeypatch.setitem(sys.modules, "letters_plugin", module)
    monkeypatch.syspath_prepend(package)


def test_an_encoder_of_another_package_is_loaded_by_its_name(installed):
    assert text_encoder_names()[:4] == ["blip", "blip-cls", "clip", "minilm"] and "letters" in text_encoder_names()
    encoder = load_text_encoder("letters", "cpu")
    assert isinstance(encoder, Plugin) and encoder.device == "cpu" and not takes_prompts(encoder.name)
    with pytest.raises(UsageError, match=r"unknown text encoder 'lettres'; choose one of blip, .*letters"):
        load_text_encoder("lettres")


def test_a_bank_of_a_plugins_encoder_finds_it_again(installed, tmp_path):
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite") as store:
        build_bank(parse_table(TABLE, "tiny"), store, load_text_encoder("letters")).save(tmp_path / "bank.safetensors")
    bank = AnchorBank.load(tmp_path / "bank.safetensors")
    again = load_text_encoder(bank.encoder.source)
    assert np.allclose(again.encode([concept.prompt for concept in bank.concepts]), bank.concept_vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"text encoder 'broken' \(letters_plugin:broken\) cannot be loaded: no licence; repair its package"),
        (
            "nameless",
            r"\(letters_plugin:Nameless\) has no encode, fingerprint, joint, name; repair its package",
        ),
        ("other-name", "calls itself 'letters'; give both the same name"),
    ],
)
def test_errors_of_another_package_are_one_line(installed, name, message):
    with pytest.raises(KgvadError, match=message):
        load_text_encoder(name)


def test_a_plugin_does_not_replace_a_name_of_kgvad(installed, weights):
    weights("minilm-l6")
    assert load_text_encoder("minilm").dim == 384


def test_a_bank_of_a_model_folder_loads_its_encoder_from_there(tmp_path, monkeypatch):
    folder = checkpoint("bert", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite") as store:
        build_bank(parse_table(TABLE, "tiny"), store, load_text_encoder("./model")).save(tmp_path / "bank.safetensors")
        monkeypatch.chdir(tmp_path.parent)  # the folder was given relative to another working folder
        bank = AnchorBank.load(tmp_path / "bank.safetensors")
        assert bank.encoder.folder == str(folder) and bank.encoder.name == "minilm"
        encoder = load_text_encoder(bank.encoder.source)
        assert encoder.fingerprint == bank.encoder.fingerprint
        prompts = [concept.prompt for concept in bank.concepts]
        assert np.allclose(encoder.encode(prompts), bank.concept_vectors, atol=1e-6)
        assert open_vocabulary(bank, encoder, store, ["a dog"]).categories[-1] == "a dog"
    with Session(store=f"sqlite:///{tmp_path}/kg.sqlite") as session:  # what the commands use
        wider = session.open_bank(bank, ["a dog"])
        assert wider.encoder.fingerprint == encoder.fingerprint and wider.encoder.folder == str(folder)
    folder.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"there is no model in the folder .*/model; name a folder"):
        load_text_encoder(bank.encoder.source)


def test_a_bank_and_the_choice_of_an_encoder_need_no_torch():
    program = (
        "import sys\n"
        "import kgvad.anchors.bank, kgvad.anchors.build, kgvad.anchors.text_encoders, kgvad.anchors.describe\n"
        "from kgvad.errors import UsageError\n"
        "try: kgvad.anchors.text_encoders.load_text_encoder('word2vec')\n"
        "except UsageError: print(sorted({'torch', 'transformers', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
