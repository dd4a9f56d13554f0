"""Who may talk to the inbox: host names, a token away from this machine, forms of our own pages only, and headers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

COOKIE = "kgvad_session"
FIELD = "form_token"  # hidden field of every form
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # the default of no-referrer would blank the Origin of forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",  # footage is private
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest is in the pages
}


@dataclass(frozen=True)
class Access:
    """The rules, checked before any page.

    Attributes
    ----------
    hosts
        Names under which the inbox may be addressed; a page of another site that resolves to this machine has another.
    token
        What a visitor must know; ``None``: nothing, for an inbox that only this machine reaches.
    max_upload
        Bytes of one request.
    """

    hosts: frozenset[str]
    token: str | None
    max_upload: int
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that is not allowed; ``None`` if it is."""
        if _host_name(request.headers.get("host", "")) not in self.hosts:
            return _refused(421, "this address is not served here; add it with --allow-host")
        if request.method not in ("GET", "HEAD"):
            length = request.headers.get("content-length", "")
            if not length.isdecimal():
                return _refused(411, "the size of the upload is not given")
            if int(length) > self.max_upload:
                return _refused(413, f"larger than the {self.max_upload} bytes of --max-upload")
            if not _same_origin(request):
                return _refused(403, "the form was sent from another site")
        if self.token is not None and not self._knows(request):
            given = request.query_params.get("token", "")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return _refused(401, "open the address with the token that kgvad serve printed")
            place = "/" + request.url.path.lstrip("/")  # "//name" would be another site
            answer = RedirectResponse(place, status_code=303, headers=HEADERS)
            answer.set_cookie(COOKIE, self._signed(self.token), httponly=True, samesite="strict")
            return answer
        return None

    def form_token(self, request: Request) -> str:
        """The value of :data:`FIELD` for this visitor."""
        return self._signed("form:" + request.cookies.get(COOKIE, ""))

    def is_our_form(self, request: Request, value: object) -> bool:
        """Whether a form carries the token of one of our pages."""
        return isinstance(value, str) and hmac.compare_digest(value.encode(), self.form_token(request).encode())

    def _knows(self, request: Request) -> bool:
        assert self.token is not None
        cookie = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(cookie.encode("latin-1", "replace"), self._signed(self.token).encode())

    def _signed(self, value: str) -> str:
        return hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()


def _same_origin(request: Request) -> bool:
    """Whether the browser says that the request comes from a page of this server; other programs say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin.partition("//")[2] == request.headers.get("host")


def _host_name(header: str) -> str:
    """The host without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


def _refused(status: int, reason: str) -> Response:
    return PlainTextResponse(f"kgvad: {reason}\n", status, HEADERS)
