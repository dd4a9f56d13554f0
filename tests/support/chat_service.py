"""An OpenAI-compatible service on loopback that behaves well, or as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text: str) -> bytes:
    """The body of an answer."""
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@contextmanager
def chat_service(text: str = "a man walks") -> Iterator[ThreadingHTTPServer]:
    """Answers with the (status, body) pairs of ``plan``, then with ``text``; ``seen`` has (path, key, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.seen.append((self.path, self.headers.get("Authorization"), json.loads(body)))
            status, answer = server.plan.pop(0) if server.plan else (200, completion(text))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.plan, server.seen = [], []
    server.address = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
