"""Tiny text encoders with random weights, saved in the Transformers layout, and a small category table."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from kgvad.anchors.build import build_bank
from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import parse_table

WORDS = (
    "a an the kind of caused by leading to with as part robbery theft crime fire arson smoke fighting fight normal"
    " activity person man people walking street running gun masked pointing cashier burning car violence traffic : , ."
    " dog attacks hitting punching event"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer(folder: Path, length: int) -> int:
    """Write a word tokenizer; its end token has the highest id, as CLIP's has. Returns the size of its vocabulary."""
    words = ["[PAD]", "[UNK]", *dict.fromkeys(WORDS.split()), "[CLS]", "[SEP]"]
    ids = {word: i for i, word in enumerate(words)}
    fast = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
    ).save_pretrained(folder)
    return len(words)


def checkpoint(kind: str, folder: Path, width: int = 32, projection: int = 24) -> Path:
    """A model of ``kind`` (bert, blip, clip, siglip) with random weights of seed 0; ``projection`` is CLIP's."""
    folder.mkdir(parents=True, exist_ok=True)
    size = tokenizer(folder, 32)
    text = {
        "vocab_size": size,
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 32,
    }
    image = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 16,
    }
    torch.manual_seed(0)
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**text))
    elif kind == "blip":
        config = transformers.BlipConfig(
            text_config={**text, "encoder_hidden_size": 32, "projection_dim": 24},
            vision_config=image,
            image_text_hidden_size=16,
        )
        model = transformers.BlipForImageTextRetrieval(config)
    elif kind == "clip":
        config = transformers.CLIPConfig(
            text_config={**text, "eos_token_id": size - 1, "bos_token_id": size - 2, "projection_dim": projection},
            vision_config={**image, "projection_dim": projection},
            projection_dim=projection,
        )
        model = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config={**text, "projection_size": 32}, vision_config=image)
        model = transformers.SiglipModel(config)
    for parameter in model.parameters():  # the library's small initial values would hide a wrong term
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval().save_pretrained(folder)
    return folder


TABLE = """
dataset = "tiny"
title = "Tiny"

[[category]]
name = "Robbery"
text = "robbery"
items = [{ qid = "Q53706", label = "robbery", role = "primary" }]
cues = ["a masked man pointing a gun", "a person running with a gun"]
confused_with = ["Arson"]

[[category]]
name = "Arson"
text = "arson"
items = [{ qid = "Q327541", label = "arson", role = "primary" }]
cues = ["a burning car", "smoke and fire"]

[[category]]
name = "Normal"
text = "normal activity"
normal = true
cues = ["people walking", "a street with traffic"]
"""


def tiny_bank(tmp_path_factory):
    """Bank of TABLE from the bundled facts, its encoder and the store."""
    encoder = load_text_encoder(str(checkpoint("bert", tmp_path_factory.mktemp("bert"))))
    store = GraphStore.open(f"sqlite:///{tmp_path_factory.mktemp('kg')}/kg.sqlite")
    return build_bank(parse_table(TABLE, "tiny"), store, encoder), encoder, store
