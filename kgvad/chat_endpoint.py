"""Client of an OpenAI-compatible chat service on this or another machine (vLLM, Ollama, llama.cpp).

Nothing is sent anywhere but to the address that the user gave. The key comes from the environment, never from a file.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx2
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from kgvad.errors import KgvadError, UsageError
from kgvad.http_client import http_client, is_local
from kgvad.settings import load_settings

logger = logging.getLogger(__name__)

KEY = "KGVAD_API_KEY"  # name of the environment variable
TRIES = 4
LARGEST_ANSWER = 1 << 20  # bytes
Message = Mapping[str, object]


class _TemporaryError(KgvadError):
    """A failure that another try may mend."""


def is_address(text: str) -> bool:
    """Whether ``text`` is the address of a service rather than the name of a model."""
    return text.startswith(("http://", "https://"))


@dataclass(frozen=True)
class ChatEndpoint:
    """A model of a chat service.

    Attributes
    ----------
    address
        Base address, such as ``http://localhost:8000/v1``.
    model
        Name of the model on the service.
    timeout_s
        For one answer.
    wait_s
        Longest wait between two tries.
    """

    address: str
    model: str
    timeout_s: float = 120.0
    wait_s: float = 20.0
    _client: httpx2.Client = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(f"{self.address} serves several models", "name one with --model")
        if load_settings().offline and not is_local(self.address):
            raise UsageError(f"KGVAD_OFFLINE forbids {self.address}", "unset it, or use a service on this machine")
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = http_client(self.address, timeout=self.timeout_s, headers=headers)
        object.__setattr__(self, "_client", client)

    def complete(self, messages: Sequence[Message], *, tokens: int = 256) -> str:
        """The answer to a conversation, greedily decoded.

        Raises
        ------
        KgvadError
            The service cannot be reached, refuses, or answers something else than a chat completion.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(_TemporaryError),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=min(1.0, self.wait_s), max=self.wait_s),
            reraise=True,
        )
        body = {"model": self.model, "messages": list(messages), "max_tokens": tokens, "temperature": 0}
        answer = retrying(self._post, body)
        try:
            text = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise KgvadError(f"{self.address} did not answer with a chat completion", "check the address") from error
        if not isinstance(text, str):
            raise KgvadError(f"{self.address} answered without text", "choose another model")
        return text.encode("utf-8", "replace").decode()  # a lone surrogate would make every file of it unreadable

    def _post(self, body: object) -> bytes:
        address = self.address.rstrip("/") + "/chat/completions"
        try:
            with self._client.stream("POST", address, json=body) as response:
                answer = b""
                for block in response.iter_bytes():
                    answer += block
                    if len(answer) > LARGEST_ANSWER:
                        raise KgvadError(f"the answer of {self.address} is too large", "choose another model")
        except httpx2.UnsupportedProtocol as error:
            raise UsageError(f"{self.address} is not an address", "begin with http:// or https://") from error
        except httpx2.ConnectError as error:
            raise KgvadError(
                f"{self.address} cannot be reached", "start the service, or correct the address"
            ) from error
        except httpx2.HTTPError as error:
            raise _TemporaryError(
                f"{self.address} broke off ({type(error).__name__})", "check the service, then run again to resume"
            ) from error
        if response.status_code == 200:
            return answer
        said = " ".join(answer[:200].decode("utf-8", "replace").split())
        kind = _TemporaryError if response.status_code in (408, 409, 429) or response.status_code >= 500 else KgvadError
        remedy = f"set {KEY}" if response.status_code in (401, 403) else "check the model and the log of the service"
        raise kind(f"{self.address} refused with status {response.status_code} ({said})", remedy)
