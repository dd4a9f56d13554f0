"""One file of a distribution, from the Python package index that pip is configured to use.

The file is found, downloaded and checked by its hash. Nothing of it is built, installed or executed, and pip itself
only tells its configuration: it runs isolated (``python -I``), so that no file of the working folder is imported.
"""

from __future__ import annotations

import ast
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.console import transfer_progress
from kgvad.errors import WeightsError, one_line

if TYPE_CHECKING:
    from unearth import PackageFinder
    from unearth.fetchers import PyPIClient

PYPI = "https://pypi.org/simple"
TRIES = 2  # of one source; a refused connection is reported within seconds
TIMEOUT_S = 15.0  # pip's default


@dataclass(frozen=True)
class IndexOptions:
    """Where pip looks for distributions and how it connects.

    Attributes
    ----------
    indexes
        Simple-index URLs, the main one first.
    find_links
        Folders and pages that list files.
    trusted_hosts
        Hosts whose certificates are not verified.
    proxy, cert, client_cert
        Proxy URL, file or folder of certificate authorities, file of the client's certificate and key.
    timeout_s
        Of one network operation, in seconds.
    """

    indexes: tuple[str, ...] = (PYPI,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    proxy: str | None = None
    cert: str | None = None
    client_cert: str | None = None
    timeout_s: float = TIMEOUT_S

    @property
    def sources(self) -> Iterator[tuple[str, str]]:
        """``("find_links" or "index_urls", URL or folder)``, local folders first."""
        yield from (("find_links", place) for place in self.find_links)
        yield from sorted(
            (("index_urls", url) for url in self.indexes), key=lambda item: not item[1].startswith("file:")
        )


def index_options() -> IndexOptions:
    """What pip's configuration files and ``PIP_*`` variables say; the variables alone where pip is not installed."""
    said = _pip_config()

    def last(*names: str) -> str | None:
        return next((value for name in names if (value := said.get(name))), None)

    def words(name: str) -> tuple[str, ...]:
        return tuple((said.get(name) or "").split())

    main = () if _true(last("no-index")) else (last("index-url", "pypi-url") or PYPI, *words("extra-index-url"))
    try:
        timeout_s = float(last("timeout", "default-timeout") or TIMEOUT_S)
    except ValueError:
        timeout_s = TIMEOUT_S
    return IndexOptions(
        indexes=main,
        find_links=words("find-links"),
        trusted_hosts=words("trusted-host"),
        proxy=last("proxy"),
        cert=last("cert"),
        client_cert=last("client-cert"),
        timeout_s=timeout_s,
    )


def _true(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on", "t", "y")


def _pip_config() -> dict[str, str]:
    """Option to value, by pip's order: ``[global]``, then ``[download]``, then the environment."""
    command = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, cwd=sys.prefix
        )
        lines = done.stdout.splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.SubprocessError):
        lines = []
    sections: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in lines:
        key, equals, value = line.partition("=")
        section, _, name = key.partition(".")
        if equals and section in sections:
            sections[section][name.replace("_", "-")] = _unquoted(value)
    for variable, value in os.environ.items():  # also without pip
        if variable.startswith("PIP_"):
            sections[":env:"][variable[4:].lower().replace("_", "-")] = value
    return sections["global"] | sections["download"] | sections[":env:"]


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def fetch_file(project: str, filename: str, sha256: str, folder: Path, options: IndexOptions | None = None) -> Path:
    """The file ``filename`` of ``project``, in ``folder`` or where a local index keeps it; its hash is as expected.

    Parameters
    ----------
    project
        Name of the distribution.
    filename, sha256
        Of the wheel or source archive.
    folder
        Where to download to.
    options
        Default: pip's configuration, :func:`index_options`.

    Raises
    ------
    WeightsError
        No index has the file, none answers, or what they offer has another hash.
    """
    from unearth import PackageFinder

    logging.getLogger("unearth").addHandler(logging.NullHandler())  # a source that lacks the file is no warning
    options = options or index_options()
    reasons: list[str] = []
    with _client(options) as client:
        for kind, place in options.sources:
            finder = PackageFinder(session=client, ignore_compatibility=True, **{kind: [place]})  # type: ignore[arg-type]
            found = _try(partial(_from, finder, project, filename, sha256, folder))
            if isinstance(found, Path):
                return found
            reasons.append(f"{_without_password(place)}: {found}")
    raise WeightsError(
        "; ".join(reasons) or "pip is configured to use no index", "check the network and `pip config list`"
    )


def _client(options: IndexOptions) -> PyPIClient:
    import httpx2
    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers import PyPIClient

    try:
        verify: ssl.SSLContext | bool = True
        if options.cert:
            place = Path(options.cert).expanduser()
            verify = ssl.create_default_context(
                cafile=None if place.is_dir() else str(place), capath=str(place) if place.is_dir() else None
            )
        client = PyPIClient(
            trusted_hosts=options.trusted_hosts,
            verify=verify,
            cert=str(Path(options.client_cert).expanduser()) if options.client_cert else None,
            timeout=options.timeout_s,
            proxy=options.proxy,
            follow_redirects=True,
        )
    except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:  # ssl.SSLError is an OSError
        remedy = "see `pip config list` (cert, proxy), and HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
        raise WeightsError(f"pip's settings cannot be used: {one_line(error)}", remedy) from error
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=list(options.indexes))
    return client


def _try(action: Callable[[], Path | str]) -> Path | str:
    """What ``action`` returns, or why it failed; a network error is tried again."""
    import httpx2
    from unearth.errors import HashMismatchError, UnpackError

    reason = ""
    for _ in range(TRIES):
        try:
            return action()
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
        except HashMismatchError:
            return "the file there has another hash"
        except (UnpackError, ValueError, OSError, httpx2.InvalidURL) as error:
            return one_line(error)
    return reason


def _from(finder: PackageFinder, project: str, filename: str, sha256: str, folder: Path) -> Path | str:
    """The file from the finder's source, or why it is not had there."""
    links = [package.link for package in finder.find_all_packages(project, allow_yanked=True)]
    links = [link for link in links if link.filename == filename]
    for link in links:
        if sha256 in (link.hash_option or {}).get("sha256", [sha256]):  # a source may list no hashes
            with transfer_progress(f"fetching {filename}") as transferred:
                return finder.download(
                    link, folder, {"sha256": [sha256]}, lambda _, completed, total: transferred(completed, total)
                )
    return f"the {filename} there has another hash" if links else f"no {filename} there"


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else url
