"""A hub of datasets on loopback, for tests: the calls that ``huggingface_hub`` makes, with faults on request."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def _blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What the server has and did.

    ``files`` maps a repository to its files. ``cut`` maps a path to the number of bytes after which its transfer breaks
    off, once. ``damaged`` names paths whose content is sent with one byte changed. ``gated`` names repositories that
    want a token.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    ranges: list[tuple[str, str | None]] = field(default_factory=list)  # of every transfer: path, Range header
    url: str = ""

    def commit(self, repository):
        content = [(name, _blob(data)) for name, data in sorted(self.files[repository].items())]
        return hashlib.sha1(repr(content).encode()).hexdigest()

    def info(self, repository):
        siblings = []
        for name, data in self.files[repository].items():
            one = {"rfilename": name, "size": len(data), "blobId": _blob(data)}
            if name.endswith((".zip", ".npy", ".mp4")):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(one)
        return {"id": repository, "sha": self.commit(repository), "siblings": siblings, "tags": [], "private": False}


class Handler(BaseHTTPRequestHandler):
    hub = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._info("/".join(parts[2:4]))
        else:
            self._file("/".join(parts[1:3]), "/".join(parts[5:]))

    def _info(self, repository):
        if repository in self.hub.gated:
            self._answer(401, b"{}", X_Error_Code="GatedRepo", X_Error_Message="access is on request")
        elif repository not in self.hub.files:
            self._answer(404, b"{}", X_Error_Code="RepoNotFound")
        else:
            self._answer(200, json.dumps(self.hub.info(repository)).encode(), Content_Type="application/json")

    def _file(self, repository, name):
        data = self.hub.files.get(repository, {}).get(name)
        if data is None:
            self._answer(404, b"", X_Error_Code="EntryNotFound")
            return
        wanted = self.headers.get("Range")
        self.hub.ranges.append((name, wanted))
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        body = bytearray(data[start:])
        if name in self.hub.damaged and body:
            body[-1] ^= 1
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        end = self.hub.cut.pop(name, None)
        self.wfile.write(body if end is None else body[:end])
        if end is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serve(hub):
    """Serve ``hub`` on loopback; its address is ``hub.url``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
