"""What detectors learn of their anchors: through tiny text encoders, and used afterwards without them."""

from functools import partial

import numpy as np
import pytest
import torch
from anchors_samples import TABLE, checkpoint
from safetensors.torch import load_file
from torch.nn import functional as F
from training_samples import StopAfter, train

from kgvad.anchors.build import build_bank
from kgvad.anchors.describe import describe
from kgvad.anchors.learnable_prompts import category_texts
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.detector.api import Batch, Problem, Recipe
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.models.learned_anchors import load_prompt_encoder
from kgvad.detector.registry import build, check_options
from kgvad.detector.run import Run, RunConfig, TrainConfig, make_problem
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.scoring.open_vocabulary import open_run
from kgvad.detector.training.gradient_accumulation import backward
from kgvad.errors import AnchorError, UsageError, WeightsError
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import parse_table
from kgvad.video.feature_store import VideoEntry

SMALL = {
    "anchor-aligned": {"width": 8, "context": 2},
    "vadclip": {"width": 8, "layers": 1, "positions": 32, "context": 2},
    "dsanet": {"width": 8, "layers": 1, "positions": 32, "context": 2, "blocks": 1, "prototypes": 2,
               "adapter_layers": 2},
}  # fmt: skip
LEARN = ["vectors", "context", "adapters", "residual", "none"]


class Parts:
    """A tiny text encoder with its folder, its bank, and the store."""

    def __init__(self, kind, folder, store):
        self.folder, self.store = str(checkpoint(kind, folder)), store
        self.encoder = load_text_encoder(self.folder)
        self.bank = build_bank(parse_table(TABLE, "tiny"), store, self.encoder)

    def config(self, detector, learn, epochs=2, **changes):
        options = SMALL[detector] | {"learn": learn}
        fields = {
            "detector": detector, "options": check_options(detector, options).model_dump(mode="json"),
            "recipe": Recipe(epochs=epochs, normal_batch=3, abnormal_batch=3, learning_rate=0.01), "seed": 3,
            "dataset": "tiny", "categories": tuple(self.bank.categories), "normal": self.bank.normal,
            "dim": self.bank.encoder.dim, "encoder": f"{self.bank.encoder.name}-text", "features_fingerprint": "f",
            "bank_fingerprint": self.bank.fingerprint, "videos": 18, "abnormal_videos": 12,
        }  # fmt: skip
        return RunConfig(**(fields | changes))

    def train(self, config, folder, **more):
        load = partial(load_prompt_encoder, config.detector, self.bank, self.folder)
        return train(self.samples(), config, folder, bank=self.bank, text_encoder=load, **more)

    def samples(self):
        random = np.random.default_rng(0)
        rows = {n: random.normal(size=(int(random.integers(3, 12)), self.bank.encoder.dim)) for n in range(18)}
        return [
            TrainingSample(f"v{n}", np.eye(3, dtype=np.float32)[n % 3], x.astype(np.float32)) for n, x in rows.items()
        ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return GraphStore.open(f"sqlite:///{tmp_path_factory.mktemp('kg')}/kg.sqlite")


@pytest.fixture(scope="module")
def clip(tmp_path_factory, store):
    return Parts("clip", tmp_path_factory.mktemp("clip"), store)


@pytest.fixture(scope="module")
def blip(tmp_path_factory, store):
    return Parts("blip", tmp_path_factory.mktemp("blip"), store)


def batch_of(parts):
    samples = parts.samples()[:6]
    lengths = torch.tensor([len(sample.features) for sample in samples])
    features = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(s.features) for s in samples], batch_first=True)
    return Batch(features, lengths, torch.from_numpy(np.stack([s.target for s in samples])), parts.bank.normal)


def score(run, parts):
    x = parts.samples()[0].features
    return score_features(run, x, VideoEntry(frame_count=16 * len(x), fps=25.0, rows=len(x)), video="v")


@pytest.mark.parametrize("learn", LEARN)
@pytest.mark.parametrize(("kind", "detector"), [("clip", "vadclip"), ("blip", "anchor-aligned"), ("clip", "dsanet")])
def test_each_way_trains_loads_and_scores_without_the_text_encoder(
    request, tmp_path, monkeypatch, kind, detector, learn
):
    parts = request.getfixturevalue(kind)
    config = parts.config(detector, learn)
    trained = parts.train(config, tmp_path / "run")

    monkeypatch.setattr("kgvad.anchors.text_encoders.load_text_encoder", None)  # nothing below may load it
    run = Run.load(tmp_path / "run")
    state = load_file(tmp_path / "run" / "model.safetensors")
    text_encoder = sum(p.numel() for p in parts.encoder._model.parameters())
    assert sum(v.numel() for n, v in state.items() if "learned" in n) < text_encoder / 4  # only what was learned
    moved = [name for name in state if name.startswith("learned.")]
    assert bool(moved) == (learn in ("context", "adapters", "residual"))
    if learn in ("vectors", "none"):
        assert getattr(run.detector, "learned", None) is None
    elif detector != "dsanet" or learn != "adapters":
        assert not torch.allclose(run.detector.learned(), run.detector.anchors, atol=1e-4)
    found = score(run, parts)
    np.testing.assert_array_equal(found.alignment, score(trained, parts).alignment)

    whole = build(detector, make_problem(config, parts.bank, parts.encoder), config.options)
    whole.load_state_dict(state)  # with the text encoder the vectors are computed anew, from what was learned
    with torch.no_grad():
        again = score(Run(tmp_path, config, whole.eval(), parts.bank, "x"), parts)
    np.testing.assert_array_equal(found.scores, again.scores)
    np.testing.assert_array_equal(found.alignment, again.alignment)


@pytest.mark.parametrize("learn", ["context", "adapters", "residual"])
@pytest.mark.parametrize("detector", list(SMALL))
def test_gradients_reach_what_learns_once_a_step_and_the_text_encoder_is_frozen(clip, detector, learn, monkeypatch):
    calls = []
    plain = clip.encoder.encode_embeddings
    monkeypatch.setattr(clip.encoder, "encode_embeddings", lambda *a: calls.append(1) or plain(*a))
    before = {name: p.clone() for name, p in clip.encoder._model.named_parameters()}

    def gradients(micro_batch):
        torch.manual_seed(0)
        config = clip.config(detector, learn)
        model = build(detector, make_problem(config, clip.bank, clip.encoder), config.options)
        for name, parameter in model.named_parameters():
            if "gate" not in name:
                torch.nn.init.normal_(parameter, std=0.3)
        calls.clear()
        backward(model, batch_of(clip), micro_batch)
        assert len(calls) == (0 if learn == "residual" else 1)
        return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}

    whole, parts = gradients(0), gradients(2)
    learned = [name for name in whole if name.startswith("learned.")]
    assert learned and all(whole[name].abs().sum() > 0 for name in learned)
    for name, grad in whole.items():
        torch.testing.assert_close(parts[name], grad, rtol=1e-3, atol=1e-5)
    assert all(torch.equal(before[n], p) and p.grad is None for n, p in clip.encoder._model.named_parameters())


@pytest.mark.parametrize("learn", ["context", "adapters"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(clip, tmp_path, learn):
    config = clip.config("anchor-aligned", learn, epochs=4)
    whole = clip.train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        clip.train(config, tmp_path / "cut", callbacks=[StopAfter(2)])
    resumed = clip.train(config, tmp_path / "cut")
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "cut" / "model.safetensors"
    ).read_bytes()
    assert whole.fingerprint == resumed.fingerprint


@pytest.mark.parametrize("learn", ["context", "residual"])
def test_a_category_opened_afterwards_is_its_anchor_of_the_bank(blip, tmp_path, learn):
    run = blip.train(blip.config("anchor-aligned", learn), tmp_path / "run")
    opened = open_run(run, ["a dog attacks a person"], blip.store, encoder=blip.encoder)
    known = opened.detector.learned()
    assert torch.equal(known[:3], run.detector.learned())
    assert np.array_equal(known[3].numpy(), opened.bank.anchors[3])
    before, after = score(run, blip), score(opened, blip)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert after.alignment.shape[1] == 4


def test_the_published_table_acts_in_the_text_encoder_and_a_released_state_fits(tmp_path):
    """Sizes of CLIP ViT-B/16's text side; the number of its layers and words does not matter."""
    encoder = load_text_encoder(str(checkpoint("clip", tmp_path, width=512, projection=512)))
    words = tuple(["robbery", "a burning car"] * 7)
    anchors = F.normalize(torch.randn(14, 512), dim=-1)
    problem = Problem(512, words, 0, anchors, words=words, text_encoder=encoder)

    def size(model):
        return sum(p.numel() for p in model.parameters())

    model = build("vadclip", problem, {"compatible": True, "learn": "context"})
    assert size(model) == 12_642_306 and model.learned.learned.context.shape == (77, 512)
    idle = build("vadclip", problem, {"compatible": True})
    assert size(idle) == 12_642_306
    state = {name: torch.randn_like(value) for name, value in idle.state_dict().items()}
    state["text_prompt_embeddings.weight"] = state.pop("prompt_table")
    before = model.eval().text_features().detach()
    model.load_released(state)
    assert torch.equal(model.learned.learned.context, state["text_prompt_embeddings.weight"])
    assert not torch.allclose(model.text_features(), before)

    dsanet = build("dsanet", problem, {"compatible": True, "learn": "adapters"})
    assert size(dsanet) - dsanet.prompt_table.numel() == 44_130_882
    assert torch.allclose(dsanet.text_features().norm(dim=-1), torch.ones(14), atol=1e-5)


def test_a_wrong_encoder_is_refused_with_the_remedy(clip, blip, store, tmp_path, monkeypatch):
    def attempt(parts, encoder=None, detector="vadclip"):
        config = parts.config(detector, "context")
        load = partial(load_prompt_encoder, detector, parts.bank, encoder)
        return train(parts.samples(), config, tmp_path / "run", bank=parts.bank, text_encoder=load)

    with pytest.raises(AnchorError, match=r"learn through clip, .* is another \(") as error:
        attempt(clip, blip.folder)
    assert "--text-encoder" in error.value.remedy and "--set learn=residual" in error.value.remedy
    monkeypatch.setenv("KGVAD_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"learn through clip, .*not on this machine") as error:
        attempt(clip, "clip")
    assert error.value.remedy.endswith("--set learn=residual, which needs no text encoder")
    siglip = Parts("siglip", tmp_path / "siglip", store)
    with pytest.raises(AnchorError, match="it is not differentiable"):
        attempt(siglip, siglip.folder)
    assert "residual only" in describe(siglip.bank) and "context, adapters or residual" in describe(clip.bank)
    assert not (tmp_path / "run").exists()
    assert siglip.train(siglip.config("vadclip", "residual", 1), tmp_path / "run").detector.learned is not None
    config = clip.config("vadclip", "context")
    without_encoder = build("vadclip", make_problem(config, clip.bank), config.options)
    with pytest.raises(UsageError, match="cannot be trained further"):
        backward(without_encoder.train(), batch_of(clip))


def test_only_what_learns_through_the_text_encoder_needs_it(clip):
    assert [learn for learn in LEARN if clip.config("vadclip", learn).needs_text_encoder] == ["context", "adapters"]
    free = clip.config("anchor-aligned", "context")
    assert free.needs_text_encoder
    assert not free.model_copy(update={"options": free.options | {"anchors": False}}).needs_text_encoder
    fused = TrainConfig(detector="anchor-fused", options={"captions": {"learn": "adapters"}})
    assert fused.needs_text_encoder


def test_categories_in_words(clip):
    assert category_texts(clip.bank) == ("robbery", "arson", "normal activity")


@pytest.mark.slow
def test_through_the_real_minilm(weights, store, tmp_path):
    weights("minilm-l6")
    parts = Parts.__new__(Parts)
    parts.encoder, parts.folder = load_text_encoder("minilm"), None  # found by the bank's name
    parts.bank = build_bank(parse_table(TABLE, "tiny"), store, parts.encoder)
    run = parts.train(parts.config("anchor-aligned", "context", 1), tmp_path / "run")
    away = 1 - F.cosine_similarity(run.detector.learned(), torch.from_numpy(parts.bank.anchors))
    assert (away > 1e-4).all() and (away < 0.2).all()
    assert (tmp_path / "run" / "model.safetensors").stat().st_size < 1e6
