"""Proxies of the environment, for every client of a service."""

import pytest
from kg_servers import Stub, status

from kgvad.chat_endpoint import ChatEndpoint
from kgvad.errors import UsageError
from kgvad.http_client import http_client
from kgvad.kg.sources.service import Request, Service, ServiceSettings
from kgvad.watch.frigate import Frigate
from kgvad.watch.sinks.webhook import Webhook

CLIENTS = {
    "graph": lambda url: Service(ServiceSettings(endpoint=url, contact="a@example.org")).send(Request("POST", url)),
    "chat": lambda url: ChatEndpoint(url, "tiny"),
    "webhook": lambda url: Webhook(url, None),
    "frigate": Frigate,
}


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "foo://127.0.0.1:9", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_named(make, proxy, monkeypatch):
    """It ended with "this is a bug": many desktops set ALL_PROXY to a SOCKS proxy."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UsageError, match=r"the proxy of the environment cannot be used: .*; .*ALL_PROXY; a SOCKS"):
        make("http://elsewhere.example/api")


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)
def test_an_address_that_is_none(make):
    with pytest.raises(UsageError, match="address"):
        make("http://[::1")


def test_a_service_on_this_machine_is_reached_without_the_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    stub = Stub()
    stub.script = [status(200, b"{}")]
    try:
        with http_client(stub.url) as client:
            assert client.post(stub.url).status_code == 200
    finally:
        stub.close()
