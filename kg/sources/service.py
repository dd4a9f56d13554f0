"""Sending requests to a public service politely: one at a time, within a time budget, with the pauses it asks for.

How each failure is handled:

=====================================  ==========================================================
answer                                 reaction
=====================================  ==========================================================
connection refused, unknown host       one more try after a second; longer waits seldom help
connection reset, no answer            wait and try again
429                                    wait as ``Retry-After`` says, else a minute; try again
500, 502, 503, 504                     wait (``Retry-After``, else 1, 2, 4, ... seconds); try again
truncated body, or a deadline          request half as much (:class:`TruncatedAnswerError`)
200 with text instead of JSON          wait and try again; a complaint about the User-Agent stops
400                                    stop: the query is wrong, and trying again does not help
403                                    stop: the service has banned this client; report until when
a redirect, any other status           stop
=====================================  ==========================================================

httpx2 sends, and follows no redirect: a POST would be sent on as a GET without its query. tenacity repeats.
"""

from __future__ import annotations

import json
import logging
import random
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from kgvad.errors import FetchError, UsageError
from kgvad.http_client import http_client

logger = logging.getLogger(__name__)

WIKIDATA = "https://query.wikidata.org/sparql"
BAN_S = 24 * 3600  # how long the query service's ban lasts
SHORTEST_WAIT_S = 1.0  # even where the service says Retry-After: 0
REFUSED_TRIES = 2  # where no service is listening, or a proxy is down
ERROR_BODY = 4096  # bytes that are read of the text of an error
RETRY_STATUS = (429, 500, 502, 503, 504)
CONTACT = re.compile(r"[^\s@()]+@[^\s@()]+\.[^\s@()]+|https?://[^\s()]+")
_SMALLER = "request fewer items per query (--batch)"


class TruncatedAnswerError(FetchError):
    """The answer broke off or took too long; a smaller request may succeed."""


@dataclass(frozen=True)
class ServiceSettings:
    """How requests are sent to a service. Times in seconds."""

    endpoint: str = WIKIDATA
    contact: str | None = None  # e-mail address or page, sent with every request
    timeout_s: float = 65.0  # of one request; the query service itself stops at 60
    tries: int = 6  # of one request
    longest_wait_s: float = 600.0  # sum of all pauses of one request
    first_wait_s: float = 1.0  # doubled with every try
    throttled_wait_s: float = 60.0  # after 429 without Retry-After
    budget_s: float = 45.0  # of the service's time within a minute; it grants 60
    largest_body: int = 64 << 20  # bytes
    seed: int = 0  # of the jitter


@dataclass(frozen=True)
class Request:
    """An HTTP request; headers of the service's own (User-Agent) are added when it is sent."""

    method: str
    address: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Service:
    """Sends requests one at a time and handles failures as the table of the module says.

    Parameters
    ----------
    settings
        Endpoint, contact, limits.
    sleep, clock
        Replace ``time.sleep`` and ``time.monotonic`` in tests.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not settings.contact or not CONTACT.fullmatch(settings.contact):
            given = f"{settings.contact!r} is neither" if settings.contact else "none was given"
            raise UsageError(
                f"a SPARQL service requires your e-mail address or web page as contact, and {given}",
                'use --contact you@example.org, or write contact = "you@example.org" into kgvad.toml',
            )
        if not re.fullmatch(r"https?://[^\s<>\"]+", settings.endpoint):
            raise UsageError(f"{settings.endpoint!r} is not the address of a SPARQL service", "begin with https://")
        self.settings = settings
        self.user_agent = user_agent(settings.contact)
        self.requests = 0
        self._sleep, self._clock = sleep, clock
        self._jitter = random.Random(settings.seed)
        self._spent: deque[tuple[float, float]] = deque()  # end of a request, seconds it took

    def send(self, request: Request) -> tuple[Any, float]:
        """Send a request until it succeeds.

        Returns
        -------
        (object, float)
            The parsed JSON, and the seconds of the last try.

        Raises
        ------
        TruncatedAnswerError
            The body broke off, or the deadline passed.
        FetchError
            Any other failure that further tries did not or cannot mend.
        """
        address = request.address.split("?")[0]  # for messages
        headers = {"Accept": "application/json", **request.headers, "User-Agent": self.user_agent}

        def once() -> tuple[Any, float]:
            began = self._clock()
            self.requests += 1
            try:
                with (
                    http_client(request.address, timeout=self.settings.timeout_s, headers=headers) as client,
                    client.stream(request.method, request.address, content=request.body) as response,
                ):
                    answer = _json(self._read(response, began, address), address)
            except httpx2.HTTPError as error:
                raise _transport_failure(error, address) from error
            finally:
                seconds = self._spend(began)
            return answer, seconds

        retrying = Retrying(
            retry=retry_if_exception_type(_TemporaryError),
            wait=self._pause,
            stop=self._gives_up,
            before=lambda _: self._keep_budget(),
            before_sleep=lambda state: _log_retry(state, address),
            sleep=self._sleep,
            retry_error_callback=lambda state: _give_up(state, address),
        )
        answer, seconds = retrying(once)
        return answer, seconds

    def _spend(self, began: float) -> float:
        ended = self._clock()
        self._spent.append((ended, ended - began))
        return ended - began

    def _read(self, response: httpx2.Response, began: float, address: str) -> bytes:
        """The body of an answer within the limits of time and size; other statuses than 200 are raised."""
        body = bytearray()
        failed = response.status_code != 200
        try:
            for block in response.iter_bytes():
                body += block
                if failed and len(body) >= ERROR_BODY:
                    break
                if self._clock() - began > self.settings.timeout_s:
                    raise TruncatedAnswerError(f"{address} did not end its answer in time", _SMALLER)
                if len(body) > self.settings.largest_body:
                    limit = f"{self.settings.largest_body} bytes"
                    raise TruncatedAnswerError(f"the answer of {address} is larger than {limit}", _SMALLER)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            if not failed:
                raise self._broken_off(error, address, bool(body) or "Content-Length" in response.headers) from error
        if failed:
            raise _status_failure(response, address, bytes(body[:ERROR_BODY]).decode("utf-8", "replace"))
        return bytes(body)

    @staticmethod
    def _broken_off(error: httpx2.HTTPError, address: str, begun: bool) -> Exception:
        if isinstance(error, httpx2.TimeoutException):
            return TruncatedAnswerError(f"{address} did not end its answer in time", _SMALLER)
        if begun:
            return TruncatedAnswerError(f"{address} broke off its answer", _SMALLER)
        return _TemporaryError(f"closed the connection ({_reason(error)})")

    def _pause(self, state: RetryCallState) -> float:
        failure = _failure(state)
        if failure.retry_after is not None:
            return max(failure.retry_after, SHORTEST_WAIT_S)
        first = self.settings.first_wait_s * 2 ** (state.attempt_number - 1)
        return (self.settings.throttled_wait_s if failure.throttled else first) * self._jitter.uniform(1.0, 1.5)

    def _gives_up(self, state: RetryCallState) -> bool:
        tries = min(self.settings.tries, REFUSED_TRIES) if _failure(state).refused else self.settings.tries
        return state.attempt_number >= tries or state.idle_for + state.upcoming_sleep > self.settings.longest_wait_s

    def _keep_budget(self) -> None:
        """Wait until the requests of the last minute took less of the service's time than the budget."""
        while self._spent:
            now = self._clock()
            while self._spent and self._spent[0][0] < now - 60:
                self._spent.popleft()
            if sum(seconds for _, seconds in self._spent) < self.settings.budget_s:
                return
            self._sleep(self._spent[0][0] + 60 - now + 0.01)


class _TemporaryError(Exception):
    """A failure that may pass."""

    def __init__(
        self, reason: str, retry_after: float | None = None, throttled: bool = False, refused: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.retry_after, self.throttled, self.refused = reason, retry_after, throttled, refused


def _failure(state: RetryCallState) -> _TemporaryError:
    assert state.outcome is not None
    failure = state.outcome.exception()
    assert isinstance(failure, _TemporaryError)
    return failure


def _log_retry(state: RetryCallState, address: str) -> None:
    logger.info(f"{address} {_failure(state).reason}; trying again in {state.upcoming_sleep:.0f} s")


def _give_up(state: RetryCallState, address: str) -> NoReturn:
    failure = _failure(state)
    tries = "1 try" if state.attempt_number == 1 else f"{state.attempt_number} tries"
    raise FetchError(
        f"{address} {failure.reason} ({tries})",
        f"try again after {_clock_time(state.upcoming_sleep)}",
    ) from failure


def _transport_failure(error: httpx2.HTTPError, address: str) -> Exception:
    """Failures before an answer began."""
    if isinstance(error, httpx2.ConnectTimeout):
        return _TemporaryError("cannot be reached (no connection in time)", refused=True)
    if isinstance(error, httpx2.TimeoutException):
        return TruncatedAnswerError(f"{address} did not answer in time", _SMALLER)
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return FetchError(f"{address} cannot be requested: {_reason(error)}", "check the address")
    refused = any(isinstance(cause, (ConnectionRefusedError, socket.gaierror)) for cause in _causes(error))
    return _TemporaryError(f"cannot be reached ({_reason(error)})", refused=refused)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _status_failure(response: httpx2.Response, address: str, body: str) -> Exception:
    code = response.status_code
    retry_after = _seconds(response.headers.get("Retry-After"))
    if code in (301, 302, 303, 307, 308):
        where = _line(response.headers.get("Location") or "another address")
        return FetchError(f"{address} has moved to {where}", "give the new address as --endpoint")
    if code == 400:
        return FetchError(f"{address} does not accept the query (400): {_line(body)}", "report this as a bug of kgvad")
    if code == 403:
        until = _clock_time(retry_after if retry_after is not None else BAN_S)
        return FetchError(
            f"{address} refuses this client (403): {_line(body)}", f"do not send another request before {until}"
        )
    if code in RETRY_STATUS:
        if "Timeout" in body:
            return TruncatedAnswerError(f"{address} ran out of time ({code})", _SMALLER)
        reason = "requests a pause" if code == 429 else "is temporarily unavailable"
        return _TemporaryError(f"{reason} ({code})", retry_after, throttled=code == 429)
    return FetchError(f"{address} answers {code}: {_line(body)}", "check the address of the service")


def _json(body: bytes, address: str) -> Any:
    text = body.decode("utf-8", "replace").strip()
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if text.startswith("{"):
            raise TruncatedAnswerError(f"{address} broke off its answer", _SMALLER) from error
        if re.search(r"user.?agent", text[:2000], re.IGNORECASE):
            remedy = "set a contact that the service accepts (--contact)"
            raise FetchError(f"{address} refuses the User-Agent: {_line(text)}", remedy) from error
        raise _TemporaryError(f"does not answer in JSON: {_line(text) or 'an empty body'}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def user_agent(contact: str) -> str:
    """User-Agent header: program, version, page, contact, library."""
    from importlib.metadata import metadata, version

    urls = metadata("kgvad").get_all("Project-URL") or []
    page = "".join(f"{url.split(',')[-1].strip()}; " for url in urls[:1])
    return f"kgvad/{version('kgvad')} ({page}{contact}) httpx2/{httpx2.__version__}"


def _seconds(header: str | None) -> float | None:
    """``Retry-After``: seconds or a date."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(min(int(header.strip()[:9]), 10 * BAN_S))
    try:
        when = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())


def _clock_time(seconds: float) -> str:
    when = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _line(text: str) -> str:
    return " ".join(re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", " ", re.sub(r"<[^>]*>", " ", text)).split())[:160]


def _reason(error: BaseException) -> str:
    """The operating system's words where there are some, without its error number."""
    found = next((cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror), None)
    return _line(found or str(error)) or type(error).__name__
