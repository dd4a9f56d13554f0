"""Tiny captioners: two models with random weights in the Transformers layout, and one that counts its calls."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch
import transformers
from anchors_samples import tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
    "{% else %}{{ c['text'] }}{% endif %} {% endfor %}{% endfor %}assistant :"
)
IMAGE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
SIDE = {"image_size": 32, "patch_size": 16}


def blip(folder: Path) -> Path:
    """A BLIP captioner."""
    folder.mkdir(parents=True, exist_ok=True)
    size = tokenizer(folder, 32)
    text = {"vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = transformers.BlipConfig(
        text_config={
            **text,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "encoder_hidden_size": 32,
            "bos_token_id": size - 2,
            "sep_token_id": size - 1,
            "eos_token_id": size - 1,
            "pad_token_id": 0,
        },
        vision_config={**IMAGE, **SIDE},
    )
    torch.manual_seed(0)
    model = transformers.BlipForConditionalGeneration(config)
    for parameter in model.parameters():  # the library's small initial values would give one word for every picture
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    words = transformers.AutoTokenizer.from_pretrained(folder)
    words.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    words.save_pretrained(folder)
    words = transformers.BertTokenizerFast.from_pretrained(folder)  # as published: older releases take no other
    transformers.BlipProcessor(images, words).save_pretrained(folder)
    return folder


def chat(folder: Path) -> Path:
    """A vision-language model with a chat template (LLaVA)."""
    words = "a man walks in the street describe what happens middle part before after . : user system assistant"
    ids = {
        word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "<image>", *dict.fromkeys(words.split())])
    }
    fast = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    words_of = transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast,
        additional_special_tokens=["<image>"],
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )
    side = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(**side),
        tokenizer=words_of,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**IMAGE | {"num_hidden_layers": 2}, **SIDE),
        text_config=transformers.LlamaConfig(
            vocab_size=len(ids),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=ids["<image>"],
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


class Brightness:
    """Says how bright the clip and its neighbours are; ``asked`` has what it saw."""

    name, fingerprint, pictures, batch = "brightness", "b" * 16, 2, 3

    def __init__(self) -> None:
        self.asked = []

    def caption(self, clips):
        self.asked += clips
        return [" ".join(str(round(part[0].mean())) for part in (c.before, c.pictures, c.after)) for c in clips]


def write_greys(path: Path, greys: list[int], side: int = 64) -> Path:
    """A video whose every second has the grey of ``greys``, ten frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = side * 3 // 2, side, "yuv420p"
        for grey in greys:
            for _ in range(10):
                picture = np.full((side, side * 3 // 2, 3), grey, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def made(options, device) -> Brightness:
    """Factory of a captioner of another package."""
    return Brightness()
