"""Servers for the tests of ``kg``: a real SPARQL service on loopback, and a stub that simulates its failures."""

import http.server
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from kgvad.kg.store import bundled, nquads
from kgvad.kg.store.schema import Term

CONTACT = "tests@example.org"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def as_wikidata(path):
    """Write the bundled facts as Wikidata's service has them: no graphs, titles on the article's page."""
    lines = []
    for batch in bundled.batches():
        for fact in [*batch.terms, *batch.statements]:
            if isinstance(fact, Term) and fact.kind == "title":
                page = nquads.iri("https://en.wikipedia.org/wiki/" + fact.text.replace(" ", "_"))
                lines.append(f"{page} <{nquads.ABOUT}> <{nquads.ENTITY}{fact.qid}> .")
                lines.append(f"{page} <http://schema.org/isPartOf> <https://en.wikipedia.org/> .")
                lines.append(f"{page} <{nquads.TERM_IRIS['title']}> {nquads.literal(fact.text, 'en')} .")
            else:
                line = nquads.term_line(fact, "g:") if isinstance(fact, Term) else nquads.statement_line(fact, "g:")
                lines.append(line.replace(" <g:> .", " ."))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@contextmanager
def oxigraph(folder, *files):
    """Serve RDF files from a free loopback port; yields the address of the SPARQL service."""
    program = Path(sys.executable).parent / "oxigraph"
    program = str(program) if program.exists() else shutil.which("oxigraph")
    assert program, "oxigraph belongs to the extra dev: pip install -c constraints.txt -e '.[dev]'"
    place = str(folder / "oxigraph")
    subprocess.run([program, "load", "--location", place, "--file", *map(str, files)], check=True, capture_output=True)
    port = free_port()
    command = [program, "serve-read-only", "--location", place, "--bind", f"127.0.0.1:{port}", "--timeout-s", "60"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/query"
        finally:
            server.terminate()


class Stub(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Gives a list of answers, one per request, then forwards requests to the real service behind it.

    An answer is a function of the request handler and the body; ``requests`` holds the requests.
    """

    daemon_threads = True

    def __init__(self, behind=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.script, self.requests = behind, [], []
        self.default = None
        self.url = f"http://127.0.0.1:{self.server_port}/query"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the play: no traceback of it on stderr."""

    def close(self):
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, dict(self.headers), body))
        self.close_connection = True
        play = self.server.script.pop(0) if self.server.script else self.server.default or passed_on
        play(self, body)

    do_GET = do_POST  # noqa: N815

    def answer(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        for name, value in {"Content-Type": "application/sparql-results+json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def passed_on(handler, body):
    """The real service's own answer."""
    headers = {key: handler.headers[key] for key in ("Content-Type", "Accept") if key in handler.headers}
    request = urllib.request.Request(handler.server.behind, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        handler.answer(response.status, response.read())


def status(code, body=b"", **headers):
    """An answer with a status and headers (``Retry_After=1``)."""
    return lambda handler, _: handler.answer(code, body, {k.replace("_", "-"): v for k, v in headers.items()})


def cut(handler, body):
    """The real answer, broken off in the middle, as a service does that runs out of time."""
    request = urllib.request.Request(
        handler.server.behind, data=body, headers={"Content-Type": handler.headers["Content-Type"]}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        whole = response.read()
    handler.answer(200, whole[: len(whole) // 2])


def short(handler, _):
    """Fewer bytes than announced."""
    handler.answer(200, b'{"head":{},"results":{"bind', length=5000)


def short_error(handler, _):
    """A refusal of the query with fewer bytes than announced."""
    handler.answer(400, b"Lexical error", length=5000)


def reset(handler, _):
    """Hang up without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.connection.close()


def drip(handler, _):
    """A byte at a time, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/sparql-results+json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(300):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


class Clock:
    """Time that passes only when somebody sleeps, or when a request takes ``a_request`` seconds."""

    def __init__(self, a_request=0.0):
        self.time, self.slept, self.a_request = 0.0, [], a_request

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds

    def __call__(self):
        self.time += self.a_request
        return self.time


@contextmanager
def postgresql():
    """A PostgreSQL server of an ordinary user on a free port; yields an SQLAlchemy URL."""
    import psycopg

    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), shutil.which("initdb")]
    programs = [Path(path).resolve().parent for path in found if path]
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # The server refuses to run as root.
    other = {"user": "nobody"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="kgvad-pg-"))
    if other:
        shutil.chown(folder, **other)
    data, port = folder / "data", free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **other}
    initdb = [programs[-1] / "initdb", "-D", data, "-U", "kgvad", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run([*map(str, initdb), "--locale=C.UTF-8"], check=True, **quiet)
    command = [programs[-1] / "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", "", "-F"]
    with subprocess.Popen([str(part) for part in command], **quiet) as server:
        try:
            for _ in range(200):
                try:
                    psycopg.connect(f"host=127.0.0.1 port={port} user=kgvad dbname=postgres").close()
                    break
                except psycopg.OperationalError:
                    time.sleep(0.1)
            yield f"postgresql+psycopg://kgvad@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once; nothing is to be kept
            server.wait(30)
            shutil.rmtree(folder, ignore_errors=True)
