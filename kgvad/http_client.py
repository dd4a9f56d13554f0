"""HTTP clients that honour the proxy of the environment, except for services on this machine."""

from __future__ import annotations

import ipaddress
from typing import Any

import httpx2

from kgvad.errors import UsageError, one_line


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_local(address: str) -> bool:
    """Whether ``address`` (``http://...``) is of a service on this machine.

    Raises
    ------
    UsageError
        It is no address.
    """
    try:
        return is_loopback(httpx2.URL(address).host)
    except httpx2.InvalidURL as error:
        raise UsageError(f"{address} is not a valid address: {one_line(error)}", "correct it") from error


def http_client(address: str, **settings: Any) -> httpx2.Client:
    """A client for the service at ``address``, which follows no redirect; a proxy does not reach this machine.

    Raises
    ------
    UsageError
        The address is none, or the proxy of the environment cannot be used.
    """
    local = is_local(address)
    try:
        return httpx2.Client(trust_env=not local, follow_redirects=False, **settings)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise UsageError(
            f"the proxy of the environment cannot be used: {one_line(error)}",
            "correct or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; a SOCKS proxy needs: pip install socksio",
        ) from error
