"""Frigate: its reviews over MQTT, its clips and descriptions over HTTP, as its public documentation has them.

=======  =======================================  =====================================================
what     where                                    used for
=======  =======================================  =====================================================
MQTT     PREFIX/reviews                           reviews that ended: camera, times, detections
GET      /api/review?after=TIME                   reviews that ended while nobody listened
GET      /api/CAMERA/start/T/end/T/clip.mp4       the footage of a review
POST     /api/events/ID/sub_label                 the category, where one is named
POST     /api/events/ID/description               what the report says
POST     /api/login                               a session, with KGVAD_FRIGATE_USER and _PASSWORD
=======  =======================================  =====================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from kgvad.errors import KgvadError, VideoError
from kgvad.files import replacing
from kgvad.http_client import http_client

USER, PASSWORD = "KGVAD_FRIGATE_USER", "KGVAD_FRIGATE_PASSWORD"
TIMEOUT_S = 30.0
LONGEST_CLIP_S = 600.0  # of a review; a longer one is cut
LARGEST_CLIP = 1 << 30  # bytes
MARGIN_S = 5.0  # fetched before and after a review
LONGEST_SUB_LABEL = 100  # characters that Frigate takes


class _ReviewData(BaseModel):
    model_config = ConfigDict(extra="ignore")

    detections: tuple[str, ...] = ()


class Review(BaseModel):
    """What Frigate says about one stretch of activity."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    camera: str
    start_time: float
    end_time: float | None = None
    severity: str = ""
    data: _ReviewData = _ReviewData()


def ended_review(payload: bytes | str) -> Review | None:
    """The review of a message that says that it ended; ``None`` for every other message."""

    class Change(BaseModel):
        type: str
        after: Review

    try:
        change = Change.model_validate_json(payload)
    except ValidationError:
        return None
    return change.after if change.type == "end" and change.after.end_time is not None else None


class _BusyError(KgvadError):
    """Frigate could not answer now."""


class Frigate:
    """Its HTTP interface.

    Parameters
    ----------
    url
        Such as ``http://frigate.local:5000``.
    attempts, wait_s
        Attempts of a request, and the wait after the first; a recording is complete some seconds after its review.
    """

    def __init__(self, url: str, attempts: int = 5, wait_s: float = 3.0) -> None:
        self.url = url.rstrip("/")
        self._client = http_client(self.url, base_url=self.url, timeout=TIMEOUT_S)
        self._attempts, self._wait_s = attempts, wait_s
        self._is_logged_in = False

    def reviews_since(self, time: float) -> list[Review]:
        """Reviews that ended after this time (seconds since 1970), oldest first."""
        found = self._retried(lambda: self._request("GET", "/api/review", params={"after": time, "limit": 200}).json())
        reviews = [Review.model_validate(one) for one in found]
        return sorted((one for one in reviews if one.end_time is not None), key=lambda one: one.start_time)

    def fetch_clip(self, review: Review, target: Path) -> None:
        """Write the footage of a review.

        Raises
        ------
        KgvadError
            Frigate has none, or does not answer.
        """
        start = review.start_time - MARGIN_S
        end = min((review.end_time or start) + MARGIN_S, start + LONGEST_CLIP_S)
        path = f"/api/{review.camera}/start/{start:.3f}/end/{end:.3f}/clip.mp4"

        def fetch() -> None:
            with replacing(target) as temporary, temporary.open("wb") as file:
                self._login()
                with self._client.stream("GET", path) as answer:
                    self._check(answer, path)
                    for block in answer.iter_bytes():
                        file.write(block)
                        if file.tell() > LARGEST_CLIP:
                            raise VideoError(f"the clip of review {review.id} is larger than {LARGEST_CLIP >> 20} MB")
                if not file.tell():
                    raise _BusyError(f"{self.url}{path} is empty", "check that Frigate records")

        self._retried(fetch)

    def describe(self, event: str, text: str, category: str | None) -> None:
        """Write what was found to a detection: a description, and a sub-label where a category is named."""
        self._retried(lambda: self._request("POST", f"/api/events/{event}/description", json={"description": text}))
        if category is not None:
            label = {"subLabel": category[:LONGEST_SUB_LABEL]}
            self._retried(lambda: self._request("POST", f"/api/events/{event}/sub_label", json=label))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _retried(self, call: Callable[[], Any]) -> Any:
        attempts = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(self._wait_s, max=60),
            retry=retry_if_exception_type((_BusyError, httpx2.TransportError)),
            reraise=True,
        )
        try:
            return attempts(call)
        except httpx2.HTTPError as error:
            raise KgvadError(
                f"{self.url} does not answer ({type(error).__name__}: {error})", "check its URL"
            ) from error

    def _request(self, method: str, path: str, **more: Any) -> Any:
        self._login()
        answer = self._client.request(method, path, **more)
        self._check(answer, path)
        return answer

    def _login(self) -> None:
        if self._is_logged_in or not os.environ.get(USER):
            return
        names = {"user": os.environ[USER], "password": os.environ.get(PASSWORD, "")}
        answer = self._client.post("/api/login", json=names)
        self._check(answer, "/api/login")
        self._is_logged_in = True  # the client keeps the cookie

    def _check(self, answer: Any, path: str) -> None:
        if answer.is_success:
            return
        if answer.status_code == 401:
            self._is_logged_in = False
        kind = _BusyError if answer.status_code in (404, 408, 425, 429) or answer.status_code >= 500 else KgvadError
        raise kind(f"{self.url}{path} answered {answer.status_code}", f"check the URL, {USER} and {PASSWORD}")
