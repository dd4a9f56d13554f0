"""Who is refused: other hosts, other sites, strangers without the token, uploads that are too large."""

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from kgvad.errors import UsageError
from kgvad.http_client import is_loopback
from kgvad.inbox.access import Access
from kgvad.inbox.serve import _bytes

from .conftest import HOST


def client(server, host=HOST):
    return TestClient(server.client, base_url=f"http://{host}", follow_redirects=False)


def test_another_host_name_is_refused(make):
    """A page on the web whose name resolves to this machine (DNS rebinding) reads nothing."""
    assert client(make(), "evil.example:8472").get("/").status_code == 421


def test_a_form_of_another_site_is_refused(make):
    web = client(make())
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert web.post("/training", data={"form_token": "x"}, headers=headers).status_code == 403


def test_a_form_without_our_token_is_refused(make):
    web = client(make())
    for address in ("/training", "/videos/1/again", "/videos/1/remove"):
        assert web.post(address, data={"form_token": "0" * 64}).status_code == 403
        assert web.post(address, data={"x": "y"}).status_code == 422
    assert web.post("/videos", data={"x": "y"}).status_code == 403


def test_a_stranger_needs_the_token(make):
    web = client(make(token="secret"))
    for address in ("/", "/status.json", "/marks.json", "/videos/1/file", "/?token=guess"):
        assert web.get(address).status_code == 401
    entered = web.get("/?token=secret")
    assert entered.status_code == 303
    assert "token" not in entered.headers["location"]
    assert {"httponly", "samesite=strict"} <= {p.strip().lower() for p in entered.headers["set-cookie"].split(";")}
    assert web.get("/").status_code == 200


def test_the_token_leads_to_no_other_site():
    scope = {"type": "http", "method": "GET", "path": "//evil.example/", "query_string": b"token=secret"}
    request = Request(scope | {"headers": [(b"host", b"localhost")]})
    answer = Access(frozenset({"localhost"}), "secret", 1000).refusal(request)
    assert answer.headers["location"] == "/evil.example/"


def test_uploads_are_limited(make):
    web = client(make(max_upload=1000))
    assert web.post("/videos", files={"files": ("a.mp4", b"x" * 2000)}).status_code == 413
    chunked = web.post("/videos", content=(b"x" for _ in range(3)))
    assert chunked.status_code == 411


def test_every_answer_has_the_headers(make):
    web = client(make(token="secret"))
    for address in ("/", "/?token=secret", "/nowhere", "/videos/a", "/status.json"):
        headers = web.get(address).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_what_counts_as_this_machine(host, local):
    assert is_loopback(host) is local


def test_sizes():
    assert _bytes("2GB") == 2_000_000_000
    with pytest.raises(UsageError, match="--max-upload many"):
        _bytes("many")
