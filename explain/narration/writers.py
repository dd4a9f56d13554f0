"""Language models that write narratives: a chat service, or a model folder in the Transformers layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kgvad.chat_endpoint import ChatEndpoint, is_address
from kgvad.errors import UsageError, WeightsError, first_line, is_out_of_memory
from kgvad.explain.narration.narrate import Writer
from kgvad.model_folder import is_model_folder, loading


def load_writer(place: str, model: str | None, device: str) -> Writer:
    """The language model at an address or in a folder.

    Parameters
    ----------
    place
        Address of an OpenAI-compatible service (``http://localhost:8000/v1``), or a model folder.
    model
        Name of the model on the service.
    device
        Torch device for a model from a folder.

    Raises
    ------
    UsageError
        The service needs the name of a model, or there is no such folder.
    WeightsError
        The folder's model cannot be loaded.
    """
    if is_address(place):
        if not model:
            raise UsageError(f"--narrate {place} needs the name of a model", "add --narrate-model NAME")
        return EndpointWriter(place, model)
    folder = Path(place).expanduser()
    if not is_model_folder(folder):
        raise UsageError(
            f"--narrate {place} is neither an address nor a model folder",
            "give http://HOST/v1, or a folder with a config.json in the Transformers layout",
        )
    return FolderWriter(folder, device)


class EndpointWriter:
    """A model of an OpenAI-compatible service."""

    def __init__(self, address: str, model: str) -> None:
        parts = urlsplit(address)
        self.name = model
        self.endpoint: str | None = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
        self._service = ChatEndpoint(address, model)

    def write(self, conversation: list[dict[str, str]], tokens: int) -> str:
        """The service's answer."""
        return self._service.complete(conversation, tokens=tokens)


class FolderWriter:
    """A causal language model from a folder, decoded greedily. Its code is Transformers' own, never the folder's."""

    endpoint: str | None = None

    def __init__(self, folder: Path, device: str) -> None:
        self.name, self._device, self._folder = folder.name, device, folder
        with loading(folder) as transformers:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
            self._model: Any = model.to(device).eval()

    def write(self, conversation: list[dict[str, str]], tokens: int) -> str:
        """The model's answer; a model without a chat template gets the messages as plain text."""
        import torch

        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            prompt = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "\n\n".join(message["content"] for message in conversation) + "\n\n"
        most = getattr(self._model.config, "max_position_embeddings", None) or tokenizer.model_max_length
        tokens = min(tokens, max(16, int(most) // 2))
        read = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=int(most) - tokens)
        read = {name: value.to(self._device) for name, value in read.items() if name in ("input_ids", "attention_mask")}
        try:
            with torch.inference_mode():
                out = self._model.generate(
                    **read, max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.eos_token_id
                )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said = first_line(error)
            raise WeightsError(f"the model in {self._folder} cannot write ({said})", "use another model") from error
        return str(tokenizer.decode(out[0, read["input_ids"].shape[1] :], skip_special_tokens=True))
