"""Asking a public service politely: one request at a time, a budget of its time, waiting as it says.

What a failure is and what follows from it:

=====================================  ==========================================================
answer                                 what happens
=====================================  ==========================================================
connection refused, unknown host       try once more after a second; waiting longer seldom mends it
connection reset, no answer            wait and try again
429                                    wait as ``Retry-After`` says, else a minute; try again
500, 502, 503, 504                     wait (``Retry-After``, else 1, 2, 4, ... seconds); try again
a body that is cut, or a deadline      ask for half as much (:class:`CutAnswerError`)
200 with text instead of JSON          wait and try again; a complaint about the User-Agent stops
400                                    stop: the query is wrong, and asking again does not mend it
403                                    stop: the service has banned this client; say until when
a redirect, any other status           stop
=====================================  ==========================================================
"""

from __future__ import annotations

import json
import logging
import random
import re
import socket
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from kgvad.errors import FetchError, UsageError

logger = logging.getLogger(__name__)


WIKIDATA = "https://query.wikidata.org/sparql"
BAN_S = 24 * 3600  # how long the query service's ban lasts
REFUSED_TRIES = 2  # of a service that nobody runs, or behind a proxy that is down
TRY_AGAIN = (429, 500, 502, 503, 504)
CONTACT = re.compile(r"[^\s@()]+@[^\s@()]+\.[^\s@()]+|https?://[^\s()]+")


class CutAnswerError(FetchError):
    """The answer broke off or took too long: a smaller question may be answered whole."""


@dataclass(frozen=True)
class ServiceSettings:
    """How a service is asked. Times in seconds."""

    endpoint: str = WIKIDATA
    contact: str | None = None  # e-mail address or page, sent with every request
    timeout_s: float = 65.0  # of one request; the query service itself stops at 60
    tries: int = 6  # of one request
    longest_wait_s: float = 600.0  # all waiting for one request together
    first_wait_s: float = 1.0  # doubled with every try
    throttled_wait_s: float = 60.0  # after 429 without Retry-After
    budget_s: float = 45.0  # of the service's time within a minute; it grants 60
    largest_body: int = 64 << 20  # bytes
    seed: int = 0  # of the jitter


class _StandStill(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a POST would be sent on as a GET without its query."""

    def redirect_request(self, *_: Any) -> None:
        return None


def open_request(request: urllib.request.Request, timeout_s: float) -> HTTPResponse:
    """Send a request; a redirect is an error like any other status."""
    response: HTTPResponse = urllib.request.build_opener(_StandStill).open(request, timeout=timeout_s)
    return response


class Service:
    """Sends requests one at a time and decides what a failure means; see the module's table.

    Parameters
    ----------
    settings
        How to ask.
    sleep, clock
        For tests: stand in for ``time.sleep`` and ``time.monotonic``.
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
                f"a SPARQL service must be told an e-mail address or a page of yours, and {given}",
                'use --contact you@example.org, or write contact = "you@example.org" into kgvad.toml',
            )
        if not re.fullmatch(r"https?://[^\s<>\"]+", settings.endpoint):
            raise UsageError(f"{settings.endpoint!r} is not the address of a SPARQL service", "begin with https://")
        self.settings = settings
        self.user_agent = user_agent(settings.contact)
        self.requests = 0
        self.waited_s = 0.0
        self._sleep, self._clock = sleep, clock
        self._jitter = random.Random(settings.seed)
        self._spent: deque[tuple[float, float]] = deque()  # end of a request, seconds it took

    def ask(self, send: Callable[[], HTTPResponse]) -> tuple[Any, float]:
        """Send a request until it succeeds; returns the parsed JSON and the seconds of the last try.

        Raises
        ------
        CutAnswerError
            The body broke off, or the deadline passed.
        FetchError
            Anything else that trying again did not or cannot mend.
        """
        waited = 0.0
        for attempt in range(1, self.settings.tries + 1):
            self._keep_budget()
            began = self._clock()
            self.requests += 1
            try:
                answer = _json(self._read(send(), began), self.settings.endpoint)
            except _Again as failure:
                self._spend(began)
                pause = self._pause(failure, attempt)
                tries = min(self.settings.tries, REFUSED_TRIES) if failure.refused else self.settings.tries
                if attempt >= tries or waited + pause > self.settings.longest_wait_s:
                    when = _clock_time(pause)
                    raise FetchError(
                        f"{self.settings.endpoint} {failure.reason} ({attempt} tries)", f"try again after {when}"
                    ) from failure
                logger.info(f"{self.settings.endpoint} {failure.reason}; trying again in {pause:.0f} s")
                waited += pause
                self._wait(pause)
            except FetchError:
                self._spend(began)
                raise
            else:
                return answer, self._spend(began)
        raise AssertionError("unreachable")

    def _spend(self, began: float) -> float:
        ended = self._clock()
        self._spent.append((ended, ended - began))
        return ended - began

    def _read(self, response: HTTPResponse, began: float) -> bytes:
        body = bytearray()
        try:
            while block := response.read1(1 << 16):
                body += block
                if self._clock() - began > self.settings.timeout_s:
                    raise CutAnswerError(f"{self.settings.endpoint} did not end its answer in time", _SMALLER)
                if len(body) > self.settings.largest_body:
                    raise CutAnswerError(f"{self.settings.endpoint} answers more than kgvad reads at once", _SMALLER)
        except IncompleteRead as error:
            raise CutAnswerError(f"{self.settings.endpoint} broke off its answer", _SMALLER) from error
        except TimeoutError as error:
            raise CutAnswerError(f"{self.settings.endpoint} did not end its answer in time", _SMALLER) from error
        except (OSError, HTTPException) as error:
            if body:
                raise CutAnswerError(f"{self.settings.endpoint} broke off its answer", _SMALLER) from error
            raise _Again(f"closed the connection ({_reason(error)})") from error
        finally:
            response.close()
        if response.length:  # fewer bytes than announced
            raise CutAnswerError(f"{self.settings.endpoint} broke off its answer", _SMALLER)
        return bytes(body)

    def _pause(self, failure: _Again, attempt: int) -> float:
        if failure.retry_after is not None:
            return failure.retry_after
        base = self.settings.throttled_wait_s if failure.throttled else self.settings.first_wait_s * 2 ** (attempt - 1)
        return base * self._jitter.uniform(1.0, 1.5)

    def _keep_budget(self) -> None:
        """Wait until the requests of the last minute took less of the service's time than the budget."""
        while self._spent:
            now = self._clock()
            while self._spent and self._spent[0][0] < now - 60:
                self._spent.popleft()
            if sum(seconds for _, seconds in self._spent) < self.settings.budget_s:
                return
            self._wait(self._spent[0][0] + 60 - now + 0.01)

    def _wait(self, seconds: float) -> None:
        self.waited_s += seconds
        self._sleep(seconds)


_SMALLER = "ask for fewer items at once (--batch)"


class _Again(Exception):  # noqa: N818
    """A failure that may pass."""

    def __init__(
        self, reason: str, retry_after: float | None = None, throttled: bool = False, refused: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.retry_after, self.throttled, self.refused = reason, retry_after, throttled, refused


def sent(call: Callable[[], HTTPResponse], endpoint: str) -> HTTPResponse:
    """Make the call of an HTTP library; its failures become ours.

    Raises
    ------
    FetchError
        400, 403, a redirect, or another answer that asking again does not mend.
    """
    try:
        return call()
    except urllib.error.HTTPError as error:
        raise _status(error, endpoint, _text(error)) from error
    except (urllib.error.URLError, OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            raise CutAnswerError(f"{endpoint} did not answer in time", _SMALLER) from error
        refused = isinstance(reason, (ConnectionRefusedError, socket.gaierror))
        raise _Again(f"cannot be reached ({_reason(reason)})", refused=refused) from error
    except ValueError as error:
        raise FetchError(f"{endpoint} cannot be asked: {_line(str(error))}", "check the address") from error


def _status(error: urllib.error.HTTPError, endpoint: str, body: str) -> Exception:
    retry_after = _seconds(error.headers.get("Retry-After"))
    if error.code in (301, 302, 303, 307, 308):
        where = _line(error.headers.get("Location") or "another address")
        return FetchError(f"{endpoint} has moved to {where}", "give the new address as --endpoint")
    if error.code == 400:
        return FetchError(f"{endpoint} does not accept the query (400): {_line(body)}", "report this as a bug of kgvad")
    if error.code == 403:
        until = _clock_time(retry_after if retry_after is not None else BAN_S)
        return FetchError(f"{endpoint} refuses this client (403): {_line(body)}", f"do not ask again before {until}")
    if error.code in TRY_AGAIN:
        if "Timeout" in body:
            return CutAnswerError(f"{endpoint} ran out of time ({error.code})", _SMALLER)
        said = "asks for a pause" if error.code == 429 else "is not able to answer now"
        return _Again(f"{said} ({error.code})", retry_after, throttled=error.code == 429)
    return FetchError(f"{endpoint} answers {error.code}: {_line(body)}", "check the address of the service")


def _json(body: bytes, endpoint: str) -> Any:
    text = body.decode("utf-8", "replace").strip()
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if text.startswith("{"):
            raise CutAnswerError(f"{endpoint} broke off its answer", _SMALLER) from error
        if re.search(r"user.?agent", text[:2000], re.IGNORECASE):
            remedy = "set a contact that the service accepts (--contact)"
            raise FetchError(f"{endpoint} refuses the User-Agent: {_line(text)}", remedy) from error
        raise _Again(f"answers no JSON: {_line(text) or 'an empty body'}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def user_agent(contact: str) -> str:
    """What a service is told about who asks: program, version, page, contact, library."""
    from importlib.metadata import metadata, version

    urls = metadata("kgvad").get_all("Project-URL") or []
    page = "".join(f"{url.split(',')[-1].strip()}; " for url in urls[:1])
    return f"kgvad/{version('kgvad')} ({page}{contact}) SPARQLWrapper/{version('SPARQLWrapper')}"


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


def _text(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(4096).decode("utf-8", "replace")
    except (OSError, HTTPException, ValueError):
        return ""


def _line(text: str) -> str:
    return " ".join(re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", " ", re.sub(r"<[^>]*>", " ", text)).split())[:160]


def _reason(error: object) -> str:
    return _line(getattr(error, "strerror", None) or str(error)) or type(error).__name__
