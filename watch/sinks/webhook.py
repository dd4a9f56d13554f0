"""Messages as signed HTTP requests.

Each is a POST of the JSON object. ``KGVAD_WEBHOOK_SECRET`` signs it: ``X-Kgvad-Signature`` is ``sha256=`` and the
hexadecimal HMAC-SHA256 of ``X-Kgvad-Timestamp``, a full stop and the body. ``X-Kgvad-Delivery`` is the same for every
attempt to deliver one message, so that a receiver can tell a repetition.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from kgvad.errors import UsageError
from kgvad.http_client import http_client
from kgvad.watch.messages import CameraMessage, EventMessage, to_line
from kgvad.watch.sinks.base import NotDeliveredError, RefusedError

logger = logging.getLogger(__name__)

SECRET = "KGVAD_WEBHOOK_SECRET"
TIMEOUT_S = 10.0
BUSY = (408, 425, 429)  # statuses after which the same request may succeed; all of 500 and above too


class Webhook:
    """Posts every message to a URL."""

    def __init__(self, target: str, folder: Path | None) -> None:
        self._client = http_client(target, timeout=TIMEOUT_S)
        if urlsplit(target).scheme not in ("http", "https") or not urlsplit(target).hostname:
            raise UsageError(f"--sink webhook:{target[:60]} is not an HTTP address", "give webhook:https://HOST/PATH")
        self._url, self._secret = target, os.environ.get(SECRET, "").encode()
        if not self._secret:
            logger.warning("the webhook is not signed; set %s", SECRET)

    def deliver(self, message: EventMessage | CameraMessage, key: str) -> None:
        """Post one message."""
        body = to_line(message).encode()
        try:
            answer = self._client.post(self._url, content=body, headers=headers(body, key, self._secret))
        except httpx2.HTTPError as error:
            raise NotDeliveredError(f"{type(error).__name__}: {error}") from error
        if answer.is_success:
            return
        if answer.status_code in BUSY or answer.status_code >= 500:
            raise NotDeliveredError(f"status {answer.status_code}")
        raise RefusedError(f"status {answer.status_code}")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def headers(body: bytes, key: str, secret: bytes) -> dict[str, str]:
    """Headers of a request; without a secret it is not signed."""
    found = {"Content-Type": "application/json", "X-Kgvad-Delivery": key}
    if secret:
        timestamp = str(int(time.time()))
        found["X-Kgvad-Timestamp"] = timestamp
        found["X-Kgvad-Signature"] = "sha256=" + signature(timestamp, body, secret)
    return found


def signature(timestamp: str, body: bytes, secret: bytes) -> str:
    """HMAC-SHA256 of timestamp, a full stop and body; hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
